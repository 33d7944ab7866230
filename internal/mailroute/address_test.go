package mailroute_test

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// grammar is written down a second time, as an expression.
var grammar = regexp.MustCompile(`\A[a-z]{2,4}-0x[0-9a-fA-F]{40}-[0-9]+\z`)

func wallet(s string) agentkeys.Wallet { return agentkeys.Must(agentkeys.ParseWallet(s)) }

func TestNewAddress(t *testing.T) {
	at := time.Unix(1700000000, 5e8)
	for _, c := range []struct {
		tag    string
		random uint64
		want   string
	}{
		{"or", 12345678, "or-" + w1 + "-170000000012345678"},
		{"or", 0, "or-" + w1 + "-170000000000000000"},
		{"or", 9912345678, "or-" + w1 + "-170000000012345678"},
		{"abc", 12345678, "abc-" + w1 + "-17000000002345678"},
		{"abcd", 12345678, "abcd-" + w1 + "-1700000000345678"},
		{"or", math.MaxUint64, "or-" + w1 + "-170000000009551615"},
	} {
		a, err := mailroute.NewAddress(c.tag, wallet(w1), at, c.random)
		if err != nil || a.Local() != c.want || len(a.Local()) != 64 {
			t.Errorf("%s %d: %s, %v", c.tag, c.random, a.Local(), err)
		}
		made, ok := a.Made()
		if !ok || !made.Equal(at.Truncate(time.Second)) || a.Tag() != c.tag || a.Wallet() != wallet(w1) || a.IsZero() {
			t.Errorf("%s: made %v %v, tag %s, wallet %s", a, made, ok, a.Tag(), a.Wallet())
		}
		b, domain, err := mailroute.ParseAddress(a.At(dom))
		if err != nil || b != a || domain != dom {
			t.Errorf("%s: %v %s %v", a.At(dom), b, domain, err)
		}
	}
	for name, f := range map[string]func() (mailroute.Address, error){
		"no tag":     func() (mailroute.Address, error) { return mailroute.NewAddress("", wallet(w1), at, 1) },
		"long tag":   func() (mailroute.Address, error) { return mailroute.NewAddress("abcde", wallet(w1), at, 1) },
		"tag's case": func() (mailroute.Address, error) { return mailroute.NewAddress("Or", wallet(w1), at, 1) },
		"no wallet":  func() (mailroute.Address, error) { return mailroute.NewAddress("or", agentkeys.Wallet{}, at, 1) },
		"no time":    func() (mailroute.Address, error) { return mailroute.NewAddress("or", wallet(w1), time.Time{}, 1) },
		"early time": func() (mailroute.Address, error) {
			return mailroute.NewAddress("or", wallet(w1), time.Unix(1e9-1, 0), 1)
		},
		"late time": func() (mailroute.Address, error) {
			return mailroute.NewAddress("or", wallet(w1), time.Unix(1e10, 0), 1)
		},
		"before time": func() (mailroute.Address, error) {
			return mailroute.NewAddress("or", wallet(w1), time.Unix(-17e8, 0), 1)
		},
	} {
		if a, err := f(); !errors.Is(err, mailroute.ErrAddress) || !a.IsZero() {
			t.Errorf("%s: %s, %v", name, a, err)
		}
	}
}

func TestParseLocal(t *testing.T) {
	for _, s := range []string{
		l1, "or-" + w1 + "-1", "abcd-" + w1 + "-1234567890123456", "or-" + w1 + "-0", "or-0x" + strings.ToUpper(w1[2:]) + "-1",
		"", "or", "or-", "or--1", "or-" + w1, "or-" + w1 + "-", "o-" + w1 + "-1", "abcde-" + w1 + "-1", "OR-" + w1 + "-1", "o1-" + w1 + "-1",
		"or-0X" + w1[2:] + "-1", "or-" + w1[2:] + "-1", "or-" + w1[:41] + "-1", "or-" + w1 + "a-1", "or-" + w1[:41] + "g-1",
		"or-" + w1 + "-1/../../x", "or-" + w1 + "-1.", "or-" + w1 + "-1 ", "or-" + w1 + "- 1", "or-" + w1 + "-1\n", "or-" + w1 + "-1\x00", " or-" + w1 + "-1",
		"or-" + w1 + "-１", "or-" + w1 + "--1", "or-" + w1 + "-+1", "or-" + w1 + "-1e1", "or-" + w1 + "-1@", "or-" + w1 + "_1",
		"or-" + w1 + "-1234567890123456789", "abcd-" + w1 + "-12345678901234567", "or-" + w1 + "-" + strings.Repeat("1", 1000),
	} {
		a, err := mailroute.ParseLocal(s)
		if want := grammar.MatchString(s) && len(s) <= 64; (err == nil) != want || want && a.Local() != strings.ToLower(s) || !want && a != (mailroute.Address{}) {
			t.Errorf("%q: %q, %v", s, a.Local(), err)
		}
		if err != nil && (!errors.Is(err, mailroute.ErrAddress) || len(s) > 5 && strings.Contains(err.Error(), s)) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := mailroute.ParseLocal("or-0x0000000000000000000000000000000000000000-1"); err == nil {
		t.Error("the zero wallet has an address")
	}
	var zero mailroute.Address
	if _, ok := zero.Made(); zero.Local()+zero.String()+zero.At(dom)+zero.Tag()+zero.Digits()+zero.Wallet().String() != "" || ok {
		t.Error("the zero address says something")
	}
	for digits, want := range map[string]bool{"1": false, "170000000": false, "1700000000": true, "17000000001": true, "0170000000": false} {
		a, err := mailroute.ParseLocal("or-" + w1 + "-" + digits)
		if _, ok := a.Made(); err != nil || ok != want || a.Digits() != digits {
			t.Errorf("%s: made %v, %v", digits, ok, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, s := range []string{"", "@", l1, l1 + "@", "@" + dom, "<" + a1 + ">", a1 + ".", a1 + " ", a1 + "@x", l1 + "@ " + dom, l1 + "@a..b", l1 + "@-a.b", l1 + "@a-.b",
		l1 + "@[192.0.2.1]", l1 + "@a_b.example", l1 + "@" + strings.Repeat("a", 64) + ".example", l1 + "@" + strings.Repeat("a.", 126) + "aa", l1 + "@\xff.example", "x@" + dom, `"` + l1 + `"@` + dom} {
		if a, d, err := mailroute.ParseAddress(s); !errors.Is(err, mailroute.ErrAddress) || !a.IsZero() || d != "" {
			t.Errorf("%q: %s %s %v", s, a, d, err)
		}
	}
	for _, d := range []string{"a", "a.b", "BOTS.example", "bücher.example", "1.2", strings.Repeat("a", 63) + ".example", strings.Repeat("a.", 126) + "a"} {
		if a, got, err := mailroute.ParseAddress(l1 + "@" + d); err != nil || got != d || a.Local() != l1 {
			t.Errorf("%q: %s %s %v", d, a, got, err)
		}
	}
}

func FuzzParseLocal(f *testing.F) {
	for _, s := range []string{l1, "abcd-" + w1 + "-1", "or-0X" + w1[2:] + "-1", "or-" + w1 + "-１", ""} {
		f.Add(s)
	}
	zero := regexp.MustCompile(`0x0{40}`)
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mailroute.ParseLocal(s)
		if want := grammar.MatchString(s) && len(s) <= 64 && !zero.MatchString(s); (err == nil) != want {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			return
		}
		if a.Local() != strings.ToLower(s) {
			t.Fatalf("%q became %q", s, a.Local())
		}
		if b, err := mailroute.ParseLocal(a.Local()); err != nil || b != a {
			t.Fatalf("%q again: %v %v", s, b, err)
		}
		if b, d, err := mailroute.ParseAddress(a.At(dom)); err != nil || b != a || d != dom {
			t.Fatalf("%q at a domain: %v %v", s, b, err)
		}
	})
}
