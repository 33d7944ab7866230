package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestDependencies: every module that something here imports is justified, and
// nothing else is.
func TestDependencies(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte(read(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	required := map[string]bool{}
	for _, r := range mod.Require {
		required[r.Mod.Path] = true
		if !r.Indirect {
			direct[r.Mod.Path] = true
		}
	}
	// The comments of go.mod may be behind the code.
	cmd := exec.Command("go", "list", "-e", "-f", `{{range .Imports}}{{.}}
{{end}}{{range .TestImports}}{{.}}
{{end}}{{range .XTestImports}}{{.}}
{{end}}`, "./...")
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		longest := ""
		for m := range required {
			if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(longest) {
				longest = m
			}
		}
		if longest != "" {
			direct[longest] = true
		}
	}
	have := map[string]bool{}
	part, _, _ := strings.Cut(read(t, "docs", "dependencies.md"), "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(part, -1) {
		have[m[1]] = true
		if !direct[m[1]] {
			t.Errorf("%s is justified, and no dependency", m[1])
		}
	}
	for m := range direct {
		if !have[m] {
			t.Errorf("%s is a dependency without a justification", m)
		}
	}
}

// TestChangelog: there is always a place for the next change.
func TestChangelog(t *testing.T) {
	if !strings.Contains(read(t, "CHANGELOG.md"), "\n## [Unreleased]\n") {
		t.Error("CHANGELOG.md has no section Unreleased")
	}
}

// TestDecisionsAreWhole: a record has its four parts, and is in the list.
func TestDecisionsAreWhole(t *testing.T) {
	index := strings.Join(strings.Fields(read(t, "docs", "decisions", "README.md")), " ")
	for name := range documents(t) {
		file, ok := strings.CutPrefix(strings.ReplaceAll(name, `\`, "/"), "docs/decisions/")
		if !ok || file == "README.md" {
			continue
		}
		text := read(t, name)
		for _, part := range []string{"Context", "Choice", "Alternatives", "Risks"} {
			if !strings.Contains(text, "\n## "+part+"\n") {
				t.Errorf("%s has no %s", name, part)
			}
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		if !strings.Contains(index, "["+title+"]("+file+")") {
			t.Errorf("docs/decisions/README.md does not list %s as %q", file, title)
		}
	}
}
