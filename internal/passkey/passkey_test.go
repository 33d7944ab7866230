package passkey

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

const origin = "http://localhost:8080"

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var errUnknown = errors.New("there is no such credential")

func newLogin(t *testing.T) *Login {
	t.Helper()
	l, err := New(origin, "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// shelf keeps credentials as the broker does.
type shelf map[string]broker.Passkey

func (s shelf) find(id []byte) (broker.Passkey, error) {
	p, ok := s[string(id)]
	if !ok {
		return broker.Passkey{}, errUnknown
	}
	return p, nil
}

func (s shelf) put(p broker.Passkey) { s[string(p.ID)] = p }

// register makes a passkey and keeps it.
func register(t *testing.T, l *Login, s shelf, a *authenticator) {
	t.Helper()
	options, session, err := l.BeginRegister("AgentKeys", noon)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.FinishRegister(session, a.create(t, options), noon)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.ID, a.id) {
		t.Fatal("the credential is kept under another id")
	}
	s.put(p)
}

// login logs in and keeps what is to be kept.
func login(t *testing.T, l *Login, s shelf, a *authenticator) (broker.Passkey, error) {
	t.Helper()
	options, session, err := l.BeginLogin(noon)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.FinishLogin(session, a.get(t, options), s.find, noon)
	if err == nil {
		s.put(p)
	}
	return p, err
}

func TestPasskey(t *testing.T) {
	l, s, a := newLogin(t), shelf{}, newAuthenticator(t)
	register(t, l, s, a)
	for range 3 {
		a.counter++
		if p, err := login(t, l, s, a); err != nil || !bytes.Equal(p.ID, a.id) {
			t.Fatal(err)
		}
	}
	// Synced passkeys have no counter.
	synced := newAuthenticator(t)
	synced.flags |= eligible | backedUp
	register(t, l, s, synced)
	for range 2 {
		if _, err := login(t, l, s, synced); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOptions(t *testing.T) {
	l := newLogin(t)
	raw, session, err := l.BeginRegister("AgentKeys", noon)
	if err != nil {
		t.Fatal(err)
	}
	o := read(t, raw).PublicKey
	if o.RP.ID != "localhost" || o.AuthenticatorSelection["userVerification"] != "required" || o.AuthenticatorSelection["residentKey"] != "required" ||
		o.Attestation != "none" || len(o.Challenge) < 43 || len(o.User.ID) != 43 || len(session) > 16<<10 || o.Timeout != int(life/time.Millisecond) {
		t.Errorf("%s", raw)
	}
	again, _, err := l.BeginRegister("AgentKeys", noon)
	if err != nil {
		t.Fatal(err)
	}
	if b := read(t, again).PublicKey; b.Challenge == o.Challenge || b.User.ID == o.User.ID {
		t.Error("two registrations have one challenge, or one user")
	}
	raw, session, err = l.BeginLogin(noon)
	if err != nil {
		t.Fatal(err)
	}
	o = read(t, raw).PublicKey
	if o.RPID != "localhost" || o.UserVerification != "required" || len(o.AllowCredentials) != 0 || len(o.Challenge) < 43 || len(session) > 16<<10 {
		t.Errorf("%s", raw)
	}
}

// faults are what an answer may have wrong in either ceremony.
var faults = map[string]func(*authenticator){
	"another origin":           func(a *authenticator) { a.origin = "https://evil.example" },
	"another port":             func(a *authenticator) { a.origin = "http://localhost:8081" },
	"https for http":           func(a *authenticator) { a.origin = "https://localhost:8080" },
	"a host that ends alike":   func(a *authenticator) { a.origin = "http://evil-localhost:8080" },
	"a host below":             func(a *authenticator) { a.origin = "http://sub.localhost:8080" },
	"an app's origin":          func(a *authenticator) { a.origin = "android:apk-key-hash:AAAA" },
	"no origin":                func(a *authenticator) { a.origin = "" },
	"another RP id":            func(a *authenticator) { a.rpID = "evil.example" },
	"another RP id, longer":    func(a *authenticator) { a.rpID = "localhost." },
	"no user verification":     func(a *authenticator) { a.flags &^= verified },
	"nobody there":             func(a *authenticator) { a.flags &^= present },
	"no flags":                 func(a *authenticator) { a.flags = 0 },
	"backed up, not eligible":  func(a *authenticator) { a.flags |= backedUp },
	"another challenge":        func(a *authenticator) { a.challenge = b64.EncodeToString(bytes.Repeat([]byte{7}, 32)) },
	"an empty challenge":       func(a *authenticator) { a.challenge = " " },
	"in a frame":               func(a *authenticator) { a.crossOrigin = true; a.topOrigin = "https://evil.example" },
	"in a frame, unsaid":       func(a *authenticator) { a.crossOrigin = true },
	"a type of something else": func(a *authenticator) { a.typ = "payment.get" },
}

func TestRegisterRefuses(t *testing.T) {
	l := newLogin(t)
	faults := merge(map[string]func(*authenticator){"the type of a login": func(a *authenticator) { a.typ = "webauthn.get" }})
	for name, fault := range faults {
		a := newAuthenticator(t)
		fault(a)
		options, session, err := l.BeginRegister("AgentKeys", noon)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := l.FinishRegister(session, a.create(t, options), noon); !errors.Is(err, ErrRefused) || p.ID != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoginRefuses(t *testing.T) {
	l := newLogin(t)
	faults := merge(map[string]func(*authenticator){
		"the type of a registration": func(a *authenticator) { a.typ = "webauthn.create" },
		"another key":                func(a *authenticator) { a.key = newAuthenticator(t).key },
		"no signature":               func(a *authenticator) { a.sign = func([]byte) []byte { return nil } },
		"a signature of nothing":     func(a *authenticator) { a.sign = func([]byte) []byte { return []byte{0x30, 6, 2, 1, 0, 2, 1, 0} } },
		"another user":               func(a *authenticator) { a.handle = bytes.Repeat([]byte{1}, 32) },
		"no user":                    func(a *authenticator) { a.handle = nil },
		"the counter as it was":      func(a *authenticator) { a.counter = 5 },
		"a counter that went back":   func(a *authenticator) { a.counter = 4 },
		"a counter that went to 0":   func(a *authenticator) { a.counter = 0 },
		"eligible for a backup now":  func(a *authenticator) { a.flags |= eligible },
	})
	for name, fault := range faults {
		s, a := shelf{}, newAuthenticator(t)
		a.counter = 5
		register(t, l, s, a)
		a.counter = 6
		fault(a)
		if p, err := login(t, l, s, a); !errors.Is(err, ErrRefused) || p.ID != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What find says is passed on.
	stranger := newAuthenticator(t)
	stranger.handle = bytes.Repeat([]byte{9}, 32)
	if _, err := login(t, l, shelf{}, stranger); err != errUnknown { //nolint:errorlint // it must be the very same
		t.Errorf("an unknown credential: %v", err)
	}
	s, a := shelf{}, newAuthenticator(t)
	register(t, l, s, a)
	s[string(a.id)] = broker.Passkey{ID: a.id, Data: []byte("{")}
	if _, err := login(t, l, s, a); !errors.Is(err, ErrRefused) {
		t.Errorf("a credential that is kept wrongly: %v", err)
	}
}

func merge(more map[string]func(*authenticator)) map[string]func(*authenticator) {
	for name, f := range faults {
		more[name] = f
	}
	return more
}

// TestCeremonies mixes up whose answer is whose.
func TestCeremonies(t *testing.T) {
	l, s, a := newLogin(t), shelf{}, newAuthenticator(t)
	register(t, l, s, a)
	a.counter++
	options, session, err := l.BeginLogin(noon)
	if err != nil {
		t.Fatal(err)
	}
	answer := a.get(t, options)
	_, other, err := l.BeginLogin(noon)
	if err != nil {
		t.Fatal(err)
	}
	creation, making, err := l.BeginRegister("AgentKeys", noon)
	if err != nil {
		t.Fatal(err)
	}
	made := newAuthenticator(t).create(t, creation)
	weak := bytes.Replace(session, []byte(`"required"`), []byte(`"discouraged"`), 1)
	if bytes.Equal(weak, session) {
		t.Fatal("nothing to weaken")
	}
	for name, c := range map[string]struct{ session, answer []byte }{
		"the answer to another challenge": {other, answer},
		"no session":                      {nil, answer},
		"a session that is none":          {[]byte(`{}`), answer},
		"a session of the other ceremony": {making, answer},
		"a session without verification":  {weak, answer},
		"no answer":                       {session, nil},
		"an answer that is none":          {session, []byte(`{}`)},
		"a registration":                  {session, made},
		"two answers":                     {session, append(bytes.Clone(answer), answer...)},
		"a long answer":                   {session, append(bytes.Clone(answer), bytes.Repeat([]byte(" "), maxAnswer)...)},
	} {
		if _, err := l.FinishLogin(c.session, c.answer, s.find, noon); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.FinishLogin(session, answer, s.find, noon.Add(life)); !errors.Is(err, ErrRefused) {
		t.Errorf("too late: %v", err)
	}
	if _, err := l.FinishRegister(session, made, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("a registration in a login: %v", err)
	}
	// Not for its challenge alone: a credential made for the challenge of a login.
	if p, err := l.FinishRegister(session, newAuthenticator(t).create(t, options), noon); !errors.Is(err, ErrRefused) {
		t.Errorf("a registration for a login's challenge: %v, %v", p, err)
	}
	if _, err := l.FinishRegister(making, answer, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("an answer of a login to a registration: %v", err)
	}
	if _, err := l.FinishRegister(making, made, noon.Add(life)); !errors.Is(err, ErrRefused) {
		t.Errorf("a registration too late: %v", err)
	}
	// The right one, in the last moment; and then again: of a challenge that
	// was used, the counter is all that is left, where there is one.
	p, err := l.FinishLogin(session, answer, s.find, noon.Add(life-1))
	if err != nil {
		t.Fatal(err)
	}
	s.put(p)
	if _, err := l.FinishLogin(session, answer, s.find, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("an answer again: %v", err)
	}
}

func TestKept(t *testing.T) {
	l, s, a := newLogin(t), shelf{}, newAuthenticator(t)
	register(t, l, s, a)
	var kept map[string]any
	if err := json.Unmarshal(s[string(a.id)].Data, &kept); err != nil || kept["user"] == nil {
		t.Fatalf("%s: %v", s[string(a.id)].Data, err)
	}
	attestation, _ := kept["credential"].(map[string]any)["attestation"].(map[string]any)
	for name, v := range attestation {
		if v != nil && v != "" && v != 0. {
			t.Errorf("of the attestation, %s is kept: %v", name, v)
		}
	}
}

func TestNew(t *testing.T) {
	for _, c := range []struct{ origin, rpID string }{
		{"https://broker.example", ""}, {"https://broker.example:8443", ""}, {"https://keys.broker.example", "broker.example"}, {"http://localhost:8080", ""}, {"https://localhost", "localhost"},
	} {
		if _, err := New(c.origin, c.rpID); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []struct{ origin, rpID string }{
		{"", ""}, {"broker.example", ""}, {"http://broker.example", ""}, {"https://127.0.0.1:8080", ""}, {"https://[::1]", ""}, {"https://broker.example/", ""},
		{"https://broker.example", "evil.example"}, {"https://broker.example", "example"}, {"https://broker.example", "sub.broker.example"}, {"https://notbroker.example", "broker.example"},
		{"https://a@broker.example", ""}, {"https://broker.example", strings.Repeat("a", 300)},
	} {
		if _, err := New(c.origin, c.rpID); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	l, err := New(origin, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`))
	f.Add([]byte(rand.Text()))
	_, making, err := l.BeginRegister("x", noon)
	if err != nil {
		f.Fatal(err)
	}
	_, session, err := l.BeginLogin(noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if _, err := l.FinishRegister(making, answer, noon); err == nil {
			t.Error("registered")
		}
		if _, err := l.FinishLogin(session, answer, shelf{}.find, noon); err == nil {
			t.Error("logged in")
		}
	})
}
