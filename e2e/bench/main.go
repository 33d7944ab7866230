// Command bench measures AgentKeys against its floors and rivals, side by side
// in one run and in alternating rounds, and prints one table of ratios of
// medians. It is a developer's tool and no part of the program.
//
// Machines are shared and noisy, so no absolute time counts, and nothing here
// passes or fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 5, "alternating rounds")
	span := flag.Duration("span", 2*time.Second, "how long each measurement takes")
	only := flag.String("only", "", "comma-separated parts: start, envelope, audit, mint, soak, mail, proxy, stream, provision")
	soak := flag.Duration("soak", 4*time.Second, "how long the broker is loaded while its memory is watched; 10m says something")
	role := flag.String("role", "", "internal: upstream, floor, broker or s3")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *role == "broker" {
		check(playBroker(flag.Arg(0)))
		return
	}
	if *role != "" {
		check(play(*role, flag.Args()))
		return
	}
	b := &bench{ctx: ctx, rounds: *rounds, span: *span, soakFor: *soak}
	parts := []struct {
		name string
		run  func() error
	}{{"start", b.start}, {"envelope", b.envelope}, {"audit", b.audit}, {"mint", b.mint}, {"soak", b.soak}, {"mail", b.mail}, {"proxy", b.proxy}, {"stream", b.stream}, {"provision", b.provision}}
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", p.name)
		if err := p.run(); err != nil {
			b.print() // what there is
			check(err)
		}
	}
	b.print()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench collects the rows of the table.
type bench struct {
	ctx     context.Context
	rounds  int
	span    time.Duration
	soakFor time.Duration
	rows    []row
}

// row is one figure: the median of ours, of what it stands against, and of
// their ratio round by round.
type row struct {
	name, unit, against, goal string
	ours, theirs, ratio       float64
	spread                    [2]float64 // lowest and highest ratio of a round
}

// add compares two series measured in the same rounds.
func (b *bench) add(name, unit, against, goal string, ours, theirs []float64) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	b.rows = append(b.rows, row{
		name, unit, against, goal, median(ours), median(theirs), median(ratios),
		[2]float64{slices.Min(ratios), slices.Max(ratios)},
	})
}

func (b *bench) print() {
	fmt.Printf("| %-44s | %-12s | %12s | %12s | %6s | %-13s | %-9s |\n", "figure", "against", "ours", "theirs", "ratio", "in the rounds", "goal")
	fmt.Printf("|%s|%s|%s:|%s:|%s:|%s|%s|\n", dash(46), dash(14), dash(13), dash(13), dash(7), dash(15), dash(11))
	for _, r := range b.rows {
		fmt.Printf("| %-44s | %-12s | %12s | %12s | %6.2f | %-13s | %-9s |\n", r.name, r.against,
			fmt.Sprintf("%.4g %s", r.ours, r.unit), fmt.Sprintf("%.4g %s", r.theirs, r.unit), r.ratio,
			fmt.Sprintf("%.2f–%.2f", r.spread[0], r.spread[1]), r.goal)
	}
}

func dash(n int) string { return strings.Repeat("-", n) }

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

func percentile(v []time.Duration, p float64) float64 {
	slices.Sort(v)
	return float64(v[min(len(v)-1, int(float64(len(v))*p))]) / 1e3 // µs
}
