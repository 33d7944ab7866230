package local

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

func parsed(t *testing.T, name string) agentkeys.Service {
	t.Helper()
	s, err := agentkeys.ParseService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDrawersAreTheMasters: what is in a drawer comes back by the drawer's own
// door, also after a restart, and by no other: it is no key, and cannot be lent.
func TestDrawersAreTheMasters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	svc := parsed(t, "openrouter")
	for _, d := range []Drawer{DrawerAccount, DrawerPending, DrawerManagement} {
		if _, err := w.Drawer(ctx, svc, d); !errors.Is(err, vault.ErrNotFound) {
			t.Fatalf("%s, before: %v", d, err)
		}
		text := "what-is-in-" + string(d)
		if err := w.PutDrawer(ctx, svc, d, secret.FromString(text)); err != nil {
			t.Fatal(err)
		}
		if v, err := w.Drawer(ctx, svc, d); err != nil || string(v.Expose()) != text {
			t.Fatalf("%s: %v", d, err)
		}
		name := parsed(t, "openrouter--"+string(d))
		if _, err := w.Reveal(ctx, name); !errors.Is(err, catalog.ErrUnknown) {
			t.Errorf("%s, revealed: %v", d, err)
		}
		if _, err := w.Credential(ctx, name); !errors.Is(err, catalog.ErrUnknown) {
			t.Errorf("%s, shown: %v", d, err)
		}
		if err := w.Remove(ctx, name, true); !errors.Is(err, catalog.ErrUnknown) {
			t.Errorf("%s, removed: %v", d, err)
		}
		if _, err := w.Store(ctx, name, secret.FromString("another-one"), StoreOptions{AnyForm: true, NoVerify: true}); !errors.Is(err, catalog.ErrUnknown) {
			t.Errorf("%s, stored over: %v", d, err)
		}
	}
	label, err := agentkeys.ParseAgent("coder")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.CreateAgent(ctx, label); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Grant(ctx, label, parsed(t, "openrouter--account"), book.Terms{Expires: w.now().Add(time.Hour)}); !errors.Is(err, catalog.ErrUnknown) {
		t.Errorf("lent: %v", err)
	}
	if all, err := w.Credentials(ctx); err != nil || len(all) > 1 || len(all) == 1 && all[0].Revision != 0 {
		t.Errorf("listed as keys: %+v, %v", all, err)
	}
	w.close()
	w.open()
	if v, err := w.Drawer(ctx, svc, DrawerAccount); err != nil || string(v.Expose()) != "what-is-in-account" {
		t.Errorf("after a restart: %v", err)
	}
	if err := w.RemoveDrawer(ctx, svc, DrawerAccount); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Drawer(ctx, svc, DrawerAccount); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("emptied: %v", err)
	}
	for what, err := range map[string]error{
		"another drawer":     w.PutDrawer(ctx, svc, "attic", secret.FromString("x")),
		"no such service":    w.PutDrawer(ctx, parsed(t, "no-such-service"), DrawerAccount, secret.FromString("x")),
		"nothing":            w.PutDrawer(ctx, svc, DrawerAccount, secret.Value{}),
		"more than it holds": w.PutDrawer(ctx, svc, DrawerAccount, secret.FromString(strings.Repeat("x", MaxSecret+1))),
	} {
		if err == nil {
			t.Errorf("%s was kept", what)
		}
	}
}

// TestRecordProvisionTakesWords: nothing that a page or a mail said can get into
// the log through a run.
func TestRecordProvisionTakesWords(t *testing.T) {
	w := newWorld(t)
	good := ProvisionEvent{
		Service: parsed(t, "openrouter"), Op: "provision.step", Run: "0123456789abcdef", Door: "signup",
		Subject: "register continue", Decision: grant.Allowed, Reason: "makes account",
	}
	size := w.audit.Size()
	if err := w.RecordProvision(t.Context(), good); err != nil || w.audit.Size() != size+1 {
		t.Fatalf("%v; %d entries", err, w.audit.Size()-size)
	}
	for what, change := range map[string]func(*ProvisionEvent){
		"another operation": func(e *ProvisionEvent) { e.Op = "credential.use" },
		"another door":      func(e *ProvisionEvent) { e.Door = "window" },
		"another decision":  func(e *ProvisionEvent) { e.Decision = "maybe" },
		"no run":            func(e *ProvisionEvent) { e.Run = "" },
		"no service":        func(e *ProvisionEvent) { e.Service = agentkeys.Service{} },
		"a key":             func(e *ProvisionEvent) { e.Reason = "sk-OR-v1" },
		"an address":        func(e *ProvisionEvent) { e.Subject = "somebody@example.test" },
		"a link":            func(e *ProvisionEvent) { e.Subject = "https://example.test/verify?token=x" },
		"a long text":       func(e *ProvisionEvent) { e.Reason = strings.Repeat("a", 129) },
		"a line end":        func(e *ProvisionEvent) { e.Reason = "a\nb" },
	} {
		e := good
		change(&e)
		if err := w.RecordProvision(t.Context(), e); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if w.audit.Size() != size+1 {
		t.Error("something refused is in the log")
	}
}
