package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/catalog"
)

// entries returns what is in the catalogue.
func entries(t *testing.T) (list []*catalog.Entry) {
	t.Helper()
	for _, id := range catalog.IDs() {
		e, err := catalog.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func folded(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestRecipes: the page of the recipes has each of them, with what nobody knows
// and when it was run at its service, and nothing else; and each service at
// which nobody signs up by program, with the reason.
func TestRecipes(t *testing.T) {
	doc := read(t, "docs", "recipes.md")
	var names []string
	ids, unsupported := map[string]bool{}, map[string]bool{}
	for _, e := range entries(t) {
		if f := e.Doors[catalog.Signup]; f.State == catalog.DoorUnsupported {
			unsupported[e.ID.String()] = true
			if !strings.Contains(doc, "| `"+e.ID.String()+"` | "+f.Fact+" |") {
				t.Errorf("the reason why %s is not supported is not %q", e.ID, f.Fact)
			}
		}
		r := e.Recipe
		if r == nil {
			continue
		}
		names, ids[e.ID.String()] = append(names, e.Name), true
		_, part, ok := strings.Cut(doc, "\n### "+e.Name+"\n")
		if !ok {
			t.Errorf("%s is missing", e.Name)
			continue
		}
		part, _, _ = strings.Cut(part, "\n#")
		if !strings.Contains(folded(part), "Run live: "+r.Live+".") {
			t.Errorf("%s: it does not say that it was run live: %s", e.Name, r.Live)
		}
		for _, h := range r.Hosts {
			if !strings.Contains(part, "`"+h+"`") {
				t.Errorf("%s: the host %s is missing", e.Name, h)
			}
		}
		var items []string
		for _, m := range regexp.MustCompile(`(?m)^- (.+(?:\n  .+)*)`).FindAllStringSubmatch(part, -1) {
			items = append(items, folded(m[1]))
		}
		if !slices.Equal(items, r.Unknown) {
			t.Errorf("%s: what is not known is\n%s\nand the page has\n%s", e.Name, strings.Join(r.Unknown, "\n"), strings.Join(items, "\n"))
		}
	}
	if len(names) < 6 {
		t.Errorf("only %d recipes were found", len(names))
	}
	for _, m := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(doc, -1) {
		if !slices.Contains(names, m[1]) {
			t.Errorf("%s has a section, and no recipe", m[1])
		}
	}
	compareNames(t, "recipes.md: what you bring", rows(section(t, doc, "What you bring")), ids)
	compareNames(t, "recipes.md: not supported", rows(section(t, doc, "Services whose sign-up is not supported")), unsupported)
}

// rows are the first cells of a table, where they are code.
func rows(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`|]+)` \\|").FindAllStringSubmatch(text, -1) {
		out[m[1]] = true
	}
	return out
}
