package signer

import (
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
)

// The examples of EIP-55, and others in public use.
var eip55 = []string{
	"0x52908400098527886E0F7030069857D2E4169EE7", // all upper case
	"0x8617E340B3D01FA5F11F306F4090FD50E238070D",
	"0xde709f2102306220921060314715629080e2fb77", // all lower case
	"0x27b1fdb04752bbc536007a920d24acb045561c26",
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
	"0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
	"0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	"0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48", // USDC
	"0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", // WETH
}

func TestEIP55(t *testing.T) {
	for _, s := range eip55 {
		w, err := ParseAddress(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if got := ChecksumAddress(w); got != s {
			t.Errorf("%s was written %s", s, got)
		}
		for _, accepted := range []string{strings.ToLower(s), "0x" + strings.ToUpper(s[2:])} {
			if got, err := ParseAddress(accepted); err != nil || got != w {
				t.Errorf("%s: %v %v", accepted, got, err)
			}
		}
	}
	if ChecksumAddress(agentkeys.Wallet{}) != "" {
		t.Error("the zero wallet has a form")
	}
}

// TestEIP55Typos changes the case of each letter and the value of each digit of
// a mixed-case address: every one must be noticed.
func TestEIP55Typos(t *testing.T) {
	s := eip55[4]
	for i := 2; i < len(s); i++ {
		for _, c := range []byte("0123456789abcdefABCDEF") {
			if c == s[i] {
				continue
			}
			typo := s[:i] + string(c) + s[i+1:]
			if w, err := ParseAddress(typo); err == nil && ChecksumAddress(w) != typo {
				t.Errorf("%s was accepted", typo)
			}
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, s := range []string{
		"", "0x", "0X52908400098527886E0F7030069857D2E4169EE7", "52908400098527886E0F7030069857D2E4169EE7",
		"0x52908400098527886E0F7030069857D2E4169EE", "0x52908400098527886E0F7030069857D2E4169EE70",
		" 0x52908400098527886E0F7030069857D2E4169EE7", "0x5290840009852788\u212aE0F7030069857D2E4169E",
		"0x0000000000000000000000000000000000000000", "0xg2908400098527886E0F7030069857D2E4169EE7",
		"0x52908400098527886e0F7030069857D2E4169EE7",
	} {
		if _, err := ParseAddress(s); !errors.Is(err, agentkeys.ErrName) {
			t.Errorf("%q: %v", s, err)
		} else if len(s) > 8 && strings.Contains(err.Error(), s[3:]) {
			t.Errorf("the error echoes its input: %v", err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range eip55 {
		f.Add(s)
		f.Add(strings.ToLower(s))
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ToLower(s) != w.String() {
			t.Errorf("%q became %v", s, w)
		}
		if again, err := ParseAddress(ChecksumAddress(w)); err != nil || again != w {
			t.Errorf("%q does not round-trip: %v", s, err)
		}
	})
}

func FuzzParseAccountID(f *testing.F) {
	f.Add("0")
	f.Add(NewAccountID().String())
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAccountID(s)
		if err == nil && (a.String() != s || a.IsZero() || len(s) > 63) {
			t.Errorf("%q", s)
		}
	})
}
