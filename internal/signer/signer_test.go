package signer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/secret"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vectors struct {
	Wallets []struct {
		Identity hexBytes
		Account  string
		Path     string
		Wallet   string
		Checksum string
	}
	KEKs []struct {
		Sealing hexBytes
		Epoch   uint32
		Wallet  agentkeys.Wallet
		Service agentkeys.Service
		KEK     hexBytes
	}
	LogSeeds []struct {
		Identity hexBytes
		Account  string
		Seed     hexBytes
	} `json:"log_seeds"`
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Wallets) < 80 || len(v.KEKs) < 100 || len(v.LogSeeds) < 16 {
		t.Fatal("too few vectors")
	}
	return v
}

// made returns roots with the given identity root and one sealing root.
func made(identity, sealing []byte, epoch uint32) Roots {
	return Roots{box: &rootBox{
		account:  AccountID{"test"},
		identity: secret.New(bytes.Clone(identity)),
		sealing:  map[uint32]secret.Value{epoch: secret.New(bytes.Clone(sealing))},
		epoch:    epoch,
	}}
}

func one(b byte) []byte { return bytes.Repeat([]byte{b}, rootSize) }

// pathOf is the parser of the vectors' path column.
func pathOf(t *testing.T, s string) Path {
	t.Helper()
	if s == "" {
		return MasterPath()
	}
	p := AgentPath(agentkeys.Must(agentkeys.ParseAgent(s[2:])))
	if p.String() != s {
		t.Fatalf("path %q, want %q", p, s)
	}
	return p
}

func TestWalletVectors(t *testing.T) {
	for _, v := range readVectors(t).Wallets {
		s := New(made(v.Identity, one(9), 1))
		w, err := s.Wallet(agentkeys.Must(ParseAccountID(v.Account)), pathOf(t, v.Path))
		if err != nil || w.String() != v.Wallet || ChecksumAddress(w) != v.Checksum {
			t.Errorf("%s %q: %v %v %v, want %s", v.Account, v.Path, w, ChecksumAddress(w), err, v.Checksum)
		}
	}
}

// TestKEKVectors shows that the signer's key is the vector's by sealing under
// one and opening under the other: a KEK cannot be read.
func TestKEKVectors(t *testing.T) {
	for _, v := range readVectors(t).KEKs {
		s := New(made(one(9), v.Sealing, v.Epoch))
		got, err := s.KEK(t.Context(), v.Wallet, v.Service, v.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		want, err := envelope.NewKEK(v.KEK)
		if err != nil {
			t.Fatal(err)
		}
		name := envelope.Name{Wallet: v.Wallet, Service: v.Service}
		sealed, err := envelope.Seal(got, name, envelope.Header{Epoch: v.Epoch, Revision: 1}, envelope.Record{Secret: secret.FromString("x"), Kind: "api-key", Route: "import"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := envelope.Open(want, name, sealed); err != nil {
			t.Errorf("%s epoch %d: %v", v.Service, v.Epoch, err)
		}
	}
}

func TestLogSeedVectors(t *testing.T) {
	for _, v := range readVectors(t).LogSeeds {
		r := made(v.Identity, one(9), 1)
		r.box.account = agentkeys.Must(ParseAccountID(v.Account))
		got, err := New(r).LogSeed()
		if err != nil || !got.Equal(secret.New(v.Seed)) {
			t.Errorf("%s: another seed, %v", v.Account, err)
		}
	}
}

// TestVectorsAgree reruns the second implementation that made the vectors.
func TestVectorsAgree(t *testing.T) {
	py, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 is not installed")
		}
		t.Skip("python3 is not installed")
	}
	got, err := exec.Command(py, "testdata/vectors.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("testdata/vectors.py does not print testdata/vectors.json")
	}
}

func TestScalar(t *testing.T) {
	n := secp256k1.Params().N
	top := new(big.Int).Lsh(big.NewInt(1), 384)
	cases := []*big.Int{
		big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), new(big.Int).Add(n, big.NewInt(1)),
		new(big.Int).Lsh(big.NewInt(1), 256), new(big.Int).Sub(top, big.NewInt(1)),
		new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)),
	}
	for i := range 200 {
		c := new(big.Int).Exp(big.NewInt(2*int64(i)+3), big.NewInt(301), top)
		cases = append(cases, c)
	}
	for _, c := range cases {
		var b [48]byte
		c.FillBytes(b[:])
		k, err := scalar(b)
		if err != nil {
			t.Fatal(err)
		}
		got := k.Bytes()
		if want := new(big.Int).Mod(c, n); new(big.Int).SetBytes(got[:]).Cmp(want) != 0 {
			t.Errorf("%x mod n = %x, want %x", c, got, want)
		}
	}
	for _, zero := range []*big.Int{big.NewInt(0), n, new(big.Int).Mul(n, big.NewInt(7)), new(big.Int).Lsh(n, 128)} {
		var b [48]byte
		zero.FillBytes(b[:])
		if _, err := scalar(b); err == nil {
			t.Errorf("%x: the zero key was accepted", zero)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := NewRoots()
	s := New(r)
	w, err := s.Wallet(s.Account(), MasterPath())
	if err != nil {
		t.Fatal(err)
	}
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	ctx := t.Context()
	if _, err := s.KEK(ctx, w, svc, 0); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("epoch 0: %v", err)
	}
	if _, err := s.KEK(ctx, w, svc, 2); !errors.Is(err, ErrUnknownEpoch) {
		t.Errorf("epoch 2: %v", err)
	}
	if _, err := s.KEK(ctx, agentkeys.Wallet{}, svc, 1); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("zero wallet: %v", err)
	}
	if _, err := s.KEK(ctx, w, agentkeys.Service{}, 1); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("zero service: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.KEK(cancelled, w, svc, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A zero agent must not become its master.
	for _, p := range []Path{{}, AgentPath(agentkeys.Agent{})} {
		if got, err := s.Wallet(s.Account(), p); !errors.Is(err, agentkeys.ErrName) || !got.IsZero() {
			t.Errorf("zero path: %v %v", got, err)
		}
	}
	if _, err := s.Wallet(AccountID{}, MasterPath()); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("zero account: %v", err)
	}
}
