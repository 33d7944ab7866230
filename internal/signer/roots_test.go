package signer

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestEpochs(t *testing.T) {
	r1 := NewRoots()
	r2 := must[Roots](t)(r1.AddEpoch())
	r3 := must[Roots](t)(r2.AddEpoch())
	if r1.Epoch() != 1 || r2.Epoch() != 2 || r3.Epoch() != 3 {
		t.Fatal(r1.Epoch(), r2.Epoch(), r3.Epoch())
	}
	if _, err := r3.RetireBefore(4); err == nil {
		t.Error("the current epoch was retired")
	}
	kept := must[Roots](t)(r3.RetireBefore(2))
	if len(kept.box.sealing) != 2 || kept.Epoch() != 3 {
		t.Errorf("kept %d roots at epoch %d", len(kept.box.sealing), kept.Epoch())
	}
	if v, _ := r3.sealing(1); v.Len() != rootSize {
		t.Error("retiring an epoch changed the roots it was called on")
	}
	r1.Clear()
	if !r1.isZero() || r1.Epoch() != 0 {
		t.Error("cleared roots are not zero")
	}
	if v, _ := r2.sealing(1); v.Len() != rootSize || r2.box.identity.Len() != rootSize {
		t.Error("clearing one Roots cleared another")
	}
	for _, f := range []func() (Roots, error){r1.AddEpoch, func() (Roots, error) { return r1.RetireBefore(1) }, Roots{}.AddEpoch} {
		if _, err := f(); err == nil {
			t.Error("zero roots were accepted")
		}
	}
}

func TestEncodeRoots(t *testing.T) {
	r := must[Roots](t)(NewRoots().AddEpoch())
	text := must[secret.Value](t)(EncodeRoots(r))
	got := must[Roots](t)(DecodeRoots(text))
	if !r.continuedBy(got) || !got.continuedBy(r) || got.Epochs() != 2 {
		t.Error("other roots came back")
	}
	text.Clear()
	if got.box.identity.Len() != rootSize || !r.continuedBy(got) {
		t.Error("decoded roots share the bytes they were decoded from")
	}
	for _, bad := range []secret.Value{{}, secret.FromString("{}"), text} {
		if _, err := DecodeRoots(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v", err)
		}
	}
	if _, err := EncodeRoots(Roots{}); err == nil || (Roots{}).Epochs() != 0 {
		t.Error("zero roots were encoded")
	}
}

func TestInstall(t *testing.T) {
	r1 := NewRoots()
	s := New(r1)
	w := must[agentkeys.Wallet](t)(s.Wallet(s.Account(), MasterPath()))
	r2 := must[Roots](t)(r1.AddEpoch())

	swapped := r2.clone()
	swapped.box.sealing[1] = randomRoot()
	other := NewRoots()
	account := r2.clone()
	account.box.account = other.Account()
	identity := r2.clone()
	identity.box.identity = randomRoot()
	for name, bad := range map[string]Roots{"zero": {}, "other": other, "account": account, "identity": identity, "sealing": swapped} {
		if err := s.Install(bad); !errors.Is(err, ErrForeignRoots) {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := s.roots
	if err := s.Install(r2); err != nil {
		t.Fatal(err)
	}
	r2.Clear()
	if !before.isZero() {
		t.Error("the replaced roots are still in memory")
	}
	if s.Epoch() != 2 {
		t.Errorf("epoch %d", s.Epoch())
	}
	if err := s.Install(r1); !errors.Is(err, ErrForeignRoots) {
		t.Errorf("an older epoch: %v", err)
	}
	if got := must[agentkeys.Wallet](t)(s.Wallet(s.Account(), MasterPath())); got != w {
		t.Error("a rotation changed the wallet")
	}
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	for epoch := uint32(1); epoch <= 2; epoch++ {
		if _, err := s.KEK(t.Context(), w, svc, epoch); err != nil {
			t.Errorf("epoch %d: %v", epoch, err)
		}
	}
}

func TestConcurrent(t *testing.T) {
	r := NewRoots()
	s := New(r)
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				w, err := s.Wallet(s.Account(), MasterPath())
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.KEK(t.Context(), w, svc, s.Epoch()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		next := must[Roots](t)(r.AddEpoch())
		if err := s.Install(next); err != nil {
			t.Error(err)
		}
		r = next
	}
	wg.Wait()
}

// TestRedaction puts roots and a signer through every printer and encoder.
func TestRedaction(t *testing.T) {
	r := made([]byte("identity-root-32-bytes-long-aaaa"), []byte("sealing--root-32-bytes-long-bbbb"), 1)
	s := New(r)
	nested := struct {
		R Roots
		S *Signer
		r Roots
		k FileKey
	}{r, s, r, must[FileKey](t)(Passphrase(secret.FromString("identity-root passphrase")))}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb, r)
		fmt.Fprintf(&out, verb, s)
		fmt.Fprintf(&out, verb, nested)
		fmt.Fprintf(&out, verb, &nested)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "r", r, "s", s, "n", nested)
	}
	for _, leak := range []string{"identity-root", "sealing--root", fmt.Sprintf("%x", "identity-root")[:12], "[105 100 101"} {
		if strings.Contains(strings.ToLower(out.String()), leak) {
			t.Errorf("printed %q", leak)
		}
	}
	for _, v := range []any{r, s} {
		if _, err := json.Marshal(v); !errors.Is(err, secret.ErrMarshal) {
			t.Errorf("%T was marshalled: %v", v, err)
		}
	}
	if err := gob.NewEncoder(io.Discard).Encode(r); err == nil {
		t.Error("roots were gob encoded")
	}
}
