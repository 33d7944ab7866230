package signup_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// alone are the services whose recipes need nobody.
var alone = []string{"openrouter", "anthropic", "groq", "jina"}

// TestSignup: each recipe ends with a key that works, and a second run finds
// it.
func TestSignup(t *testing.T) {
	for _, service := range alone {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			w := start(t, sites.Options{Service: service})
			for round := range max(campaign(t), 1) {
				o := w.provision("--json", fmt.Sprintf("--force=%t", round > 0))
				if o.code != 0 || o.answer.Door != "signup" {
					t.Fatalf("round %d: %v", round, o)
				}
				if round == 0 {
					w.settled("the first run")
				}
			}
			if o := w.provision("--json"); o.code != 0 || !o.answer.Existing {
				t.Errorf("again: %v", o)
			}
			if n := w.browsers(); n > 0 {
				t.Errorf("%d browsers are left", n)
			}
		})
	}
}

// stepLine is a line of progress: stage, number of the step and of all.
var stepLine = regexp.MustCompile(`^  (register|login|key) (\d+)/(\d+) +(\S+)$`)

// TestKill9 kills the command as it comes to a step, at each of them, and runs
// it again.
func TestKill9(t *testing.T) {
	for _, service := range alone {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			var steps []string
			w := start(t, sites.Options{Service: service})
			o := w.follow(nil)
			if o.code != 0 {
				t.Fatal(o)
			}
			for line := range strings.Lines(o.stderr) {
				if line = strings.TrimRight(line, "\n"); stepLine.MatchString(line) || strings.HasPrefix(line, "  keep") || strings.HasPrefix(line, "  verify") || strings.HasPrefix(line, "  mail") {
					steps = append(steps, line)
				}
			}
			if campaign(t) == 0 {
				steps = few(steps)
			}
			for _, at := range steps {
				w := start(t, sites.Options{Service: service})
				if o := w.follow(func(line string) bool { return strings.TrimRight(line, "\n") == at }); o.code != -1 {
					t.Fatalf("at %q it was not killed: %v", at, o)
				}
				if n := w.browsers(); n > 0 {
					t.Errorf("killed at %q, %d browsers go on", at, n)
				}
				if o := w.provision("--json"); o.code != 0 {
					t.Fatalf("after a kill at %q: %v", at, o)
				}
				w.settled("after a kill at " + at)
			}
		})
	}
}

// few are the steps after which something is made, or is lost most easily: the
// ones that the campaign adds the others to.
func few(steps []string) (some []string) {
	for i, s := range steps {
		if strings.HasPrefix(s, "  mail") || strings.HasPrefix(s, "  verify") || i+1 < len(steps) && strings.HasPrefix(steps[i+1], "  keep") {
			some = append(some, s)
		}
	}
	return some
}
