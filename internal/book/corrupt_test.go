package book_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
)

// TestCorrupt: a file that is not what its place says is named, and nothing is
// changed, so that its owner can put it right.
func TestCorrupt(t *testing.T) {
	dir := stateDir(t)
	b, _, _ := setUp(t, dir)
	create(t, b, second, 3)
	put(t, b, second, or, 30)
	good := durabletest.Snapshot(t, dir)
	var token string
	for name := range good {
		if strings.HasPrefix(name, "tokens/") && strings.HasSuffix(name, ".json") {
			token = name
		}
	}
	const agent, granted = "agents/bot.json", "grants/bot@openrouter.json"
	replace := func(name, old, repl string) func(map[string]string) string {
		return func(all map[string]string) string {
			if !strings.Contains(all[name], old) {
				t.Fatalf("%s has no %q:\n%s", name, old, all[name])
			}
			all[name] = strings.Replace(all[name], old, repl, 1)
			return name
		}
	}
	move := func(from, to string) func(map[string]string) string {
		return func(all map[string]string) string {
			all[to] = all[from]
			delete(all, from)
			return to
		}
	}
	content := func(name, text string) func(map[string]string) string {
		return func(all map[string]string) string { all[name] = text; return name }
	}
	cases := map[string]func(map[string]string) string{
		"an agent of another file":       move(agent, "agents/bit.json"),
		"an agent in capitals":           move(agent, "agents/BOT.json"),
		"an agent without a wallet":      replace(agent, wallet(2).String(), ""),
		"an agent with a bad wallet":     replace(agent, wallet(2).String(), "0X"+wallet(2).String()[2:]),
		"a grant of another service":     move(granted, "grants/bot@brave-search.json"),
		"a grant of another agent":       replace(granted, `"agent": "bot"`, `"agent": "second"`),
		"a grant to another wallet":      replace(granted, wallet(2).String(), wallet(3).String()),
		"a grant of another master":      replace(granted, master.String(), wallet(9).String()),
		"a grant without an id":          replace(granted, `"id": "g_`, `"id": "", "x": "`),
		"a grant without an end":         replace(granted, `"expires": "2026-04-16T12:00:00Z"`, `"expires": "0001-01-01T00:00:00Z"`),
		"a grant with a bad rule":        replace(granted, "POST /chat", "POST chat"),
		"a grant with a zero rule":       replace(granted, `"POST /chat"`, `null`),
		"a grant with a negative budget": replace(granted, `"limit": 10`, `"limit": -10`),
		"a grant with an odd window":     replace(granted, `"per": "day"`, `"per": "eon"`),
		"a grant of nobody":              func(all map[string]string) string { delete(all, agent); return granted },
		"a token of another file":        move(token, "tokens/"+strings.Repeat("0", 32)+".json"),
		"a token cut short":              replace(token, `"digest": "`, `"digest": "0`),
		"a token of no hex":              replace(token, `"digest": "`+token[len("tokens/"):len("tokens/")+1], `"digest": "g`),
		"a token of nobody": func(all map[string]string) string {
			delete(all, agent)
			delete(all, granted)
			return token
		},
		"an agent's file for a grant's": content(granted, good[agent]),
		"a grant's file for an agent's": content(agent, good[granted]),
		"a stray agent":                 content("agents/stray.json", good[agent]),
		"a stray grant":                 content("grants/stray@openrouter.json", good[granted]),
		"a grant without its @":         content("grants/stray.json", good[granted]),
	}
	for _, name := range []string{agent, granted, token} {
		for what, text := range map[string]string{
			"empty": "", "blank": "\n", "null": "null\n", "no object": "[]\n", "text": "hello", "zeros": strings.Repeat("\x00", len(good[name])),
			"cut": good[name][:len(good[name])-3], "twice": good[name] + good[name], "with a tail": good[name] + "x",
			"with a field": strings.Replace(good[name], "{", `{"extra": 1,`, 1),
		} {
			cases[name+" "+what] = content(name, text)
		}
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{"agents/.tmp-1": "half", "agents/README": "not ours", "grants/notes.json.bak": "nor this"}
			for k, v := range good {
				all[k] = v
			}
			bad := spoil(all)
			dir := filepath.Join(durabletest.Dir(t), "state")
			for name, text := range all {
				if strings.HasSuffix(name, "/") {
					continue
				}
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
				t.Fatal(err)
			}
			before := fmt.Sprint(durabletest.Snapshot(t, dir))
			b, err := book.Open(dir, master, &tape{})
			if !errors.Is(err, book.ErrCorrupt) || b != nil {
				t.Fatalf("opened: %v", err)
			}
			if !strings.Contains(err.Error(), filepath.Join(dir, bad)) {
				t.Errorf("%v does not name %s", err, bad)
			}
			if after := fmt.Sprint(durabletest.Snapshot(t, dir)); after != before {
				t.Errorf("there was %s\nthere is %s", before, after)
			}
			// Without that file, and what hangs on it, the rest is as it was.
			for name := range all {
				if name == bad || strings.HasPrefix(bad, "agents/") && strings.Contains(name, "bot@") || strings.HasPrefix(bad, "agents/") && name == token {
					_ = os.Remove(filepath.Join(dir, name))
				}
			}
			if name == "a grant of nobody" {
				_ = os.Remove(filepath.Join(dir, token))
			}
			b, _ = open(t, dir)
			if b.Grant(second, or) == nil {
				t.Error("the rest is gone")
			}
			if _, err := os.Stat(filepath.Join(dir, "agents", ".tmp-1")); err == nil {
				t.Error("what an interrupted write left is not swept")
			}
		})
	}
}

// TestUnreadable: what cannot be read is an error, and not the same as a
// state without it.
func TestUnreadable(t *testing.T) {
	dir := stateDir(t)
	setUp(t, dir)
	if err := os.Remove(filepath.Join(dir, "agents", "bot.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "agents", "bot.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Open(dir, master, &tape{}); err == nil {
		t.Error("opened without an agent that cannot be read")
	}
	for _, kind := range []string{"agents", "grants", "tokens"} {
		dir := stateDir(t)
		setUp(t, dir)
		if err := os.RemoveAll(filepath.Join(dir, kind)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, kind), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := book.Open(dir, master, &tape{}); err == nil {
			t.Errorf("opened with a file for %s", kind)
		}
	}
}
