package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/vault"
)

func TestKey(t *testing.T) {
	k := vault.CredentialKey(alice, or)
	want := "bots/" + alice.String() + "/credentials/openrouter.enc"
	if k.String() != want || k.Wallet() != alice || k.Service() != or {
		t.Errorf("%s", k)
	}
	if got, err := vault.ParseKey(want); err != nil || got != k {
		t.Errorf("%v %v", got, err)
	}
	for _, zero := range []vault.Key{{}, vault.CredentialKey(agentkeys.Wallet{}, or), vault.CredentialKey(alice, agentkeys.Service{})} {
		if !zero.IsZero() || zero.String() != "" {
			t.Errorf("%q is not zero", zero)
		}
	}
	if p := (vault.Prefix{}); p.String() != "" || !p.IsZero() {
		t.Errorf("%q", p)
	}
	if p := vault.CredentialPrefix(alice); !strings.HasPrefix(k.String(), p.String()) || p.String()[len(p.String())-1] != '/' {
		t.Errorf("%q", p)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	w := alice.String()
	for _, s := range []string{
		"", "bots/", w + "/credentials/a.enc", "/bots/" + w + "/credentials/a.enc", "bots/" + w + "/credentials/.enc", "bots/" + w + "/credentials/a",
		"bots/" + w + "/credentials/a.ENC", "bots/" + w + "/credentials/..enc", "bots/" + w + "/credentials/../x.enc",
		"bots/" + w + "/credentials/a/b.enc", "bots/" + w + "/credentials//a.enc", "bots/" + w + "/credentials/a.enc/",
		"bots/" + w + "/credentials/a.enc.enc", "bots/" + w + "/credentials/A.enc", "bots/" + w + "/inbound/a.enc",
		"bots/" + strings.ToUpper(w) + "/credentials/a.enc", "bots/../credentials/a.enc", "bots/./" + w + "/credentials/a.enc",
		"bots/" + w + "/credentials/credentials/a.enc", "bots/" + w + "x/credentials/a.enc", "bots/" + w + "/credentials/a\x00.enc",
		"BOTS/" + w + "/credentials/a.enc", "bots/" + w + "/credentials/" + strings.Repeat("a", 64) + ".enc", `bots\` + w + `\credentials\a.enc`,
	} {
		if k, err := vault.ParseKey(s); !errors.Is(err, agentkeys.ErrName) || !k.IsZero() {
			t.Errorf("%q: %v %v", s, k, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(vault.CredentialKey(alice, or).String())
	f.Add("bots/0x00/credentials/../a.enc")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := vault.ParseKey(s)
		if err != nil {
			return
		}
		if k.String() != s || vault.CredentialKey(k.Wallet(), k.Service()) != k || strings.Contains(s, "..") || strings.Count(s, "/") != 3 {
			t.Errorf("%q became %q", s, k)
		}
	})
}
