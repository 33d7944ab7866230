package agentkeys_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
)

const someWallet = "0x00112233445566778899aabbccddeeff00112233"

// noun is what the types of the package have in common.
type noun interface {
	comparable
	IsZero() bool
	String() string
	MarshalText() ([]byte, error)
}

// The forms as docs and other programs know them, written a second time.
var (
	walletForm  = regexp.MustCompile(`\A0x[0-9a-f]{40}\z`)
	messageForm = regexp.MustCompile(`\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\z`)
	labelForm   = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,62}\z`)
)

func isWallet(s string) bool { return walletForm.MatchString(s) && strings.Trim(s[2:], "0") != "" }

func TestParse(t *testing.T) {
	zeros := strings.Repeat("0", 40)
	for _, s := range []string{
		someWallet,
		"0x" + zeros[1:] + "1",
		"0x" + strings.Repeat("f", 40),
	} {
		parses(t, agentkeys.ParseWallet, s)
	}
	for _, s := range []string{
		"", "0x", "0x" + zeros, zeros + "11", someWallet[2:], someWallet + "0", someWallet[:41],
		"0X" + someWallet[2:], "0x" + strings.ToUpper(someWallet[2:]), "0x0011223344556677889900AAbbccddeeff001122",
		" " + someWallet[1:], someWallet[:41] + "\n", someWallet[:41] + "g", someWallet[:41] + "\x00", someWallet + "\x00",
		"0x" + strings.Repeat("١", 20), // Arabic digits, 40 bytes
	} {
		refuses(t, agentkeys.ParseWallet, s)
	}
	labels := []string{"a", "0", "bot", "brave-search", "a-", "a--b", "0-", strings.Repeat("a", 63)}
	not := []string{
		"", "-", "-a", "A", "Bot", "a_b", "a.b", "a/b", "..", "a b", " a", "a\n", "a\x00", "á", "ａ", "a@b",
		"con\u200bsole", strings.Repeat("a", 64), "agent:secret-value",
	}
	for _, s := range labels {
		parses(t, agentkeys.ParseAgent, s)
		parses(t, agentkeys.ParseService, s)
	}
	for _, s := range []string{"a", "0", "-", "_", "a.b", "a..", "EXAMPLE7c191be45e9ae95", "AMAZON_SES_SETUP_NOTIFICATION", strings.Repeat("a", 128)} {
		parses(t, agentkeys.ParseMessageID, s)
	}
	for _, s := range []string{"", ".", "..", ".a", "a/b", "a b", "a+b", "a%2e", "a\n", "a\x00", "á", "ａ", "a@b", `a\b`, strings.Repeat("a", 129)} {
		refuses(t, agentkeys.ParseMessageID, s)
	}
	for _, s := range not {
		refuses(t, agentkeys.ParseAgent, s)
		refuses(t, agentkeys.ParseService, s)
	}
}

func parses[T noun](t *testing.T, parse func(string) (T, error), s string) {
	t.Helper()
	v, err := parse(s)
	if err != nil || v.String() != s || v.IsZero() {
		t.Errorf("%T of %q: %q, %v", v, s, v.String(), err)
	}
}

func refuses[T noun](t *testing.T, parse func(string) (T, error), s string) {
	t.Helper()
	v, err := parse(s)
	var zero T
	switch {
	case err == nil:
		t.Errorf("%T accepts %q", v, s)
	case !errors.Is(err, agentkeys.ErrName):
		t.Errorf("%T of %q: %v does not wrap ErrName", v, s, err)
	case v != zero:
		t.Errorf("%T of %q: a value with the error", v, s)
	}
}

// TestErrorsKeepSilent: somebody may paste a key where a name was wanted.
func TestErrorsKeepSilent(t *testing.T) {
	const key = "sk-or-v1-CANARY_0123456789"
	_, err1 := agentkeys.ParseWallet(key)
	_, err2 := agentkeys.ParseAgent(key)
	_, err3 := agentkeys.ParseService(key)
	_, err4 := agentkeys.ParseMessageID("/" + key)
	for _, err := range []error{err1, err2, err3, err4} {
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v repeats its input", err)
		}
	}
}

func TestWalletBytes(t *testing.T) {
	w := agentkeys.Must(agentkeys.ParseWallet(someWallet))
	if got := agentkeys.WalletFrom(w.Bytes()); got != w {
		t.Errorf("%s became %s", w, got)
	}
	if b := w.Bytes(); b[0] != 0 || b[1] != 0x11 || b[19] != 0x33 {
		t.Errorf("bytes of %s: %x", w, b)
	}
	if z := agentkeys.WalletFrom([agentkeys.WalletSize]byte{}); !z.IsZero() || z.String() != "" {
		t.Errorf("the zero address is %q", z)
	}
}

// TestZeroJSON shows what happens to fields that were never set: they write
// "" or, with omitzero, nothing, and "" does not come back as a name.
func TestZeroJSON(t *testing.T) {
	type names struct {
		Wallet  agentkeys.Wallet  `json:"wallet"`
		Agent   agentkeys.Agent   `json:"agent"`
		Service agentkeys.Service `json:"service"`
	}
	type optional struct {
		Wallet  agentkeys.Wallet  `json:"wallet,omitzero"`
		Agent   agentkeys.Agent   `json:"agent,omitzero"`
		Service agentkeys.Service `json:"service,omitzero"`
	}
	full := optional{
		agentkeys.Must(agentkeys.ParseWallet(someWallet)),
		agentkeys.Must(agentkeys.ParseAgent("bot")),
		agentkeys.Must(agentkeys.ParseService("openrouter")),
	}
	for _, c := range []struct {
		v    any
		want string
	}{
		{names{}, `{"wallet":"","agent":"","service":""}`},
		{optional{}, `{}`},
		{full, `{"wallet":"` + someWallet + `","agent":"bot","service":"openrouter"}`},
		{map[agentkeys.Agent]int{full.Agent: 1}, `{"bot":1}`},
	} {
		if got, err := json.Marshal(c.v); err != nil || string(got) != c.want {
			t.Errorf("%T: %s, %v, want %s", c.v, got, err, c.want)
		}
	}
	var back optional
	if err := json.Unmarshal([]byte(`{"wallet":"`+someWallet+`","agent":"bot","service":"openrouter"}`), &back); err != nil || back != full {
		t.Errorf("%+v, %v", back, err)
	}
	for _, field := range []string{"wallet", "agent", "service"} {
		for _, v := range []string{`""`, `7`, `"-"`, `{}`, `["bot"]`} {
			var n names
			if err := json.Unmarshal([]byte(`{"`+field+`":`+v+`}`), &n); err == nil {
				t.Errorf("%s: %s is accepted", field, v)
			}
			if n != (names{}) {
				t.Errorf("%s: %s leaves %+v", field, v, n)
			}
		}
	}
}

// TestUnmarshalFailureClears: a value that held a name does not keep it when
// the text that should replace it is malformed.
func TestUnmarshalFailureClears(t *testing.T) {
	w := agentkeys.Must(agentkeys.ParseWallet(someWallet))
	if err := w.UnmarshalText([]byte("0x")); err == nil || !w.IsZero() {
		t.Errorf("%v, %v", w, err)
	}
	a := agentkeys.Must(agentkeys.ParseAgent("bot"))
	if err := a.UnmarshalText([]byte("-")); err == nil || !a.IsZero() {
		t.Errorf("%v, %v", a, err)
	}
	s := agentkeys.Must(agentkeys.ParseService("bot"))
	if err := s.UnmarshalText(nil); err == nil || !s.IsZero() {
		t.Errorf("%v, %v", s, err)
	}
	m := agentkeys.Must(agentkeys.ParseMessageID("m"))
	if err := m.UnmarshalText([]byte("..")); err == nil || !m.IsZero() {
		t.Errorf("%v, %v", m, err)
	}
}

func TestMust(t *testing.T) {
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, agentkeys.ErrName) {
			t.Errorf("panic with %v", err)
		}
	}()
	agentkeys.Must(agentkeys.ParseAgent("-"))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "a", "-", "bot-7", someWallet, "0x", strings.Repeat("z", 63), strings.Repeat("z", 64), "é", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		roundTrip(t, agentkeys.ParseWallet, s, isWallet(s))
		roundTrip(t, agentkeys.ParseAgent, s, labelForm.MatchString(s))
		roundTrip(t, agentkeys.ParseService, s, labelForm.MatchString(s))
		roundTrip(t, agentkeys.ParseMessageID, s, messageForm.MatchString(s))
	})
}

func roundTrip[T noun](t *testing.T, parse func(string) (T, error), s string, want bool) {
	t.Helper()
	v, err := parse(s)
	if (err == nil) != want {
		t.Fatalf("%T of %q: %v, want %v", v, s, err, want)
	}
	if err != nil {
		refuses(t, parse, s)
		return
	}
	parses(t, parse, s)
	text, err := v.MarshalText()
	if err != nil || string(text) != s {
		t.Fatalf("%T of %q: marshalled as %q, %v", v, s, text, err)
	}
	if again, err := parse(string(text)); err != nil || again != v {
		t.Fatalf("%T of %q: read back as %v, %v", v, s, again, err)
	}
}
