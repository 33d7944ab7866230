package local

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/dirblob"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
	"github.com/litentry/agentkeys/internal/vault"
)

// hold is a moment at which somebody can be made to wait.
type hold struct {
	armed  chan struct{} // holds one that is to wait
	there  chan struct{} // it waits
	letsGo chan struct{}
}

func newHold() *hold {
	return &hold{make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})}
}

// moment is waited at by whoever comes first after arm.
func (d *hold) moment() {
	select {
	case <-d.armed:
		d.there <- struct{}{}
		<-d.letsGo
	default:
	}
}

func (d *hold) arm() { d.armed <- struct{}{} }

// heldBlobs waits where a management key is opened or deleted.
type heldBlobs struct {
	vault.Blobs
	get, del *hold
}

func isManagement(k vault.Key) bool {
	return strings.Contains(k.String(), drawerMark+string(DrawerManagement))
}

func (b heldBlobs) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	if isManagement(k) {
		b.get.moment()
	}
	return b.Blobs.Get(ctx, k)
}

func (b heldBlobs) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if isManagement(k) {
		b.del.moment()
	}
	return b.Blobs.Delete(ctx, k, v)
}

// holdBlobs has w wait at moments of its management key.
func (w *world) holdBlobs() heldBlobs {
	w.t.Helper()
	blobs, err := dirblob.Open(w.paths.Store())
	if err != nil {
		w.t.Fatal(err)
	}
	marks, err := dirblob.OpenMarks(w.paths.Marks())
	if err != nil {
		w.t.Fatal(err)
	}
	b := heldBlobs{blobs, newHold(), newHold()}
	w.Host.minted.reaping.Lock()
	defer w.Host.minted.reaping.Unlock()
	w.Host.change.Lock()
	defer w.Host.change.Unlock()
	w.Host.vault = vault.New(b, w.keys, marks)
	return b
}

func (w *world) granting() chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.Grant(context.Background(), agentOf(w.t, "coder"), serviceOf(w.t, "openrouter"), book.Terms{Expires: time.Now().Add(time.Hour)})
		done <- err
	}()
	return done
}

// TestRemoveManagementUnderWay: whoever comes first, a management key that is
// removed leaves no key behind that it was to delete.
func TestRemoveManagementUnderWay(t *testing.T) {
	ctx := context.Background()
	t.Run("while it is opened", func(t *testing.T) {
		w, u := mintWorld(t, manage.Options{})
		b, svc := w.holdBlobs(), serviceOf(t, "openrouter")
		e, err := w.cat.entry(svc)
		if err != nil {
			t.Fatal(err)
		}
		b.get.arm()
		done := make(chan error, 1)
		go func() {
			k, err := w.makeKey(ctx, e, agentOf(t, "coder"), wants(book.Terms{}))
			k.done()
			done <- err
		}()
		<-b.get.there
		if err := w.RemoveManagement(ctx, svc, false); !errors.Is(err, ErrKeysAlive) {
			t.Errorf("removed while a key is being made: %v", err)
		}
		close(b.get.letsGo)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		within(t, "nothing is left", func() bool { w.due(); return len(u.Live()) == 0 && len(w.mintedKeys()) == 0 })
		if err := w.RemoveManagement(ctx, svc, false); err != nil {
			t.Error(err)
		}
	})
	t.Run("while it is removed", func(t *testing.T) {
		w, u := mintWorld(t, manage.Options{})
		b := w.holdBlobs()
		asked := len(u.Seen())
		b.del.arm()
		removed := make(chan error, 1)
		go func() { removed <- w.RemoveManagement(ctx, serviceOf(t, "openrouter"), false) }()
		<-b.del.there
		granted := w.granting()
		close(b.del.letsGo)
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		// It comes before the grant has looked, or after.
		if err := <-granted; !errors.Is(err, ErrNoManagement) && !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("granted: %v", err)
		}
		if len(u.Seen()) != asked || len(w.mintedKeys()) != 0 || len(w.grantsOf(agentOf(t, "coder"))) != 0 {
			t.Errorf("%d requests, %+v", len(u.Seen())-asked, w.mintedKeys())
		}
	})
	t.Run("while the service makes one", func(t *testing.T) {
		at := newHold()
		w, u := mintWorld(t, manage.Options{Before: func(method, _ string) {
			if method == "POST" {
				at.moment()
			}
		}})
		svc := serviceOf(t, "openrouter")
		at.arm()
		granted := w.granting()
		<-at.there
		if err := w.RemoveManagement(ctx, svc, false); !errors.Is(err, ErrKeysAlive) {
			t.Errorf("removed: %v", err)
		}
		// Whoever insists is told what is left, and can mend it.
		if err := w.RemoveManagement(ctx, svc, true); err != nil {
			t.Fatal(err)
		}
		close(at.letsGo)
		if err := <-granted; err != nil {
			t.Fatal(err)
		}
		if err := w.revoke("coder"); err != nil {
			t.Fatal(err)
		}
		within(t, "it is said what is left", func() bool {
			w.due()
			all := w.mintedKeys()
			return len(all) == 1 && all[0].State == MintedDeleting && strings.Contains(all[0].Error, ErrNoManagement.Error())
		})
		if len(u.Live()) != 1 {
			t.Errorf("alive: %v", u.Live())
		}
		w.manages(u)
		within(t, "it is deleted", func() bool { w.due(); return len(u.Live()) == 0 && len(w.mintedKeys()) == 0 })
	})
}

// TestStoreManagementUnderWay: a management key of another account does not take
// the place of one that is making a key.
func TestStoreManagementUnderWay(t *testing.T) {
	ctx := context.Background()
	w, u := mintWorld(t, manage.Options{})
	svc := serviceOf(t, "openrouter")
	v := secret.FromString(u.Management())
	defer v.Clear()
	e, err := w.cat.entry(svc)
	if err != nil {
		t.Fatal(err)
	}
	before := w.aliveAt(svc)
	k, err := w.makeKey(ctx, e, agentOf(t, "coder"), wants(book.Terms{}))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := w.keepManagement(ctx, svc, v, before); kept || err != nil {
		t.Errorf("kept without a look at the key that is new: %v", err)
	}
	if kept, err := w.keepManagement(ctx, svc, v, w.aliveAt(svc)); !kept || err != nil {
		t.Errorf("%t %v", kept, err)
	}
	k.done()
	within(t, "nothing is left", func() bool { w.due(); return len(u.Live()) == 0 && len(w.mintedKeys()) == 0 })
}

// TestMintedUnrecorded: while nothing can be recorded no key is deleted, which is
// said; the next process does it by itself.
func TestMintedUnrecorded(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	w.lend("coder", "openrouter", book.Terms{})
	if err := w.audit.Close(); err != nil {
		t.Fatal(err)
	}
	w.unwanted(w.mintedKeys()[0].Name, w.now())
	w.due()
	all := w.mintedKeys()
	if len(u.Live()) != 1 || len(all) != 1 || !strings.Contains(all[0].Error, "cannot be recorded") || all[0].Tries != 0 || !all[0].Next.After(all[0].Created) {
		t.Errorf("alive: %v, remembered: %+v", u.Live(), all)
	}
	next := w.killed()
	w.Host = nil
	next.open()
	within(t, "it is deleted", func() bool { next.due(); return len(u.Live()) == 0 })
}

// TestMintedReplayed: a service, or who stands before it, that answers with a key
// it has given before makes no grant: two would share it, and the end of one
// would be the end of both.
func TestMintedReplayed(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			_, _ = io.WriteString(out, `{"data":[]}`)
			return
		}
		out.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(out, `{"key":"`+routerKey(3)+`","data":{"hash":"abc"}}`)
	}))
	t.Cleanup(srv.Close)
	svc, ca := serviceOf(t, "openrouter"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	_, err := w.SetService(t.Context(), svc, ServiceChange{
		BaseURL: &srv.URL, MintURL: &srv.URL, CAPEM: &ca, Force: true,
		AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(srv.Listener.Addr().String())},
	})
	if err == nil {
		_, err = w.StoreManagement(t.Context(), svc, secret.FromString("management-key"), false)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.agent("coder")
	w.agent("other")
	w.lend("coder", "openrouter", book.Terms{})
	_, err = w.Grant(t.Context(), agentOf(t, "other"), svc, book.Terms{Expires: time.Now().Add(time.Hour)})
	if !errors.Is(err, mint.ErrAnswer) || strings.Contains(err.Error(), routerKey(3)) || len(w.grantsOf(agentOf(t, "other"))) != 0 {
		t.Errorf("lent: %v", err)
	}
	if all := w.minted.where(func(k MintedKey) bool { return k.ID == "abc" }); len(all) != 1 || all[0].State != MintedLive || all[0].Agent != agentOf(t, "coder") {
		t.Errorf("%+v", all)
	}
	if got := w.lastOf(opMint); got.Decision != grant.Failed || got.Reason != "unexpected answer" {
		t.Errorf("on record: %+v", got)
	}
}

// TestMintedClockSet: a key that may be there is looked for several times, though
// a clock that was set says that it was asked for long ago.
func TestMintedClockSet(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	u.Fail(manage.CutAfter)
	if err := <-w.granting(); !errors.Is(err, mint.ErrTemporary) {
		t.Fatal(err)
	}
	k := w.mintedKeys()[0]
	m, at, err := func() (*mint.Minter, string, error) {
		e, err := w.cat.entry(k.Service)
		if err != nil {
			return nil, "", err
		}
		return w.minter(e)
	}()
	if err != nil || at != k.At {
		t.Fatal(err)
	}
	u.Fail(manage.Up)
	management := secret.FromString(u.Management())
	defer management.Clear()
	k.Name, k.Created = "agentkeys-not-listed-yet", k.Created.Add(-24*time.Hour)
	if err := w.unmakeNamed(t.Context(), m, management, k); !errors.Is(err, errLost) {
		t.Errorf("at the first try: %v", err)
	}
	if k.Tries = 5; w.unmakeNamed(t.Context(), m, management, k) != nil {
		t.Error("it is looked for without an end")
	}
}

// TestMintedGivenUp: an owner who goes away while the service makes a key leaves
// none, whether its answer had come or not.
func TestMintedGivenUp(t *testing.T) {
	at := newHold()
	w, u := mintWorld(t, manage.Options{After: func(method, _ string) {
		if method == "POST" {
			at.moment()
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	at.arm()
	granted := make(chan error, 1)
	go func() {
		_, err := w.Grant(ctx, agentOf(t, "coder"), serviceOf(t, "openrouter"), book.Terms{Expires: time.Now().Add(time.Hour)})
		granted <- err
	}()
	<-at.there
	if len(u.Live()) != 1 {
		t.Fatal("no key is made")
	}
	cancel()
	if err := <-granted; !errors.Is(err, mint.ErrTemporary) || len(w.grantsOf(agentOf(t, "coder"))) != 0 {
		t.Errorf("granted: %v", err)
	}
	if all := w.mintedKeys(); len(all) != 1 || all[0].State != MintedMaking || all[0].ID != "" {
		t.Errorf("%+v", all)
	}
	close(at.letsGo)
	within(t, "the key is gone", func() bool { w.due(); return len(u.Live()) == 0 })
	if status, _ := w.says("coder"); status != 403 {
		t.Errorf("lent: %d", status)
	}
	w.isWhole(u)
}
