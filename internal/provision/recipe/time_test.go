package recipe

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys/catalog"
)

// TestAMutePage: a page that never answers ends a step no later than the step's
// time is over, whichever method it is asked by.
func TestAMutePage(t *testing.T) {
	steps := map[string]catalog.Step{
		"open": {Pattern: catalog.StepOpen, URL: must(site + "/")},
		"look": click(),
		"do":   click(),
		"read": {Pattern: catalog.StepExtract, At: loc(catalog.Locator{CSS: "code"})},
	}
	for method, step := range steps {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				step.Timeout = 12 * time.Second
				g := newRig(t, nil, step)
				g.page.goTo(site + "/")
				g.page.doc.things = []*thing{button("Go", nil), {Element: Element{Tag: "code"}, css: []string{"code"}, value: keyValue}}
				g.page.mute = method
				g.Sleep = nil
				start := time.Now()
				_, err := g.Stage(t.Context(), StageRegister)
				var f *Failure
				if !errors.As(err, &f) || f.Kind != NoLoad {
					t.Errorf("%v", err)
				}
				if took := time.Since(start); took > step.Timeout+callTime {
					t.Errorf("it took %s", took)
				}
				silent(t, err, g.events)
			})
		})
	}
}

// TestAMutePageWhileAPersonIsAtWork: the person's time goes on.
func TestAMutePageWhileAPersonIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, nil, catalog.Step{Pattern: catalog.StepHuman, Need: "card", Until: loc(catalog.Locator{Text: "Paid"})}).at("/")
		g.Sleep = nil
		looks := 0
		g.persons = func(p *script) {
			switch looks++; looks {
			case 1:
				p.mute = "look"
			case 2:
				p.mute = ""
				p.doc.things = []*thing{text("Paid")}
			}
		}
		if _, err := g.Stage(t.Context(), StageRegister); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingThere: a server that says so is believed before the step's time is
// over, unless the page has something of the recipe all the same.
func TestNothingThere(t *testing.T) {
	extract := catalog.Step{Pattern: catalog.StepExtract, At: loc(catalog.Locator{CSS: "code"})}
	expect := catalog.Step{Pattern: catalog.StepExpect, At: loc(catalog.Locator{Text: "Welcome"})}
	for name, c := range map[string]struct {
		status int
		things []*thing
		step   catalog.Step
		want   Kind
		soon   bool
	}{
		"not found":                  {404, []*thing{text("Not found")}, click(), NoLoad, true},
		"forbidden":                  {403, []*thing{text("Access denied")}, expect, NoLoad, true},
		"no key's page":              {410, nil, extract, NoLoad, true},
		"all well":                   {200, []*thing{text("Not found")}, click(), Missing, false},
		"drawn in an answer of 404":  {404, []*thing{field("Email")}, click(), Missing, false},
		"drawn, and a key is wanted": {404, []*thing{field("Email")}, extract, Missing, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := one(t, &doc{status: c.status, things: c.things}, c.step)
			g.Recipe.Login = []catalog.Step{{Pattern: catalog.StepFill, At: loc(catalog.Locator{Label: "Email"})}}
			_, err := g.Stage(t.Context(), StageRegister)
			var f *Failure
			if !errors.As(err, &f) || f.Kind != c.want || (g.waited < 10*time.Second) != c.soon {
				t.Errorf("%v after %s", err, g.waited)
			}
		})
	}
	late := &doc{status: 404}
	late.seen = func(_ *script, n int) {
		if n == 25 { // of a second or two
			late.things = []*thing{button("Go", nil)}
		}
	}
	one(t, late, click()).done(t, "click Go")
}
