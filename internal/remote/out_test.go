package remote

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/remote/remotetest"
	"github.com/litentry/agentkeys/internal/vault"
)

// TestOutForgets: of a device that is out, nothing is left by which it could
// ask the store or the signer.
func TestOutForgets(t *testing.T) {
	w := remotetest.Start(t)
	k := device.New()
	w.Login(w.Client(k), "ada@example.com")
	b, err := Open(t.Context(), Options{URL: w.URL, Key: k, Roots: w.Roots, Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p, err := b.Parts()
	if err != nil {
		t.Fatal(err)
	}
	defer p.LogSeed.Clear()
	ask := map[string]func() error{
		"the store": func() error {
			_, err := p.Blobs.List(t.Context(), vault.CredentialPrefix(p.Wallet), vault.Key{}, 10)
			return err
		},
		"the signer's epoch": func() error { _, err := p.Keys.(local.Epochs).Refresh(t.Context()); return err },
		"the signer": func() error {
			kek, err := p.Keys.KEK(t.Context(), p.Wallet, agentkeys.Must(agentkeys.ParseService("openrouter")), 1)
			kek.Clear()
			return err
		},
	}
	for what, f := range ask {
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	left := func() (sessions, tokens int) {
		b.tokens.mu.Lock()
		defer b.tokens.mu.Unlock()
		return b.sessions.Len(), len(b.tokens.all)
	}
	if s, n := left(); s != 1 || n != 1 {
		t.Fatalf("%d sessions, %d tokens", s, n)
	}
	other := w.Client(device.New())
	w.Login(other, "ada@example.com")
	if err := other.RevokeDevice(t.Context(), b.Session().Device); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s, n := left(); s == 0 && n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("sessions or tokens are left")
		}
	}
	for what, f := range ask {
		if err := f(); !errors.Is(err, local.ErrLoggedOut) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
