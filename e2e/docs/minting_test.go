package docs

import (
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/mint"
)

// TestMintingIsAsDocumented holds the table of what services can be told about a
// key to what is built.
func TestMintingIsAsDocumented(t *testing.T) {
	yes := map[bool]string{true: "yes", false: "no"}
	var want []string
	for _, id := range catalog.IDs() {
		e, err := catalog.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		if e.Minting == nil {
			continue
		}
		params := map[string]string{}
		var said []string
		for _, p := range e.Minting.Parameters {
			params[p.Name] = "example"
			if p.Required {
				said = append(said, "`"+p.Name+"`")
			}
		}
		e.Owner.Minting = &catalog.Exchange{Parameters: params}
		m, err := mint.New(e, http.DefaultTransport)
		if err != nil {
			t.Fatal(err)
		}
		c, budgets := m.Caps(), "no"
		if len(c.Windows) > 0 {
			var names []string
			for _, w := range c.Windows {
				names = append(names, string(w))
			}
			budgets = strings.Join(names, ", ")
		}
		want = append(want, strings.Join([]string{"`" + id.String() + "`", budgets, yes[c.Expiry], yes[c.Delete], yes[c.List], strings.Join(said, ", ")}, " | "))
	}
	slices.Sort(want)
	var got []string
	row := regexp.MustCompile("^\\| (`[a-z-]+` \\| .*\\|.*\\|.*\\|.*\\|.*)\\|$")
	for _, l := range documents(t)[filepath.Join("docs", "how-to", "mint-keys.md")].prose {
		if m := row.FindStringSubmatch(l.text); m != nil {
			got = append(got, strings.TrimSpace(m[1]))
		}
	}
	slices.Sort(got)
	for i := range got {
		got[i] = strings.TrimSuffix(got[i], " |")
	}
	for i := range want {
		want[i] = strings.TrimSuffix(want[i], " | ")
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/how-to/mint-keys.md has\n%s\nand it is\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
