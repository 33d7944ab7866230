package main

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/keyfile"
	"github.com/litentry/agentkeys/internal/keyscan"
	"github.com/litentry/agentkeys/internal/secret"
)

// A key is replaced where it was found, in the file that was scanned, and
// nowhere else.
func TestReplaceFound(t *testing.T) {
	all, err := catalog.All()
	if err != nil {
		t.Fatal(err)
	}
	key := newKey("openrouter")
	text := "a " + key + "\nb " + key + " " + key + "\nc " + key + "\n"
	path := filepath.Join(t.TempDir(), "f")
	out := scanned{found: []keyscan.Finding{
		{Offset: 2, Line: 1, Sum: sha256.Sum256([]byte(text))},
		{Offset: -1, Line: 3},
		{Offset: -1, Line: 2},
		{Offset: 3, Line: 1, Sum: sha256.Sum256([]byte(text))},
		{Offset: -1, Line: 4},
	}}
	for i := range out.found {
		out.found[i].Service, out.found[i].Secret = agentkeys.Must(agentkeys.ParseService("openrouter")), secret.FromString(key)
	}
	for name, c := range map[string]struct {
		text  string
		which []int
		want  error
	}{
		"where they are":        {text, []int{0, 1}, nil},
		"twice in the line":     {text, []int{2}, keyfile.ErrChanged},
		"beside it":             {text, []int{3}, keyfile.ErrChanged},
		"behind the end":        {text, []int{4}, keyfile.ErrChanged},
		"a file that has grown": {text + "more\n", []int{0}, keyfile.ErrChanged},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&app{}).replaceFound(knownServices{entries: all}, path, &out, c.which); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		want := c.text
		if c.want == nil {
			want = strings.Replace(want, "a "+key, "a sk-or-v1-agentkeys.removed", 1)
			want = strings.Replace(want, "\nc "+key, "\nc sk-or-v1-agentkeys.removed", 1) // a key may end in c
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%s: the file has changed otherwise", name)
		}
	}
}

// gitleaksProgram is the real one, as `make setup` has built it, or a name that is not found.
func gitleaksProgram() string {
	dir := os.Getenv("AGENTKEYS_DEV_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "gitleaks"
		}
		dir = filepath.Join(base, "agentkeys-dev")
	}
	all, _ := filepath.Glob(filepath.Join(dir, "bin", "gitleaks-v8.*"))
	if len(all) == 0 {
		return "gitleaks"
	}
	return slices.Max(all)
}
