package keyscan

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// The keys are made at run time, so that no scanner finds one here.
func randomText(alphabet string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func githubKey() string { return "gh" + "p_" + randomText(alnum, 36) }
func routerKey() string { return "sk-or" + "-v1-" + randomText("0123456789abcdef", 64) }
func hexKey() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func sorted(s []string) []string { slices.Sort(s); return s }

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func rules(t testing.TB) *Rules {
	t.Helper()
	all, err := catalog.All()
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRules(all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFind(t *testing.T) {
	r := rules(t)
	router, hub := routerKey(), githubKey()
	admin := "sk-ant-" + "admin01-" + randomText(alnum, 40)
	mistral := randomText(alnum, 28) + "1a2b"
	for name, c := range map[string]struct {
		text string
		want []string // service key
	}{
		"bare":               {router, []string{"openrouter " + router}},
		"dotenv":             {"A=b\nexport OPENROUTER_API_KEY=" + router + "\n", []string{"openrouter " + router}},
		"quoted":             {`x = "` + router + `"`, []string{"openrouter " + router}},
		"header":             {"Authorization: Bearer " + router, []string{"openrouter " + router}},
		"in a URL":           {"https://x.example/?key=" + router + "&b", []string{"openrouter " + router}},
		"end of a sentence":  {"It is " + router + ".", []string{"openrouter " + router}},
		"twice in a line":    {router + "," + router, []string{"openrouter " + router, "openrouter " + router}},
		"two services":       {router + " " + hub, []string{"openrouter " + router, "github " + hub}},
		"one longer":         {router + "0", nil},
		"part of a word":     {"x" + router, nil},
		"a refused kind":     {"k=" + admin, []string{"anthropic " + admin}},
		"by its variable":    {"MISTRAL_API_KEY=" + mistral, []string{"mistral " + mistral}},
		"in JSON":            {`{"MISTRAL_API_KEY": "` + mistral + `"}`, []string{"mistral " + mistral}},
		"in YAML":            {"  MISTRAL_API_KEY: '" + mistral + "'", []string{"mistral " + mistral}},
		"another variable":   {"MY_MISTRAL_API_KEY=" + mistral, nil},
		"a variable of one":  {"MISTRAL_API_KEY=$OTHER_API_KEY_12345678", nil},
		"only a name":        {`os.environ["MISTRAL_API_KEY"]`, nil},
		"an example":         {"MISTRAL_API_KEY=your-api-key-goes-here-123", nil},
		"a path":             {"MISTRAL_API_KEY=/run/secrets/mistral-key-123", nil},
		"words":              {"MISTRAL_API_KEY=settings.mistral_api_key_value", nil},
		"a placeholder":      {"OPENROUTER_API_KEY=sk-or-v1-agentkeys.abcdefgh12345678abcdefgh12345678", nil},
		"one of any form":    {"sk-admin-agentkeys.abcdefgh12345678", nil},
		"another's in a var": {"OPENAI_API_KEY=" + router, []string{"openrouter " + router}},
	} {
		var got []string
		for _, h := range r.find([]byte(c.text)) {
			got = append(got, h.service().String()+" "+c.text[h.from:h.to])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: found %d, want %d", name, len(got), len(c.want))
		}
	}
	// One that manages is told apart.
	if h := r.find([]byte(admin)); len(h) != 1 || !h[0].manages {
		t.Error("an admin key is not known for one")
	}
}

// Every pattern of the catalogue finds what it describes.
func TestEveryEntry(t *testing.T) {
	all, err := catalog.All()
	if err != nil {
		t.Fatal(err)
	}
	r := rules(t)
	n := 0
	for _, e := range all {
		for _, p := range e.Key.Patterns.Value {
			if p.Generic == "" {
				n++
			}
		}
		for _, p := range e.Key.Refuse {
			if p.Generic == "" {
				n++
			}
		}
	}
	if len(r.shapes) != n || n < 15 {
		t.Errorf("%d shapes of %d", len(r.shapes), n)
	}
	slow := 0
	for _, s := range r.shapes {
		if len(s.literal) == 0 {
			slow++
		}
	}
	if slow > 3 {
		t.Errorf("%d rules have no text to look for first", slow)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	key := routerKey()
	for _, name := range []string{
		"a.txt", "deep/er/b.py", ".git/config", ".git/objects/ab/cd", "node_modules/x/index.js", "vendor/y.go", ".env", "c.bin", "large.txt", "sub/.git/objects/x",
	} {
		text := "one\ntwo " + key + "\n"
		switch name {
		case "c.bin":
			text = "\x00" + text
		case "large.txt":
			text += strings.Repeat("x", MaxFile)
		}
		write(t, dir, name, text)
	}
	outside := write(t, t.TempDir(), "outside.txt", key)
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link.txt")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "linked")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := &Scanner{Rules: rules(t)}
	if err := s.Dir(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range s.Findings() {
		rel, _ := filepath.Rel(dir, f.File)
		got = append(got, fmt.Sprint(rel, ":", f.Line, ":", f.Offset, " ", f.Service, " ", string(f.Secret.Expose()) == key))
	}
	want := []string{".env:2:8 openrouter true", ".git/config:2:8 openrouter true", "a.txt:2:8 openrouter true", "deep/er/b.py:2:8 openrouter true"}
	if !slices.Equal(sorted(got), want) {
		t.Errorf("found %q", got)
	}
	if st := s.Stats(); st != (Stats{Files: 4, Binary: 1, Large: 1}) {
		t.Errorf("%+v", st)
	}
	s.Close()
	for _, b := range s.buf[:100] {
		if b != 0 {
			t.Fatal("the buffer still holds text")
		}
	}

	// A file, a link that is named, and what is not there.
	for _, name := range []string{filepath.Join(dir, "a.txt"), filepath.Join(dir, "link.txt")} {
		s := &Scanner{Rules: rules(t)}
		if err := s.Dir(t.Context(), name); err != nil || len(s.Findings()) != 1 || s.Findings()[0].File != name {
			t.Errorf("%s: %v, %d", name, err, len(s.Findings()))
		}
	}
	if err := (&Scanner{Rules: rules(t)}).Dir(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Scanner{Rules: rules(t)}).Dir(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestTooMany(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", strings.Repeat(routerKey()+"\n", maxFindings+1))
	s := &Scanner{Rules: rules(t)}
	if err := s.Dir(t.Context(), dir); !errors.Is(err, ErrTooMany) || len(s.Findings()) != maxFindings {
		t.Errorf("%v, %d", err, len(s.Findings()))
	}
}

func TestMerge(t *testing.T) {
	all, _ := catalog.All()
	r, _ := NewRules(all)
	key, other := routerKey(), hexKey()
	f := func(line int, commit, text, rule string) Finding {
		x := Finding{File: "f", Line: line, Commit: commit, Rule: rule, Offset: -1, Secret: secret.FromString(text)}
		r.Claim(&x)
		return x
	}
	ours := []Finding{f(1, "", key, "a"), f(1, "", key, "a"), f(3, "", other, "b")}
	theirs := []Finding{f(1, "", key, "g"), f(2, "", key, "g"), f(3, "", "x"+other, "g"), f(4, "", key+"x", "g")}
	dropped := theirs[0].Secret
	past := []Finding{f(1, "c0ffee", key, "g")}
	got := Merge(ours, theirs, past)
	var text []string
	for _, g := range got {
		text = append(text, fmt.Sprint(g.Line, g.Commit, g.Rule))
	}
	if want := []string{"1a", "1a", "2g", "3b", "4g", "1c0ffeeg"}; !slices.Equal(text, want) {
		t.Errorf("%q, want %q", text, want)
	}
	if !dropped.IsZero() {
		t.Error("what was dropped is still there")
	}
	if got[0].Service.String() != "openrouter" || !got[4].Service.IsZero() {
		t.Error("a key is whose it is by its whole form")
	}
}

func TestHomeFiles(t *testing.T) {
	home := t.TempDir()
	write(t, home, ".bashrc", "x")
	write(t, home, ".env.local", "x")
	write(t, home, ".config/fish/config.fish", "x")
	write(t, home, "notes.txt", "x")
	if got := HomeFiles(home); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// No text makes the rules fail, and what they find is inside it.
func FuzzFind(f *testing.F) {
	r := rules(f)
	f.Add([]byte("OPENROUTER_API_KEY=" + routerKey()))
	f.Add([]byte("MISTRAL_API_KEY\"' \t:=:=\"'aaaaaaaaaaaaaaaa1234"))
	f.Add([]byte(strings.Repeat("AAAA", 100)))
	f.Fuzz(func(t *testing.T, text []byte) {
		hits := r.find(text)
		slices.SortFunc(hits, func(a, b hit) int { return a.from - b.from })
		last := 0
		for _, h := range hits {
			if h.from < last || h.to <= h.from || h.to > len(text) {
				t.Fatal("a finding is outside the text, or in another")
			}
			last = h.to
		}
	})
}
