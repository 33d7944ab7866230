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

// TestProvisionCodes: each word that a run can end with has its row.
func TestProvisionCodes(t *testing.T) {
	part := section(t, read(t, "docs", "problems.md"), "Getting a key")
	have := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\| [0-9]").FindAllStringSubmatch(part, -1) {
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
			have[m[1]] = true
		}
	}
	text := read(t, "cmd", "agentkeys", "provision_errors.go") + read(t, "cmd", "agentkeys", "provision_har.go")
	kinds := constants(parse(t, "internal", "provision", "recipe", "run.go"))
	n := 0
	for _, m := range regexp.MustCompile(`(?:Err[A-Z]\w*|failWith\(\w+|), exit\w+, "([a-z-]+)"|failWith\(exit\w+, "([a-z-]+)"`).FindAllStringSubmatch(text, -1) {
		if code := m[1] + m[2]; !have[code] {
			t.Errorf("problems.md does not have %s", code)
		}
		n++
	}
	for _, m := range regexp.MustCompile(`case (recipe\.[^:]+):\s+return failWith\(exit\w+, string\(f\.Kind\)`).FindAllStringSubmatch(text, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			v, ok := kinds[strings.TrimPrefix(name, "recipe.")]
			if !ok || !have[strings.Trim(v.ExactString(), `"`)] {
				t.Errorf("problems.md does not have %s, %v", name, v)
			}
			n++
		}
	}
	if n < 20 {
		t.Errorf("only %d codes were found", n)
	}
}

// TestDoors: the reference names the services of each door for which there is
// something built.
func TestDoors(t *testing.T) {
	part := section(t, read(t, "docs", "reference", "catalogue.md"), "Doors")
	for door, has := range map[catalog.Door]func(*catalog.Entry) bool{
		catalog.Federate: func(e *catalog.Entry) bool { return e.Federation != nil },
		catalog.Mint:     func(e *catalog.Entry) bool { return e.Minting != nil },
		catalog.Signup:   func(e *catalog.Entry) bool { return e.Recipe != nil },
	} {
		want := map[string]bool{}
		for _, e := range entries(t) {
			if has(e) {
				want[e.ID.String()] = true
			}
		}
		row := regexp.MustCompile("(?m)^\\| `" + string(door) + "` \\|[^|]+\\| (.+) \\|$").FindStringSubmatch(part)
		if row == nil {
			t.Fatalf("there is no row %s", door)
		}
		have := map[string]bool{}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			have[m[1]] = true
		}
		compareNames(t, "catalogue.md: "+string(door), have, want)
	}
}
