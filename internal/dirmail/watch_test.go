package dirmail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/durable/durabletest"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// told waits for a hint.
func told(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-c:
		if !ok {
			t.Fatalf("%s: closed", what)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing was told", what)
	}
}

// drain takes what was told and not taken, until it is quiet.
func drain(c <-chan struct{}) (n int) {
	for {
		select {
		case <-c:
			n++
		case <-time.After(100 * time.Millisecond):
			return n
		}
	}
}

// TestWatchAnew: an inbox that is removed, at any height, and made again is
// watched again.
func TestWatchAnew(t *testing.T) {
	d := open(t)
	c, err := d.Watch(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	for n, gone := range []string{"", inboxOf(wallet), filepath.Dir(inboxOf(wallet)), inboxOf(wallet)} {
		if gone != "" {
			if err := os.RemoveAll(filepath.Join(d.root, gone)); err != nil {
				t.Fatal(err)
			}
			drain(c)
		}
		m := mailstoretest.ID(fmt.Sprint("m", n))
		place(t, d, m, write(t, d, m, "x"), wallet)
		told(t, c, fmt.Sprintf("without %q", gone))
		drain(c)
	}
	// Renamed away and back, with one more message in it.
	inbox := filepath.Join(d.root, inboxOf(wallet))
	if err := os.Rename(inbox, inbox+"-"); err != nil {
		t.Fatal(err)
	}
	drain(c)
	if err := os.WriteFile(filepath.Join(inbox+"-", "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(inbox+"-", inbox); err != nil {
		t.Fatal(err)
	}
	told(t, c, "renamed")
}

// TestWatchQuick: removed and made again faster than anybody looks.
func TestWatchQuick(t *testing.T) {
	d := open(t)
	c, err := d.Watch(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 30 {
		m := mailstoretest.ID(fmt.Sprint("m", n))
		v := write(t, d, m, "x")
		for range n % 3 {
			if err := os.RemoveAll(filepath.Join(d.root, inboxOf(wallet))); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(d.root, inboxOf(wallet)), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		place(t, d, m, v, wallet)
		told(t, c, fmt.Sprint("round ", n))
		time.Sleep(5 * time.Millisecond)
		select { // what is left of this round
		case <-c:
		default:
		}
	}
}

// TestWatchOthers: what others get, and what waits, is nothing to tell.
func TestWatchOthers(t *testing.T) {
	d := open(t)
	c, err := d.Watch(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	for n := range byte(5) {
		m := mailstoretest.ID(fmt.Sprint("m", n))
		place(t, d, m, write(t, d, m, "x"), mailstoretest.Wallet(10+n))
	}
	if n := drain(c); n > 0 {
		t.Errorf("told %d times", n)
	}
}

// TestWatchOneHint: who does not listen keeps nobody waiting, and is told once.
func TestWatchOneHint(t *testing.T) {
	d := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := d.Watch(ctx, wallet)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		m := mailstoretest.ID(fmt.Sprint("m", n))
		place(t, d, m, write(t, d, m, "x"), wallet)
	}
	time.Sleep(100 * time.Millisecond)
	if n := drain(c); n < 1 || n > 2 {
		t.Errorf("told %d times", n)
	}
	cancel()
	for range c { // until it is closed
	}
}

// TestWatchAnotherProcess: it is the directory that is watched.
func TestWatchAnotherProcess(t *testing.T) {
	dir := filepath.Join(memDir(t), "mail")
	d := openAt(t, dir)
	c, err := d.Watch(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	arrived(t, dir)
	if _, err := durabletest.Start(t, "place", dir).Wait(); err != nil {
		t.Fatal(err)
	}
	told(t, c, "another process")
}

// TestWatchLinks: a link in the inbox's place leads nowhere.
func TestWatchLinks(t *testing.T) {
	d := open(t)
	own := filepath.Join(d.root, botsName, wallet.String())
	elsewhere := filepath.Join(filepath.Dir(d.root), "elsewhere")
	if err := errors.Join(os.Mkdir(own, 0o700), os.Mkdir(elsewhere, 0o700), os.Symlink(elsewhere, filepath.Join(own, inboundName))); err != nil {
		t.Fatal(err)
	}
	c, err := d.Watch(t.Context(), wallet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(elsewhere, "m"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := drain(c); n > 0 {
		t.Errorf("told %d times", n)
	}
}
