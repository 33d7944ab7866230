package signer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
)

func TestConformance(t *testing.T) {
	signertest.Conformance(t, func(t *testing.T, s signertest.Seed) signer.Core {
		text, err := json.Marshal(map[string]any{"version": 1, "account": "test", "identity": s.Identity, "sealing": s.Sealing})
		if err != nil {
			t.Fatal(err)
		}
		// The file's order of members.
		var parts struct{ Identity, Sealing json.RawMessage }
		if err := json.Unmarshal(text, &parts); err != nil {
			t.Fatal(err)
		}
		r, err := signer.DecodeRoots(secret.FromString(fmt.Sprintf(`{"version":1,"account":"test","identity":%s,"sealing":%s}`, parts.Identity, parts.Sealing)))
		if err != nil {
			t.Fatal(err)
		}
		return signer.New(r)
	})
}

// An Identity alone derives what the same root in Roots does.
func TestIdentity(t *testing.T) {
	text := `{"version":1,"account":"test","identity":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","sealing":{"1":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}}`
	r, err := signer.DecodeRoots(secret.FromString(text))
	if err != nil {
		t.Fatal(err)
	}
	s := signer.New(r)
	i, err := signer.NewIdentity(signertest.Root(1))
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.LogSeed()
	b, err2 := i.LogSeed(s.Account())
	if err != nil || err2 != nil || !a.Equal(b) {
		t.Errorf("another log seed: %v, %v", err, err2)
	}
	if got := fmt.Sprintf("%v %+v %#v %s %x", i, i, i, struct{ i signer.Identity }{i}, i); strings.Contains(got, "1, 1") || strings.Contains(got, "0101") || strings.Contains(got, "1 1 1") {
		t.Errorf("an identity prints as %s", got)
	}
	if _, err := json.Marshal(i); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("an identity was marshalled: %v", err)
	}
	i.Clear()
	if _, err := i.Wallet(s.Account(), signer.MasterPath()); err == nil {
		t.Error("a cleared identity derives")
	}
	if _, err := (signer.Identity{}).LogSeed(s.Account()); err == nil {
		t.Error("the zero identity derives")
	}
	for _, bad := range [][]byte{nil, make([]byte, 32), {31: 0, 32: 1}, signertest.Root(1)[:31]} {
		if _, err := signer.NewIdentity(bad); err == nil {
			t.Errorf("an identity of %d bytes was accepted", len(bad))
		}
	}
	if _, err := signer.KEKMessage(agentkeys.Wallet{}, agentkeys.Service{}); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("%v", err)
	}
}
