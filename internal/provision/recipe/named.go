package recipe

import (
	"context"
	"slices"
	"strings"

	"github.com/litentry/agentkeys/catalog"
)

// KeyName stands, in the texts of a locator, for the name that this run gives
// its key: a list of keys is told apart by nothing else, and a key of somebody
// else's must not be taken away.
const KeyName = catalog.KeyMark

// named puts the name of this run's key where a step's locators have KeyName.
func (r *Run) named(ctx context.Context, s catalog.Step) (catalog.Step, error) {
	lists := []*[]catalog.Locator{&s.At, &s.Until, &s.If, &s.Unless}
	if !slices.ContainsFunc(lists, func(l *[]catalog.Locator) bool {
		return slices.ContainsFunc(*l, func(l catalog.Locator) bool { return strings.Contains(texts(l), KeyName) })
	}) {
		return s, nil
	}
	v, err := r.Value(ctx, catalog.ValueKeyName)
	if err != nil {
		return s, err
	}
	defer v.Clear()
	put := strings.NewReplacer(KeyName, string(v.Expose())).Replace
	for _, list := range lists {
		*list = slices.Clone(*list)
		for i := range *list {
			l := &(*list)[i]
			l.Name, l.HasName, l.Text, l.HasText = put(l.Name), put(l.HasName), put(l.Text), put(l.HasText)
		}
	}
	return s, nil
}

func texts(l catalog.Locator) string {
	return strings.Join([]string{l.Name, l.HasName, l.Text, l.HasText}, "\n")
}
