package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
	"github.com/litentry/agentkeys/internal/vault"
)

// TestMintedStory: with a management key alone an agent is lent a service, by a
// key that the service made for it, limits, and knows no more when the grant is
// revoked.
func TestMintedStory(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	ctx, svc := t.Context(), serviceOf(t, "openrouter")
	creds, err := w.Credentials(ctx)
	if err != nil || len(creds) != 1 || !creds[0].Management || creds[0].Revision != 0 {
		t.Errorf("%+v %v", creds, err)
	}
	if st, err := w.Status(ctx); err != nil || st.Credentials != 0 || st.Managed != 1 || st.Exchanged != 0 {
		t.Errorf("%+v %v", st, err)
	}
	expires := time.Now().Add(time.Hour)
	g, err := w.Grant(ctx, agentOf(t, "coder"), svc, book.Terms{Budget: usd(5, grant.Day), Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	live := u.Live()
	if len(live) != 1 || live[0].Limit != 5 || live[0].Reset != "daily" || live[0].Expires.After(expires) || live[0].Expires.Before(expires.Add(-time.Second)) {
		t.Fatalf("the service has %+v", live)
	}
	if !strings.HasPrefix(live[0].Name, "agentkeys-coder-") || g.Minted == nil || g.Minted.ID != live[0].ID || g.Minted.Limit != 5*grant.USD || g.Minted.Per != grant.Day {
		t.Errorf("named %s, shown as %+v", live[0].Name, g.Minted)
	}
	if status, body := w.says("coder"); status != 200 || u.usedKey() != live[0].Name {
		t.Errorf("%d %s with key %s", status, body, u.usedKey())
	}
	// Its budget is the service's to keep as well.
	u.Spend(live[0].ID, 5)
	if status, body := w.says("coder"); status != 402 || !strings.Contains(body, "Insufficient credits") {
		t.Errorf("%d %s", status, body)
	}
	if err := w.revoke("coder"); err != nil {
		t.Fatal(err)
	}
	if len(u.Live()) != 0 || len(w.mintedKeys()) != 0 {
		t.Errorf("%v is alive, %v remembered", u.Live(), w.mintedKeys())
	}
	if files, err := os.ReadDir(w.paths.Minted()); err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
	if status, _ := w.says("coder"); status != 403 {
		t.Errorf("revoked: %d", status)
	}
	if m, r := w.entries(opMint), w.entries(opUnmint); m != 2 || r != 2 {
		t.Errorf("%d and %d entries", m, r)
	}
	// Neither the log nor the memory has a secret.
	err = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what goes away while it is looked at
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), u.Management()) || strings.Contains(string(data), "sk-or-v1-0") {
			t.Errorf("%s shows a key", path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMintedEnds: whatever ends a grant ends its key.
func TestMintedEnds(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(w *world) error{
		"remove agent": func(w *world) error { return w.RemoveAgent(ctx, agentOf(w.t, "coder")) },
		"remove service": func(w *world) error {
			w.store("openrouter", routerKey(1))
			return w.Remove(ctx, serviceOf(w.t, "openrouter"), true)
		},
		"expiry": func(w *world) error {
			w.lend("coder", "openrouter", book.Terms{Expires: time.Now().Add(1200 * time.Millisecond)})
			within(w.t, "it has expired", func() bool { return !w.inForce(w.Host.dir.Grant(agentOf(w.t, "coder"), serviceOf(w.t, "openrouter"))) })
			w.due()
			return nil
		},
		"expiry before a restart": func(w *world) error {
			w.lend("coder", "openrouter", book.Terms{Expires: time.Now().Add(1200 * time.Millisecond)})
			w.close()
			time.Sleep(1300 * time.Millisecond)
			w.open()
			w.due()
			return nil
		},
		"another grant": func(w *world) error {
			w.lend("coder", "openrouter", book.Terms{})
			w.lend("coder", "openrouter", book.Terms{})
			w.due()
			if len(w.mintedKeys()) != 1 {
				w.t.Errorf("%+v", w.mintedKeys())
			}
			return w.revoke("coder")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, u := mintWorld(t, manage.Options{})
			w.lend("coder", "openrouter", book.Terms{})
			if len(u.Live()) != 1 {
				t.Fatal("no key")
			}
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			within(t, "the key is gone", func() bool { return len(u.Live()) == 0 && len(w.mintedKeys()) == 0 })
		})
	}
}

// TestMintedOutage: a revocation waits for no service, and what the service
// could not be told it is told later, also by another process.
func TestMintedOutage(t *testing.T) {
	for name, outage := range map[string]manage.Outage{"503": manage.Unavailable, "cut": manage.Cut, "silence": manage.Silent, "429": manage.Busy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, u := mintWorld(t, manage.Options{})
			w.lend("coder", "openrouter", book.Terms{})
			a, _ := w.Host.dir.Agent(agentOf(t, "coder"))
			u.Fail(outage)
			done := make(chan error, 1)
			go func() { done <- w.revoke("coder") }()
			within(t, "the grant has ended", func() bool {
				status, body := w.says("coder")
				return status == 403 && strings.Contains(body, "no-grant")
			})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			all := w.mintedKeys()
			if len(all) != 1 || all[0].State != MintedDeleting || w.copies(a.Wallet) != "" {
				t.Errorf("%+v, copies %q", all, w.copies(a.Wallet))
			}
			within(t, "the failure is known", func() bool { k := w.mintedKeys()[0]; return k.Error != "" && k.Next.After(k.Created) })
			w.close()
			if len(u.Live()) != 1 {
				t.Fatal("there was no outage")
			}
			if outage == manage.Silent { // another try would take its time
				u.Fail(manage.Up)
			}
			w.open()
			if outage != manage.Silent {
				w.due()
				if len(w.mintedKeys()) != 1 {
					t.Error("forgotten during an outage")
				}
				u.Fail(manage.Up)
			}
			within(t, "the key is gone", func() bool { w.due(); return len(u.Live()) == 0 && len(w.mintedKeys()) == 0 })
		})
	}
}

// TestMintedRefusals: a grant whose key is not made is no grant, lends the
// master's key to nobody, and leaves no key at the service.
func TestMintedRefusals(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	w.store("openrouter", routerKey(1))
	ctx, coder, svc := t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")
	a, _ := w.Host.dir.Agent(coder)
	for _, outage := range []manage.Outage{manage.Unavailable, manage.Busy, manage.Cut, manage.CutAfter} {
		u.Fail(outage)
		if _, err := w.Grant(ctx, coder, svc, book.Terms{Expires: time.Now().Add(time.Hour)}); !errors.Is(err, mint.ErrTemporary) {
			t.Errorf("outage %d: %v", outage, err)
		}
		if len(w.grantsOf(coder)) != 0 || w.copies(a.Wallet) != "" {
			t.Error("something is lent")
		}
		u.Fail(manage.Up)
		within(t, "no key is left", func() bool { w.due(); return len(u.Live()) == 0 })
	}
	// An owner's budget by the hour is kept here, and not there.
	g := w.lend("coder", "openrouter", book.Terms{Budget: usd(5, grant.Hour)})
	if live := u.Live(); len(live) != 1 || live[0].Limit != 0 || w.grantInfo(g).Minted.Limit != 0 {
		t.Errorf("%+v", live)
	}
	if err := w.RemoveManagement(ctx, svc, false); !errors.Is(err, ErrKeysAlive) {
		t.Error(err)
	}
	// Another management API would say of every key that it has none.
	base := "https://127.0.0.1:9/api/v1"
	if _, err := w.SetService(ctx, svc, ServiceChange{MintURL: &base}); !errors.Is(err, ErrServiceMoves) {
		t.Error(err)
	}
	other := newUpstream(t, manage.Options{})
	w.reachMint(other)
	if _, err := w.StoreManagement(ctx, svc, secret.FromString(other.Management()), false); !errors.Is(err, ErrOtherAccount) {
		t.Error(err)
	}
	if _, err := w.StoreManagement(ctx, svc, secret.FromString(u.Management()), false); !errors.Is(err, mint.ErrRefused) {
		t.Error(err)
	}
	if _, err := w.StoreManagement(ctx, svc, secret.FromString(other.Management()), true); err != nil {
		t.Error(err)
	}
	if err := w.revoke("coder"); err != nil {
		t.Fatal(err)
	}
	w.due()
	known := func() []MintedKey { return w.minted.where(func(k MintedKey) bool { return k.ID != "" }) }
	if all := known(); len(u.Live()) != 1 || len(all) != 1 || !strings.Contains(all[0].Error, "another management API") {
		t.Errorf("%+v", all)
	}
	w.reachMint(u)
	if _, err := w.StoreManagement(ctx, svc, secret.FromString(u.Management()), false); err != nil {
		t.Error(err)
	}
	within(t, "the key is gone", func() bool { w.due(); return len(u.Live()) == 0 && len(known()) == 0 })
	// What was asked for in an outage may turn up for a while.
	if n := len(w.mintedKeys()); n != 2 {
		t.Errorf("%d are remembered", n)
	}
	for _, k := range w.mintedKeys() {
		_ = w.minted.update(k.Name, func(k *MintedKey) { k.Created = k.Created.Add(-lost) })
	}
	within(t, "nothing is left", func() bool { w.due(); return len(w.mintedKeys()) == 0 })
	if err := w.RemoveManagement(ctx, svc, false); err != nil {
		t.Error(err)
	}
	// Without one, agents are lent copies again.
	w.lend("coder", "openrouter", book.Terms{})
	if w.copyOf(a.Wallet, "openrouter") != routerKey(1) || len(u.Live()) != 0 {
		t.Error("no copy")
	}
}

// TestStoreKeepsMinted: the master's key, stored anew or while a store was
// interrupted, does not take the place of an agent's own.
func TestStoreKeepsMinted(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	a, _ := w.Host.dir.Agent(agentOf(t, "coder"))
	w.lend("coder", "openrouter", book.Terms{})
	own := w.copyOf(a.Wallet, "openrouter")
	if res := w.store("openrouter", routerKey(1)); len(res.Agents) != 0 || w.copyOf(a.Wallet, "openrouter") != own {
		t.Errorf("%v", res.Agents)
	}
	ctx := context.Background()
	p, err := w.decider.Own(ctx, grant.ActStore, w.wallet, serviceOf(t, "openrouter"), grant.Event{Time: time.Now(), Op: opStore, Actor: w.wallet})
	if err == nil {
		_, err = w.vault.Store(ctx, p, envelope.Record{Secret: secret.FromString(routerKey(2)), Kind: "api-key", Route: "import"})
	}
	if err != nil {
		t.Fatal(err)
	}
	k := w.killed()
	k.open()
	if k.copyOf(a.Wallet, "openrouter") != own {
		t.Error("mended away")
	}
	if status, body := k.says("coder"); status != 200 || len(u.Live()) != 1 {
		t.Errorf("%d %s", status, body)
	}
}

// TestRotateKey: no request fails while keys are replaced, again and again, and
// in the end each grant and the master have the newest, and no other is alive.
func TestRotateKey(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	w.Host.opts.KeyGrace = time.Second
	ctx, svc := t.Context(), serviceOf(t, "openrouter")
	if _, err := w.RotateKey(ctx, svc); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("nothing to rotate: %v", err)
	}
	w.store("openrouter", routerKey(1))
	w.agent("other")
	w.lend("coder", "openrouter", book.Terms{Budget: usd(7, grant.Total)})
	w.lend("other", "openrouter", book.Terms{})
	var failed, done atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, label := range []string{"coder", "other", "coder"} {
		s, err := w.StartSession(ctx, agentOf(t, label), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := saysWith(context.Background(), w.Host, s.Token); status != 200 {
					first.CompareAndSwap(nil, body)
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	for i := range 4 {
		from := done.Load()
		within(t, "requests are under way", func() bool { return done.Load() > from+10 })
		res, err := w.RotateKey(ctx, svc)
		if err != nil || len(res.Keys) != 3 {
			t.Fatal(res, err)
		}
		own := res.Keys[2]
		if !own.Agent.IsZero() || (own.Old == "") != (i == 0) || res.Keys[0].Old == "" || res.Keys[1].Old == "" {
			t.Errorf("%+v", res.Keys)
		}
	}
	within(t, "the old ones are gone", func() bool { return len(u.Live()) == 3 && len(w.mintedKeys()) == 3 })
	from := done.Load()
	within(t, "and requests go on", func() bool { return done.Load() > from+10 })
	close(stop)
	wg.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d requests failed: %v", failed.Load(), done.Load(), first.Load())
	}
	if key := w.revealed("openrouter"); u.Keyring(key) == "" || !strings.HasPrefix(u.Keyring(key), "agentkeys-own-") {
		t.Error("the master has another key")
	}
	// What is left of a budget for good is what the new key may spend.
	g := w.Host.dir.Grant(agentOf(t, "coder"), svc)
	spent := w.ledger.Usage(g, time.Now()).Spent
	if info := w.grantInfo(g); info.Minted == nil || info.Minted.Limit >= 7*grant.USD || info.Minted.Limit < 7*grant.USD-spent {
		t.Errorf("%v spent, limit %+v", spent, info.Minted)
	}
	// A key that was brought takes the place of the one made, which goes.
	w.store("openrouter", routerKey(1))
	within(t, "the master's is gone", func() bool { w.due(); return len(u.Live()) == 2 })
	if w.revealed("openrouter") != routerKey(1) {
		t.Error("another key")
	}
}

// TestRotateUnderWay: a request that began with the old key ends with it, and the
// key lives on at the service until no such request can be left.
func TestRotateUnderWay(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	w.lend("coder", "openrouter", book.Terms{})
	s, err := w.StartSession(t.Context(), agentOf(t, "coder"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old := u.ids()[0]
	resp, err := ask(t.Context(), w.Host, s.Token, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	res, err := w.RotateKey(t.Context(), serviceOf(t, "openrouter"))
	if err != nil || len(res.Keys) != 1 || res.Keys[0].Old != old || res.Keys[0].Until.Before(time.Now().Add(keyGrace-time.Minute)) {
		t.Fatal(res, err)
	}
	w.reap(t.Context())
	if len(u.Live()) != 2 {
		t.Errorf("alive: %v", u.Live())
	}
	close(u.gate)
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "data: [DONE]") {
		t.Errorf("%v: %s", err, text)
	}
	w.due()
	if ids := u.ids(); len(ids) != 1 || ids[0] != res.Keys[0].ID {
		t.Errorf("alive: %v", ids)
	}
}

// TestRotateUnaccepted: a key that the service does not take is not used.
func TestRotateUnaccepted(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	a, _ := w.Host.dir.Agent(agentOf(t, "coder"))
	w.lend("coder", "openrouter", book.Terms{})
	own := w.copyOf(a.Wallet, "openrouter")
	_ = u.chat.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := w.RotateKey(ctx, serviceOf(t, "openrouter")); !errors.Is(err, ErrNewKey) {
		t.Error(err)
	}
	within(t, "the new one is gone", func() bool { w.due(); return len(u.Live()) == 1 })
	if w.copyOf(a.Wallet, "openrouter") != own || u.Keyring(own) == "" {
		t.Error("the agent has another key")
	}
}

// TestMintedDisk: without a memory of it no key is asked for, and one whose id
// could not be written down is found by its name.
func TestMintedDisk(t *testing.T) {
	var spoil atomic.Bool
	var dir string
	w, u := mintWorld(t, manage.Options{After: func(method, _ string) {
		if method == "POST" && spoil.Load() {
			if err := os.Rename(dir, dir+"-gone"); err != nil {
				t.Error(err)
			}
		}
	}})
	dir = w.paths.Minted()
	ctx, coder, svc := t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")
	asked := len(u.Seen())
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Grant(ctx, coder, svc, book.Terms{Expires: time.Now().Add(time.Hour)}); err == nil || len(u.Seen()) != asked {
		t.Errorf("%v, after %d requests", err, len(u.Seen())-asked)
	}
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	spoil.Store(true)
	if _, err := w.Grant(ctx, coder, svc, book.Terms{Expires: time.Now().Add(time.Hour)}); err == nil {
		t.Error("a key that nobody remembers is lent")
	}
	spoil.Store(false)
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	w.isWhole(u)
	within(t, "nothing is left", func() bool { w.due(); return len(w.mintedKeys()) == 0 })
}
