package signertest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/signer"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// vectors are the published ones, which another implementation made.
type vectors struct {
	Wallets []struct {
		Identity hexBytes
		Account  string
		Path     string
		Wallet   agentkeys.Wallet
	}
	KEKs []struct {
		Sealing hexBytes
		Epoch   uint32
		Wallet  agentkeys.Wallet
		Service agentkeys.Service
		KEK     hexBytes
	}
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the vectors are found from the module's root, and there is no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, "internal/signer/testdata/vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Wallets) < 80 || len(v.KEKs) < 100 {
		t.Fatal("too few vectors")
	}
	return v
}

func pathOf(t *testing.T, s string) signer.Path {
	t.Helper()
	if s == "" {
		return signer.MasterPath()
	}
	return signer.AgentPath(agentkeys.Must(agentkeys.ParseAgent(s[2:])))
}

func testWallets(t *testing.T, open func(*testing.T, Seed) signer.Core) {
	made := map[string]signer.Core{}
	for _, v := range readVectors(t).Wallets {
		c := made[string(v.Identity)]
		if c == nil {
			c = open(t, Seed{Identity: v.Identity, Sealing: map[uint32][]byte{1: Root(9)}})
			made[string(v.Identity)] = c
		}
		w, err := c.Wallet(agentkeys.Must(signer.ParseAccountID(v.Account)), pathOf(t, v.Path))
		if err != nil || w != v.Wallet {
			t.Errorf("%s %q: %v %v, want %s", v.Account, v.Path, w, err, v.Wallet)
		}
	}
}

func testKEKs(t *testing.T, open func(*testing.T, Seed) signer.Core) {
	type seal struct {
		root  string
		epoch uint32
	}
	made := map[seal]signer.Core{}
	for _, v := range readVectors(t).KEKs {
		k := seal{string(v.Sealing), v.Epoch}
		c := made[k]
		if c == nil {
			c = open(t, Seed{Identity: Root(9), Sealing: map[uint32][]byte{v.Epoch: v.Sealing}})
			made[k] = c
		}
		got, err := c.ExposeKEK(t.Context(), v.Wallet, v.Service, v.Epoch)
		if err != nil || !bytes.Equal(got.Expose(), v.KEK) {
			t.Errorf("%s of %s, epoch %d: another key, %v", v.Service, v.Wallet, v.Epoch, err)
			continue
		}
		kek, err := c.KEK(t.Context(), v.Wallet, v.Service, v.Epoch)
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := envelope.NewKEK(bytes.Clone(v.KEK))
		if err != nil {
			t.Fatal(err)
		}
		Same(t, kek, want, v.Wallet, v.Service)
	}
}
