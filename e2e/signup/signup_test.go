package signup_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// alone are the services whose recipes need nobody.
var alone = []string{"openrouter", "anthropic", "groq", "jina"}

// TestSignup: each recipe ends with a key that works, a second run finds it, and
// it is safe to kill the command as it comes to any of its steps: the run goes
// on and ends as well, with nothing made twice.
func TestSignup(t *testing.T) {
	for _, service := range alone {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			y := way{site: sites.Options{Service: service}}
			w := y.begin(t)
			o := w.provision()
			if o.code != 0 {
				t.Fatal(o)
			}
			w.settled("the first run")
			if o := w.provision("--json"); o.code != 0 || !o.answer.Existing {
				t.Errorf("again: %v", o)
			}
			w.rounds()
			w.browserless("runs that ended")
			if campaign(t) == 0 {
				for _, m := range few(moments(o)) {
					y.killed(t, m)
				}
				return
			}
			y.killedEverywhere(t, o)
		})
	}
}

// rounds gets one key after the other.
func (w *world) rounds() {
	w.t.Helper()
	for round := 1; round < campaign(w.t); round++ {
		o := w.provision("--json", "--force")
		if o.code != 0 || o.answer.Door != "signup" || o.answer.Existing {
			w.t.Fatalf("round %d: %v", round, o)
		}
		if n, accounts := w.live(), w.site.Accounts(); n != round+1 || len(accounts) > 1 {
			w.t.Fatalf("round %d: %d live keys, accounts %v", round, n, accounts)
		}
	}
}

// moment is where a run is killed: as it says a line; once a person has done what
// the line asks for; or while the service has a request, with its answer on the
// way if done.
type moment struct {
	line, request string
	done          bool
}

func (m moment) String() string {
	text := strings.TrimSpace(m.line + m.request)
	if m.done {
		return text + " (done)"
	}
	return text
}

// stepLine is a line of progress: stage, number of the step and of all.
var stepLine = regexp.MustCompile(`^  (register|login|key) (\d+)/(\d+) +(\S+)$`)

// moments are those of a run at which it is worth to be killed.
func moments(o outcome) (list []moment) {
	add := func(m moment) {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	for line := range strings.Lines(o.stderr) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, yourTurn):
			add(moment{line: line})
			add(moment{line: line, done: true})
		case stepLine.MatchString(line), strings.HasPrefix(line, "  keep"), strings.HasPrefix(line, "  verify"), strings.HasPrefix(line, "  mail"):
			add(moment{line: line})
		}
	}
	return list
}

// killedEverywhere kills a run at each of its moments. o is one that went
// through.
func (y way) killedEverywhere(t *testing.T, o outcome) {
	all := moments(o)
	for _, m := range all {
		y.killed(t, m)
	}
	// With something made, and lost, who goes on comes in again and takes the key
	// away, by steps that no first run has.
	for _, m := range makers {
		if m.service != y.site.Service {
			continue
		}
		made := moment{request: m.request, done: true}
		for _, later := range moments(y.killed(t, made)) {
			if !slices.Contains(all, later) {
				all = append(all, later)
				y.killed(t, made, later)
			}
		}
	}
}

// killed kills runs one after the other, each at its moment, and has one go on.
func (y way) killed(t *testing.T, at ...moment) (o outcome) {
	t.Run(fmt.Sprint("killed at ", at), func(t *testing.T) {
		w := y.begin(t)
		for _, m := range at {
			w.kill(m)
		}
		if o = w.provision("--resume"); o.code != 0 {
			t.Fatalf("it does not go on: %v", o)
		}
		w.settled("after a kill")
		w.browserless("after a kill")
	})
	return o
}

// kill runs the command until a moment.
func (w *world) kill(m moment) {
	w.t.Helper()
	if m.request != "" {
		w.killHeld(m.request, m.done)
		return
	}
	w.doom = ""
	if m.done {
		w.doom = m.line
	}
	if o := w.follow(func(line string) bool { return !m.done && strings.TrimRight(line, "\n") == m.line }); o.code != -1 {
		w.t.Fatalf("at %q it was not killed: %v", m, o)
	}
	w.doom = ""
	w.browserless("killed at " + m.String())
}

// few are the moments after which something is made, or is lost most easily: the
// ones that the campaign adds the others to.
func few(all []moment) (some []moment) {
	for i, m := range all {
		if strings.HasPrefix(m.line, "  mail") || strings.HasPrefix(m.line, "  verify") || i+1 < len(all) && strings.HasPrefix(all[i+1].line, "  keep") {
			some = append(some, m)
		}
	}
	return some
}
