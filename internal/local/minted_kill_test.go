package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/dirblob"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
	"github.com/litentry/agentkeys/internal/vault"
)

// killer copies what a kill at one moment would leave, and has the process stand
// still from then on.
type killer struct {
	mu     sync.Mutex
	armed  bool
	count  int // moments to let pass
	passed int
	copied chan *world
	free   chan struct{}
	copy   func() *world
}

// moment is one at which the process may be killed.
func (k *killer) moment(string) {
	k.mu.Lock()
	if !k.armed {
		k.mu.Unlock()
		return
	}
	k.passed++
	if k.passed <= k.count {
		k.mu.Unlock()
		return
	}
	k.armed = false
	k.copied <- k.copy()
	k.mu.Unlock()
	<-k.free
}

// killedBlobs and killedDir have moments around what they change.
type killedBlobs struct {
	vault.Blobs
	k *killer
}

func (b killedBlobs) Put(ctx context.Context, key vault.Key, data []byte, c vault.Condition) (vault.Version, error) {
	b.k.moment("before a key is stored")
	v, err := b.Blobs.Put(ctx, key, data, c)
	b.k.moment("after a key is stored")
	return v, err
}

func (b killedBlobs) Delete(ctx context.Context, key vault.Key, v vault.Version) error {
	b.k.moment("before a key is deleted")
	err := b.Blobs.Delete(ctx, key, v)
	b.k.moment("after a key is deleted")
	return err
}

type killedDir struct {
	directory
	k *killer
}

func (d killedDir) PutGrant(ctx context.Context, a agentkeys.Agent, s agentkeys.Service, t book.Terms, now time.Time) (*grant.Grant, error) {
	d.k.moment("before a grant")
	g, err := d.directory.PutGrant(ctx, a, s, t, now)
	d.k.moment("after a grant")
	return g, err
}

func (d killedDir) RemoveGrant(ctx context.Context, a agentkeys.Agent, s agentkeys.Service, now time.Time) (*grant.Grant, error) {
	d.k.moment("before a grant ends")
	g, err := d.directory.RemoveGrant(ctx, a, s, now)
	d.k.moment("after a grant ends")
	return g, err
}

// TestMintedKills: killed at any moment of a grant, a grant anew, a rotation or
// a revocation, the next process ends up with exactly the keys that serve
// somebody.
func TestMintedKills(t *testing.T) {
	ctx := context.Background()
	terms := func() book.Terms { return book.Terms{Budget: usd(3, grant.Day), Expires: time.Now().Add(time.Hour)} }
	lend := func(w *world) error {
		_, err := w.Grant(ctx, agentOf(w.t, "coder"), serviceOf(w.t, "openrouter"), terms())
		return err
	}
	for name, c := range map[string]struct {
		before, do func(w *world) error
		least      int // moments there are
	}{
		"grant":      {nil, lend, 6},
		"grant anew": {lend, lend, 6},
		"rotate":     {lend, func(w *world) error { _, err := w.RotateKey(ctx, serviceOf(w.t, "openrouter")); return err }, 8},
		"revoke":     {lend, func(w *world) error { return w.revoke("coder") }, 6},
		"store a key": {lend, func(w *world) error {
			_, err := w.Store(ctx, serviceOf(w.t, "openrouter"), secret.FromString(routerKey(1)), StoreOptions{NoVerify: true})
			return err
		}, 2},
	} {
		for n := 0; n < 50; n++ { // with -run, moments that are left out count as passed
			more := true
			if !t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) { more = killAt(t, n, c.before, c.do) }) {
				break
			}
			if !more {
				if n < c.least {
					t.Errorf("%s has %d moments", name, n)
				}
				break
			}
		}
	}
}

// killAt kills do at its moment n; false if it has no more than that.
func killAt(t *testing.T, n int, before, do func(*world) error) (more bool) {
	k := &killer{copied: make(chan *world, 1), free: make(chan struct{}), count: n}
	api := func(when string) func(method, path string) {
		return func(method, _ string) {
			if method != "GET" {
				k.moment(when + " " + method)
			}
		}
	}
	w, u := mintWorld(t, manage.Options{Before: api("before"), After: api("after")})
	if strings.Contains(t.Name(), "rotate") {
		w.store("openrouter", routerKey(1))
	}
	if before != nil {
		if err := before(w); err != nil {
			t.Fatal(err)
		}
	}
	blobs, err := dirblob.Open(w.paths.Store())
	if err != nil {
		t.Fatal(err)
	}
	// In place of those of the process, for one that comes to its end with them.
	p := &world{t: t, dir: w.dir, roots: w.roots, log: w.log}
	w.close()
	p.open()
	t.Cleanup(func() { p.close() })
	t.Cleanup(func() { close(k.free) })
	marks, err := dirblob.OpenMarks(p.paths.Marks())
	if err != nil {
		t.Fatal(err)
	}
	p.Host.minted.reaping.Lock()
	p.Host.change.Lock()
	p.Host.vault = vault.New(killedBlobs{blobs, k}, p.keys, marks)
	p.Host.dir = killedDir{p.Host.dir, k}
	p.Host.change.Unlock()
	p.Host.minted.reaping.Unlock()
	k.copy = p.killed
	k.mu.Lock()
	k.armed = true
	k.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- do(p) }()
	var next *world
	select {
	case next = <-k.copied:
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
		return false
	case <-time.After(30 * time.Second):
		t.Fatal("it neither ends nor comes to a moment")
	}
	next.open()
	next.isWhole(u)
	// And it is as good as any.
	if err := next.revoke("coder"); err != nil && !errors.Is(err, book.ErrUnknownGrant) {
		t.Fatal(err)
	}
	next.isWhole(u)
	next.lend("coder", "openrouter", book.Terms{})
	next.isWhole(u)
	if len(u.Live()) == 0 {
		t.Error("no key for the new grant")
	}
	return true
}

// isWhole waits until exactly the keys that serve somebody are alive.
func (w *world) isWhole(u *upstream) {
	w.t.Helper()
	var why string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w.due()
		if why = w.amiss(u); why == "" {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s; alive: %v; remembered: %+v", why, u.Live(), w.mintedKeys())
		}
	}
}

func (w *world) amiss(u *upstream) string {
	wanted := map[string]bool{}
	svc := serviceOf(w.t, "openrouter")
	if g := w.Host.dir.Grant(agentOf(w.t, "coder"), svc); w.inForce(g) {
		rec, err := w.copyRecord(w.t.Context(), g.Wallet, svc)
		if err != nil {
			return err.Error()
		}
		if rec.KeyID == "" {
			return "a copy without an id"
		}
		wanted[rec.KeyID] = true
		if status, body := w.says("coder"); status != 200 {
			return fmt.Sprintf("%d %s", status, body)
		}
		if m := w.grantInfo(g).Minted; m == nil || m.ID != rec.KeyID {
			return "the grant does not know its key"
		}
	}
	if rec, err := w.copyRecord(w.t.Context(), w.wallet, svc); err == nil && rec.KeyID != "" {
		wanted[rec.KeyID] = true
	}
	for _, id := range u.ids() {
		if !wanted[id] {
			return "an orphan " + id
		}
		delete(wanted, id)
	}
	if len(wanted) > 0 {
		return fmt.Sprintf("dead: %v", wanted)
	}
	return ""
}
