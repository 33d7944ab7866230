package vault_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// tester is what *testing.T and *rapid.T have in common here.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// world is one store, one device's marks and one signer, over which any number
// of vaults may be opened.
type world struct {
	blobs *vaulttest.Memory
	marks *vaulttest.MemoryMarks
	keys  *signer.Signer
	roots signer.Roots
}

func newWorld() *world {
	r := signer.NewRoots()
	return &world{&vaulttest.Memory{}, &vaulttest.MemoryMarks{}, signer.New(r), r}
}

func (w *world) vault() *vault.Vault { return vault.New(w.blobs, w.keys, w.marks) }

// faulty opens a vault whose every step goes through f.
func (w *world) faulty(f *vaulttest.Faults) *vault.Vault {
	return vault.New(f.Blobs(w.blobs), w.keys, f.Marks(w.marks))
}

// newDevice opens a vault that remembers nothing.
func (w *world) newDevice() *vault.Vault {
	return vault.New(w.blobs, w.keys, &vaulttest.MemoryMarks{})
}

func (w *world) addEpoch(t tester) {
	t.Helper()
	next, err := w.roots.AddEpoch()
	if err != nil {
		t.Fatal(err)
	}
	w.install(t, next)
}

func (w *world) retire(t tester, before uint32) {
	t.Helper()
	next, err := w.roots.RetireBefore(before)
	if err != nil {
		t.Fatal(err)
	}
	w.install(t, next)
}

func (w *world) install(t tester, r signer.Roots) {
	t.Helper()
	if err := w.keys.Install(r); err != nil {
		t.Fatal(err)
	}
	w.roots = r
}

type silent struct{}

func (silent) Record(context.Context, grant.Event) error { return nil }
func (silent) Note(grant.Event) error                    { return nil }

var decider = grant.NewDecider(grant.NewLedger(), silent{})

func svc(s string) agentkeys.Service { return agentkeys.Must(agentkeys.ParseService(s)) }

var (
	ctx   = context.Background()
	alice = vaulttest.Wallet(1)
	bob   = vaulttest.Wallet(2)
	or    = svc("openrouter")
	brave = svc("brave-search")
)

func permitFor(a grant.Action, w agentkeys.Wallet, s agentkeys.Service) grant.Permit {
	p, err := decider.Own(ctx, a, w, s, grant.Event{Time: time.Unix(1, 0), Op: "test"})
	if err != nil {
		panic(err)
	}
	return p
}

// permit is for alice's openrouter key, which most tests are about.
func permit(a grant.Action) grant.Permit { return permitFor(a, alice, or) }

func resealPermit(_ context.Context, w agentkeys.Wallet, s agentkeys.Service) (grant.Permit, error) {
	return permitFor(grant.ActReseal, w, s), nil
}

func record(s string) envelope.Record {
	return envelope.Record{Secret: secret.FromString(s), Kind: "api-key", Route: "import"}
}

func store(t tester, v *vault.Vault, s string) uint64 {
	t.Helper()
	rev, err := v.Store(ctx, permit(grant.ActStore), record(s))
	if err != nil {
		t.Fatalf("store %s: %v", s, err)
	}
	return rev
}

// read returns the secret, or "" with the error.
func read(v *vault.Vault) (string, envelope.Header, error) {
	rec, h, err := v.Load(ctx, permit(grant.ActReveal))
	return string(rec.Secret.Expose()), h, err
}

func wantSecret(t tester, v *vault.Vault, want string) envelope.Header {
	t.Helper()
	got, h, err := read(v)
	if err != nil || got != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
	return h
}

// blob returns the object of alice's openrouter key.
func (w *world) blob(t *testing.T) []byte {
	t.Helper()
	b, _, err := w.blobs.Get(ctx, vault.CredentialKey(alice, or))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) setBlob(b []byte) { w.blobs.Set(vault.CredentialKey(alice, or), b) }

func name(parts ...any) string { return fmt.Sprint(parts...) }
