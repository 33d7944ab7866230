package recipe

import (
	"slices"
	"testing"

	"github.com/litentry/agentkeys/catalog"
)

// A list of keys whose own buttons are all named Delete must lose none of them
// to the step that would have said so again.
func TestCleansOnlyTheKeyOfThisRun(t *testing.T) {
	clean := func(name string) catalog.Step {
		return catalog.Step{Pattern: catalog.StepClick, At: loc(catalog.Locator{Role: "button", Name: name}), Optional: true, Cleans: true}
	}
	other := clean("Open")
	other.Cleans = false
	for name, c := range map[string]struct {
		buttons []string
		steps   []catalog.Step
		want    []string
	}{
		"it is there":          {[]string{"Delete agentkeys-1", "Delete"}, []catalog.Step{clean("Delete " + KeyName), clean("Delete")}, []string{"click Delete agentkeys-1", "click Delete"}},
		"another is there":     {[]string{"Delete"}, []catalog.Step{clean("Delete " + KeyName), clean("Delete"), clean("Delete")}, nil},
		"the second is not":    {[]string{"Delete agentkeys-1", "Delete"}, []catalog.Step{clean("Delete " + KeyName), clean("More"), clean("Delete")}, []string{"click Delete agentkeys-1", "click Delete"}},
		"something is between": {[]string{"Open", "Delete agentkeys-1"}, []catalog.Step{clean("Remove " + KeyName), other, clean("Delete " + KeyName)}, []string{"click Open", "click Delete agentkeys-1"}},
		"nothing is between":   {[]string{"Delete agentkeys-1"}, []catalog.Step{clean("Remove " + KeyName), other, clean("Delete " + KeyName)}, []string{"click Delete agentkeys-1"}},
		"nothing is there":     {nil, []catalog.Step{clean("Delete " + KeyName), clean("Delete")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := &doc{}
			for _, b := range c.buttons {
				d.things = append(d.things, button(b, nil))
			}
			g := one(t, d, c.steps...)
			g.Made = true
			if _, err := g.Stage(t.Context(), StageLogin); err != nil || !slices.Equal(g.page.acts, c.want) {
				t.Errorf("%q, want %q: %v", g.page.acts, c.want, err)
			}
		})
	}
}
