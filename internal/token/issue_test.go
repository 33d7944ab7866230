package token

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
)

// TestIssueRefuses: nothing is signed that a verifier would refuse, or that
// lives too long.
func TestIssueRefuses(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	n := 0
	judge := func(what, name string, ok bool, raw string, err error) {
		t.Helper()
		n++
		if (err == nil) != ok || err != nil && (!errors.Is(err, ErrIssue) || raw != "") {
			t.Errorf("%s, %s: %q, %v, want issued %v", what, name, raw, err, ok)
		}
	}
	type sessionCase struct {
		name string
		ok   bool
		edit func(*Session)
	}
	both := []sessionCase{
		{"as it should be", true, func(*Session) {}},
		{"issued now by default", true, func(s *Session) { s.Issued = time.Time{} }},
		{"issued within this second", true, func(s *Session) { s.Issued = w.now.Add(time.Millisecond) }},
		{"issued earlier", false, func(s *Session) { s.Issued = w.now.Add(-time.Second) }},
		{"issued later", false, func(s *Session) { s.Issued = w.now.Add(time.Second) }},
		{"no expiry", false, func(s *Session) { s.Expires = time.Time{} }},
		{"expires now", false, func(s *Session) { s.Expires = w.now }},
		{"expires before", false, func(s *Session) { s.Expires = w.now.Add(-time.Hour) }},
		{"a second", true, func(s *Session) { s.Expires = w.now.Add(time.Second) }},
		{"an hour", true, func(s *Session) { s.Expires = w.now.Add(time.Hour) }},
		{"five hours and a second", false, func(s *Session) { s.Expires = w.now.Add(5*time.Hour + time.Second) }},
		{"no id", false, func(s *Session) { s.ID = "" }},
		{"short id", false, func(s *Session) { s.ID = "0123456789abcde" }},
		{"long id", false, func(s *Session) { s.ID = strings.Repeat("x", 129) }},
		{"id with a quote", false, func(s *Session) { s.ID = `0123456789abcdef"` }},
		{"no account", false, func(s *Session) { s.Account = "" }},
		{"malformed account", false, func(s *Session) { s.Account = "a@b" }},
		{"no wallet", false, func(s *Session) { s.Wallet = agentkeys.Wallet{} }},
		{"no device", false, func(s *Session) { s.Device = Thumbprint{} }},
		{"no role", false, func(s *Session) { s.Role = "" }},
		{"unknown role", false, func(s *Session) { s.Role = "root" }},
	}
	master := append(both[:len(both):len(both)], []sessionCase{
		{"five hours", true, func(s *Session) { s.Expires = w.now.Add(5 * time.Hour) }},
		{"with a parent", false, func(s *Session) { s.Parent = agentWallet }},
		{"with an agent", false, func(s *Session) { s.Agent = ci }},
		{"with both", false, func(s *Session) { s.Parent, s.Agent = agentWallet, ci }},
	}...)
	agent := append(both[:len(both):len(both)], []sessionCase{
		{"an hour and a second", false, func(s *Session) { s.Expires = w.now.Add(time.Hour + time.Second) }},
		{"without a parent", false, func(s *Session) { s.Parent = agentkeys.Wallet{} }},
		{"without a label", false, func(s *Session) { s.Agent = agentkeys.Agent{} }},
		{"without either", false, func(s *Session) { s.Parent, s.Agent = agentkeys.Wallet{}, agentkeys.Agent{} }},
		{"its own parent", false, func(s *Session) { s.Parent = s.Wallet }},
	}...)
	for role, cases := range map[Role][]sessionCase{Master: master, Agent: agent} {
		for _, c := range cases {
			s := w.session(role)
			c.edit(&s)
			raw, err := i.Session(s, w.now)
			judge("session of "+string(role), c.name, c.ok, raw, err)
			if err == nil {
				if _, err := w.verifier(typSession).Session(raw, w.now); err != nil {
					t.Errorf("%s, %s: issued, and refused: %v", role, c.name, err)
				}
			}
		}
	}
	for _, c := range []struct {
		name string
		ok   bool
		edit func(*Access)
	}{
		{"as it should be", true, func(*Access) {}},
		{"a master for itself", true, func(a *Access) { a.Parent, a.Agent = agentkeys.Wallet{}, agentkeys.Agent{} }},
		{"an agent for itself", true, func(a *Access) { a.Role = Agent }},
		{"an agent without a parent", false, func(a *Access) { a.Role, a.Parent = Agent, agentkeys.Wallet{} }},
		{"an agent without either", false, func(a *Access) { a.Role, a.Parent, a.Agent = Agent, agentkeys.Wallet{}, agentkeys.Agent{} }},
		{"a master with a label alone", false, func(a *Access) { a.Parent = agentkeys.Wallet{} }},
		{"a master with a parent alone", false, func(a *Access) { a.Agent = agentkeys.Agent{} }},
		{"its own parent", false, func(a *Access) { a.Parent = a.Wallet }},
		{"no wallet", false, func(a *Access) { a.Wallet = agentkeys.Wallet{} }},
		{"no device", false, func(a *Access) { a.Device = Thumbprint{} }},
		{"no role", false, func(a *Access) { a.Role = "" }},
		{"301 s", false, func(a *Access) { a.Expires = w.now.Add(301 * time.Second) }},
		{"no expiry", false, func(a *Access) { a.Expires = time.Time{} }},
		{"no audience", false, func(a *Access) { a.Audience = "" }},
		{"the issuer's audience", false, func(a *Access) { a.Audience = origin }},
		{"audience with a space", false, func(a *Access) { a.Audience = "a b" }},
		{"long audience", false, func(a *Access) { a.Audience = strings.Repeat("a", 513) }},
	} {
		a := w.access()
		c.edit(&a)
		raw, err := i.Access(a, w.now)
		judge("access", c.name, c.ok, raw, err)
		if err == nil {
			if _, err := w.verifier(typAccess).Access(raw, w.now); err != nil {
				t.Errorf("access, %s: issued, and refused: %v", c.name, err)
			}
		}
	}
	for _, c := range []struct {
		name string
		ok   bool
		edit func(*Identity)
	}{
		{"as it should be", true, func(*Identity) {}},
		{"60 s", true, func(d *Identity) { d.Expires = w.now.Add(time.Minute) }},
		{"59 s", false, func(d *Identity) { d.Expires = w.now.Add(59 * time.Second) }},
		{"59.9 s", false, func(d *Identity) { d.Expires = w.now.Add(59900 * time.Millisecond) }},
		{"3600 s", true, func(d *Identity) { d.Expires = w.now.Add(time.Hour) }},
		{"3601 s", false, func(d *Identity) { d.Expires = w.now.Add(time.Hour + time.Second) }},
		{"no expiry", false, func(d *Identity) { d.Expires = time.Time{} }},
		{"no wallet", false, func(d *Identity) { d.Wallet = agentkeys.Wallet{} }},
		{"no audience", false, func(d *Identity) { d.Audience = "" }},
		{"the issuer's audience", false, func(d *Identity) { d.Audience = origin }},
		{"audience with a quote", false, func(d *Identity) { d.Audience = `a"b` }},
		{"no id", false, func(d *Identity) { d.ID = "" }},
	} {
		for _, alg := range []Alg{ES256, RS256, "none", "HS256", ""} {
			d := w.identity()
			c.edit(&d)
			raw, err := i.Identity(d, alg, w.now)
			judge("identity", c.name+" "+string(alg), c.ok && (alg == ES256 || alg == RS256), raw, err)
		}
	}
	for name, i := range map[string]*Issuer{
		"zero":           {},
		"no issuer":      {Ring: i.Ring},
		"no ring":        {Issuer: origin},
		"nil ring":       {Issuer: origin, Ring: func() *Ring { return nil }},
		"two-line name":  {Issuer: "a\nb", Ring: i.Ring},
		"only a key yet": {Issuer: origin, Ring: func() *Ring { return mustRing(t, w.future) }},
	} {
		raw, err := i.Session(w.session(Master), w.now)
		judge("session", name, false, raw, err)
		raw, err = i.Access(w.access(), w.now)
		judge("access", name, false, raw, err)
		raw, err = i.Identity(w.identity(), ES256, w.now)
		judge("identity", name, false, raw, err)
	}
	t.Logf("%d cells", n)
}

func mustRing(t testing.TB, keys ...Key) *Ring {
	t.Helper()
	r, err := NewRing(keys, MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPartsOfSeconds: a token says whole seconds, and lives no longer for it.
func TestPartsOfSeconds(t *testing.T) {
	w := newWorld(t)
	now := w.now.Add(900 * time.Millisecond)
	d := Identity{NewID(), agentWallet, stsAud, now, now.Add(time.Hour)}
	raw, err := w.issuer().Identity(d, ES256, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.verifier(typIdentity).Identity(raw, now)
	if err != nil || got.Issued != w.now || got.Expires != w.now.Add(time.Hour) {
		t.Errorf("%+v, %v", got, err)
	}
	d = Identity{NewID(), agentWallet, stsAud, time.Time{}, w.now.Add(time.Hour + 500*time.Millisecond)}
	if raw, err = w.issuer().Identity(d, ES256, w.now); err != nil {
		t.Fatal(err)
	}
	if got, err := w.verifier(typIdentity).Identity(raw, now); err != nil || got.Expires != w.now.Add(time.Hour) {
		t.Errorf("%+v, %v", got, err)
	}
}
