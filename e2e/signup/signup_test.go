package signup_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// alone are the services whose recipes need nobody.
var alone = []string{"openrouter", "anthropic", "groq", "jina"}

// TestSignup: each recipe ends with a key that works, a second run finds it, and
// it is safe to kill the command as it comes to any of its steps: the next run
// ends as well, with nothing made twice.
func TestSignup(t *testing.T) {
	for _, service := range alone {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			w := start(t, sites.Options{Service: service})
			o := w.provision()
			if o.code != 0 {
				t.Fatal(o)
			}
			w.settled("the first run")
			if o := w.provision("--json"); o.code != 0 || !o.answer.Existing {
				t.Errorf("again: %v", o)
			}
			for round := 1; round < campaign(t); round++ {
				if o := w.provision("--json", "--force"); o.code != 0 || o.answer.Door != "signup" || o.answer.Existing {
					t.Fatalf("round %d: %v", round, o)
				}
			}
			w.browserless("runs that ended")
			for _, at := range steps(t, o) {
				killed(t, service, at)
			}
		})
	}
}

// stepLine is a line of progress: stage, number of the step and of all.
var stepLine = regexp.MustCompile(`^  (register|login|key) (\d+)/(\d+) +(\S+)$`)

// steps are the lines of a run's progress at which it is worth to be killed.
func steps(t *testing.T, o outcome) (lines []string) {
	for line := range strings.Lines(o.stderr) {
		if line = strings.TrimRight(line, "\n"); stepLine.MatchString(line) || strings.HasPrefix(line, "  keep") || strings.HasPrefix(line, "  verify") || strings.HasPrefix(line, "  mail") {
			lines = append(lines, line)
		}
	}
	if campaign(t) == 0 {
		return few(lines)
	}
	return lines
}

func killed(t *testing.T, service, at string) {
	w := start(t, sites.Options{Service: service})
	if o := w.follow(func(line string) bool { return strings.TrimRight(line, "\n") == at }); o.code != -1 {
		t.Fatalf("at %q it was not killed: %v", at, o)
	}
	w.browserless("killed at " + at)
	if o := w.provision("--json"); o.code != 0 {
		t.Fatalf("after a kill at %q: %v", at, o)
	}
	w.settled("after a kill at " + at)
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
