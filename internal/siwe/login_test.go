package siwe

import (
	"errors"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
)

func TestLogin(t *testing.T) {
	key, address := keyOf(7)
	down := &contract{chain: 8453, codeErr: errors.New("down")}
	l, err := NewLogin("https://broker.example:8443", down)
	if err != nil {
		t.Fatal(err)
	}
	r := broker.WalletRequest{
		Login: "lg_7f3k2m9q", Device: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Address: agentkeys.WalletFrom(address),
		ChainID: 1, Nonce: "k3q9v7xw2m5t8z4b", Issued: noon.Add(123 * time.Millisecond), Expires: noon.Add(time.Minute),
	}
	text, err := l.Message(r)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(text)
	if err != nil || m.Domain != "broker.example:8443" || m.RequestID != r.Login || m.Resources[0] != "urn:agentkeys:device:"+r.Device {
		t.Fatalf("%s\n%v", text, err)
	}
	// The request was kept to the millisecond; the message has seconds.
	if _, err := l.Verify(t.Context(), r, text, hexed(sign(key, text)), noon.Add(time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := l.Verify(t.Context(), r, text, hexed(sign(key, text)), noon.Add(time.Hour)); !errors.Is(err, ErrRefused) || errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("expired: %v", err)
	}
	other := r
	other.Device = "another"
	if _, err := l.Verify(t.Context(), other, text, hexed(sign(key, text)), noon.Add(time.Second)); !errors.Is(err, ErrRefused) {
		t.Errorf("for another device: %v", err)
	}

	r.ChainID = 8453
	if text, err = l.Message(r); err != nil {
		t.Fatal(err)
	}
	stranger, _ := keyOf(8)
	if _, err := l.Verify(t.Context(), r, text, hexed(sign(stranger, text)), noon.Add(time.Second)); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("a node that is down: %v", err)
	}
	r.ChainID = 10
	if _, err := l.Message(r); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown chain: %v", err)
	}
	if _, err := l.Verify(t.Context(), r, text, hexed(sign(key, text)), noon.Add(time.Second)); !errors.Is(err, ErrRefused) {
		t.Errorf("an unknown chain, to verify: %v", err)
	}
	r.ChainID, r.Address = 1, agentkeys.Wallet{}
	if _, err := l.Message(r); !errors.Is(err, ErrMessage) {
		t.Errorf("nobody: %v", err)
	}
}

func TestNewLoginRefuses(t *testing.T) {
	for _, origin := range []string{"", "broker.example", "https://broker.example/", "https://broker.example/a"} {
		if _, err := NewLogin(origin); err == nil {
			t.Errorf("%q is taken for an origin", origin)
		}
	}
	if _, err := NewLogin("https://broker.example", &contract{chain: 5}, &contract{chain: 5}); err == nil {
		t.Error("two nodes are taken for one chain")
	}
}
