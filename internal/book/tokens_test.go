package book_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
)

func tokenFiles(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestTokenIsNowhere(t *testing.T) {
	dir := stateDir(t)
	b, _, text := setUp(t, dir)
	if err := b.RenewToken(text, noon, noon.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if len(text) < 43 || strings.Contains(text, book.TokenMark) {
		t.Errorf("a token of %d bytes", len(text))
	}
	if again := issue(t, b, bot); again == text {
		t.Error("the same token twice")
	}
	all := durabletest.Snapshot(t, dir)
	if len(all) == 0 {
		t.Fatal("no files")
	}
	for name, content := range all {
		// Not even a piece of it: a half would leave the rest to be guessed.
		for i := 0; i+12 <= len(text); i++ {
			if piece := text[i : i+12]; strings.Contains(content, piece) || strings.Contains(name, piece) {
				t.Fatalf("%s has %q of the token", name, piece)
			}
		}
	}
}

func TestAgentByToken(t *testing.T) {
	b, _, text := setUp(t, stateDir(t))
	for _, s := range []string{book.TokenMark + text, "sk-" + book.TokenMark + text, strings.Repeat("x", 1000) + book.TokenMark + text} {
		if a, ok := b.AgentByToken(s, noon); !ok || a.Label != bot || a.Wallet != wallet(2) {
			t.Errorf("%.40q... speaks for %+v", s, a)
		}
	}
	flipped := []byte(text)
	flipped[7] ^= 1
	for _, s := range []string{
		"", text, book.TokenMark, "sk-" + book.TokenMark, book.TokenMark + text[:len(text)-1], book.TokenMark + text + "=", book.TokenMark + text + "\n",
		book.TokenMark + " " + text, book.TokenMark + string(flipped), book.TokenMark + text + text, book.TokenMark + book.TokenMark + text,
		strings.ToUpper(book.TokenMark) + text, book.TokenMark + strings.ToLower(text), book.TokenMark + strings.Repeat("A", 1<<20),
	} {
		if a, ok := b.AgentByToken(s, noon); ok || a != (book.Agent{}) {
			t.Errorf("%.80q speaks for %+v", s, a)
		}
	}
}

func TestTokenExpiry(t *testing.T) {
	dir := stateDir(t)
	b, _, text := setUp(t, dir)
	end := noon.Add(time.Hour)
	speaks := func(at time.Time, want bool) {
		t.Helper()
		if got := speaksFor(b, text, at) == bot; got != want {
			t.Errorf("at %s the token speaks: %v", at, got)
		}
	}
	speaks(end.Add(-1), true)
	speaks(end, false)
	speaks(end.AddDate(1, 0, 0), false)

	if err := b.RenewToken(text, end.Add(-1), end.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	speaks(end, true)
	speaks(end.Add(time.Hour), false)
	if b, _ = open(t, dir); speaksFor(b, text, end) != bot {
		t.Error("the renewal is forgotten")
	}
	for _, at := range []time.Time{end.Add(time.Hour), end.AddDate(1, 0, 0)} {
		if err := b.RenewToken(text, at, at.Add(time.Hour)); !errors.Is(err, book.ErrUnknownToken) {
			t.Errorf("renewed when it was dead: %v", err)
		}
	}
	if err := b.RenewToken("unknown", noon, end); !errors.Is(err, book.ErrUnknownToken) || strings.Contains(err.Error(), "unknown") {
		t.Errorf("%v", err)
	}

	// The dead ones' files go with the next token.
	if n := tokenFiles(t, dir); n != 1 {
		t.Fatalf("%d tokens", n)
	}
	later := end.Add(time.Hour)
	if _, err := b.IssueToken(ctx, bot, later, later.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := tokenFiles(t, dir); n != 1 {
		t.Errorf("%d tokens are kept", n)
	}
	speaks(noon, false) // though the clock may be set back
}

// TestSweepFails: a file that cannot be removed keeps nobody from working, and
// its token stays dead.
func TestSweepFails(t *testing.T) {
	dir := stateDir(t)
	b, _, text := setUp(t, dir)
	clear := obstruct(t, dir, "tokens")
	later := noon.Add(2 * time.Hour)
	if _, err := b.IssueToken(ctx, bot, later, later.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if speaksFor(b, text, noon) != (agentkeys.Agent{}) {
		t.Error("an expired token came back with the clock")
	}
	clear()
	if _, err := b.IssueToken(ctx, bot, later, later.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := tokenFiles(t, dir); n != 1 {
		t.Errorf("%d tokens are kept", n)
	}
}
