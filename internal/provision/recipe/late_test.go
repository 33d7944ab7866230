package recipe

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// TestLateMail: a link that the page calls wrong, as that of a mail which an
// earlier run had asked for, does not end the run while another may come; the
// same one is not opened again.
func TestLateMail(t *testing.T) {
	none := errors.New("no other came")
	for name, c := range map[string]struct {
		links []string // of the mails, in their order; then none comes
		kind  Kind     // "": it ends well
		opens int
	}{
		"late, then good":       {[]string{"/late?token=1", "/good"}, "", 2},
		"two of them":           {[]string{"/late?token=1", "/late?token=2", "/good"}, "", 3},
		"too many of them":      {[]string{"/late?token=1", "/late?token=2", "/late?token=3", "/good"}, Wrong, 3},
		"no other":              {[]string{"/late?token=1"}, Wrong, 1},
		"the same again":        {[]string{"/late?token=1", "/late?token=1", "/good"}, Wrong, 1},
		"the next one is taken": {[]string{"/late?token=1", "/taken", "/good"}, Exists, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, map[string]func() *doc{
				site + "/late":  pageOf(func() *thing { return text("That link is not valid") }),
				site + "/taken": pageOf(func() *thing { return text("That address is taken") }),
				site + "/good":  pageOf(func() *thing { return text("Welcome") }),
			}, catalog.Step{Pattern: catalog.StepMail, Accept: []string{"link"}})
			g.Recipe.Signs = []catalog.Sign{
				{At: loc(catalog.Locator{HasText: "not valid"}), Means: catalog.MeansWrong},
				{At: loc(catalog.Locator{HasText: "taken"}), Means: catalog.MeansExists},
			}
			rest, limit := c.links, 24*time.Hour
			g.Run.Mail = func(_ context.Context, _ []string, timeout time.Duration) (Mail, error) {
				if timeout <= 0 || timeout >= limit {
					t.Errorf("%s to wait, after %s: no less than before", timeout, limit)
				}
				limit = timeout
				if len(rest) == 0 {
					return Mail{}, none
				}
				m := Mail{Link: secret.FromString(site + rest[0])}
				rest = rest[1:]
				return m, nil
			}
			_, err := g.Stage(t.Context(), StageLogin)
			var f *Failure
			if errors.As(err, &f); (err == nil) != (c.kind == "") || f != nil && f.Kind != c.kind || errors.Is(err, none) {
				t.Errorf("%v, want %q", err, c.kind)
			}
			if len(g.page.opened) != c.opens || c.kind == "" && !slices.Contains(g.page.opened, site+"/good") {
				t.Errorf("opened %v", g.page.opened)
			}
			silent(t, err, g.events)
		})
	}
}
