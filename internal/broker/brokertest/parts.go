// Package brokertest has what a broker's tests put in place of the services
// around it: a signer, a mail server, login methods, the audit log, a clock.
// They follow the contracts of broker, and can be made to fail.
package brokertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// What a World's broker is configured with.
const (
	Origin         = "https://broker.test"
	STS            = "sts.amazonaws.com"
	Federation     = "https://federation.test"
	SignerAudience = "https://signer.test"
)

// World is all that replicas of one broker share but the state.
type World struct {
	Clock    *Clock
	Mail     *Mail
	Wallets  *Wallets
	Tape     *Tape
	Wallet   *WalletLogin
	Provider *Provider
	Passkeys *Passkeys
	Issuer   *token.Issuer
	Log      *Log
}

// NewWorld makes one whose clock goes with the real one.
func NewWorld(t testing.TB) *World {
	t.Helper()
	w := &World{
		Clock: &Clock{}, Mail: &Mail{}, Wallets: &Wallets{}, Tape: &Tape{}, Wallet: &WalletLogin{},
		Provider: &Provider{}, Passkeys: &Passkeys{}, Log: &Log{},
	}
	var keys []token.Key
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		k, err := token.NewKey(alg, w.Clock.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	ring, err := token.NewRing(keys, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	w.Issuer = &token.Issuer{Issuer: Origin, Ring: func() *token.Ring { return ring }}
	return w
}

// Replica makes a broker over a state. It runs until stop or the test ends.
func (w *World) Replica(t testing.TB, s broker.State) (b *broker.Broker, stop func()) {
	t.Helper()
	b = w.Still(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); b.Ready(ctx) != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("the broker is not ready: %v", b.Ready(ctx))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return b, stop
}

// Still makes a broker that does not run.
func (w *World) Still(t testing.TB, s broker.State) *broker.Broker {
	t.Helper()
	b, err := broker.New(w.Options(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Options are what its brokers work with.
func (w *World) Options(s broker.State) broker.Options {
	return broker.Options{
		Origin: Origin, State: s, Recorder: w.Tape, Issuer: w.Issuer, Wallets: w.Wallets,
		Mailer: w.Mail, Wallet: w.Wallet, Provider: w.Provider, Passkeys: w.Passkeys,
		Audiences:      map[string]token.Alg{STS: token.ES256, Federation: token.RS256},
		SignerAudience: SignerAudience, Now: w.Clock.Now,
		Log: slog.New(slog.NewTextHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Clock is the real one, with what it was moved by.
type Clock struct{ ahead atomic.Int64 }

// Now is the time.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Move moves it.
func (c *Clock) Move(d time.Duration) { c.ahead.Add(int64(d)) }

// NewKey makes a device key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Fault makes a part fail while it is set.
type Fault struct{ v atomic.Pointer[error] }

// Set makes calls fail with err; nil mends them.
func (f *Fault) Set(err error) { f.v.Store(&err) }

// Err is what calls fail with.
func (f *Fault) Err() error {
	if p := f.v.Load(); p != nil {
		return *p
	}
	return nil
}

// Wallets derives as the signer does: the same for the same question.
type Wallets struct{ Fault }

func wallet(parts ...string) agentkeys.Wallet {
	sum := sha256.Sum256([]byte(strings.Join(parts, "|")))
	return agentkeys.WalletFrom([20]byte(sum[:20]))
}

// Master implements broker.Wallets.
func (w *Wallets) Master(_ context.Context, account string) (agentkeys.Wallet, error) {
	return wallet(account), w.Err()
}

// Agent implements broker.Wallets.
func (w *Wallets) Agent(_ context.Context, account string, label agentkeys.Agent) (agentkeys.Wallet, error) {
	return wallet(account, label.String()), w.Err()
}

// Mail keeps what was sent.
type Mail struct {
	Fault
	mu   sync.Mutex
	sent []Letter
}

// Letter is one mail.
type Letter struct{ To, Subject, Text string }

// Send implements broker.Mailer.
func (m *Mail) Send(_ context.Context, to, subject, text string) error {
	if err := m.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, Letter{to, subject, text})
	return nil
}

// Sent is all that was.
func (m *Mail) Sent() []Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Letter(nil), m.sent...)
}

// Link is the login and the token of the last mail's link.
func (m *Mail) Link(t testing.TB) (login, token string) {
	t.Helper()
	sent := m.Sent()
	if len(sent) == 0 {
		t.Fatal("no mail was sent")
	}
	_, rest, ok := strings.Cut(sent[len(sent)-1].Text, Origin+"/login/mail#")
	rest, _, _ = strings.Cut(rest, "\n")
	login, token, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		t.Fatalf("no link in %q", sent[len(sent)-1].Text)
	}
	return login, token
}

// Tape is an audit log.
type Tape struct {
	Fault
	// On, if set before the log is used, is called with each entry before it is
	// durable.
	On     func(grant.Event)
	mu     sync.Mutex
	events []grant.Event
}

// Record implements grant.Recorder.
func (t *Tape) Record(_ context.Context, e grant.Event) error {
	if err := t.Err(); err != nil {
		return err
	}
	if t.On != nil {
		t.On(e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
	return nil
}

// Note implements grant.Recorder.
func (t *Tape) Note(e grant.Event) error { return t.Record(context.Background(), e) }

// Events is all that was recorded.
func (t *Tape) Events() []grant.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]grant.Event(nil), t.events...)
}

// Count counts the entries of an op with a decision.
func (t *Tape) Count(op, decision string) (n int) {
	for _, e := range t.Events() {
		if e.Op == op && e.Decision == decision {
			n++
		}
	}
	return n
}

// WalletLogin asks for a signature that anybody can make who knows how.
type WalletLogin struct{ Fault }

// ParseAddress implements broker.WalletLogin.
func (*WalletLogin) ParseAddress(s string) (agentkeys.Wallet, error) { return agentkeys.ParseWallet(s) }

// Message implements broker.WalletLogin.
func (*WalletLogin) Message(r broker.WalletRequest) (string, error) {
	if r.ChainID != 1 && r.ChainID != 10 {
		return "", errors.New("unknown chain")
	}
	text, err := json.Marshal(r)
	return Origin + " wants you to sign in: " + string(text), err
}

// SignWallet is the owner's signature of a message. A contract's begins with
// "contract".
func SignWallet(address agentkeys.Wallet, message string) string {
	return fmt.Sprintf("0x%x", sha256.Sum256([]byte(address.String()+message)))
}

// Verify implements broker.WalletLogin.
func (l *WalletLogin) Verify(_ context.Context, r broker.WalletRequest, message, signature string, now time.Time) (bool, error) {
	if err := l.Err(); err != nil {
		return false, err
	}
	want, err := l.Message(r)
	if err != nil || message != want || now.After(r.Expires) || now.Before(r.Issued) {
		return false, errors.New("not the message")
	}
	if signature == SignWallet(r.Address, message)+"c0" {
		return true, nil
	}
	if signature != SignWallet(r.Address, message) {
		return false, errors.New("not the signature")
	}
	return false, nil
}

// Provider is an OpenID provider whose codes say all that it checks.
type Provider struct{ Fault }

// Issuer is the provider's.
const Issuer = "https://provider.test"

// AuthURL implements broker.ProviderLogin.
func (p *Provider) AuthURL(_ context.Context, state, nonce, verifier string) (string, error) {
	return Issuer + "/auth?" + url.Values{"state": {state}, "nonce": {nonce}, "code_challenge": {challenge(verifier)}}.Encode(), p.Err()
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SignIn is what the provider does with a URL once subject has agreed: it
// returns the state and a code.
func SignIn(t testing.TB, authURL, subject string) (state, code string) {
	t.Helper()
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	return q.Get("state"), subject + "|" + q.Get("nonce") + "|" + q.Get("code_challenge")
}

// Exchange implements broker.ProviderLogin.
func (p *Provider) Exchange(_ context.Context, code, verifier, nonce, iss string) (string, string, error) {
	if err := p.Err(); err != nil {
		return "", "", err
	}
	subject, rest, _ := strings.Cut(code, "|")
	if rest != nonce+"|"+challenge(verifier) || iss != "" && iss != Issuer {
		return "", "", errors.New("invalid_grant")
	}
	return Issuer, subject, nil
}

// Passkeys are credentials that are known by their id alone.
type Passkeys struct{ Fault }

// PasskeyAnswer is a browser's answer to options.
type PasskeyAnswer struct {
	ID        string `json:"id"`
	Challenge string `json:"challenge"`
	Counter   int    `json:"counter"`
}

type passkeyOptions struct {
	Challenge string `json:"challenge"`
}

func (p *Passkeys) begin() (options, session []byte, err error) {
	o := passkeyOptions{rand.Text()}
	options, err = json.Marshal(o)
	return options, []byte(o.Challenge), errors.Join(err, p.Err())
}

// BeginRegister implements broker.PasskeyLogin.
func (p *Passkeys) BeginRegister(string, time.Time) (options, session []byte, err error) {
	return p.begin()
}

// BeginLogin implements broker.PasskeyLogin.
func (p *Passkeys) BeginLogin(time.Time) (options, session []byte, err error) { return p.begin() }

// Answer answers options with a credential.
func Answer(t testing.TB, options []byte, id string, counter int) []byte {
	t.Helper()
	var o passkeyOptions
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(PasskeyAnswer{id, o.Challenge, counter})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *Passkeys) finish(session, answer []byte) (a PasskeyAnswer, err error) {
	if err = errors.Join(json.Unmarshal(answer, &a), p.Err()); err == nil && (a.Challenge != string(session) || a.ID == "") {
		err = errors.New("another challenge")
	}
	return a, err
}

// FinishRegister implements broker.PasskeyLogin.
func (p *Passkeys) FinishRegister(session, answer []byte, _ time.Time) (broker.Passkey, error) {
	a, err := p.finish(session, answer)
	if err != nil {
		return broker.Passkey{}, err
	}
	data, err := json.Marshal(a)
	return broker.Passkey{ID: []byte(a.ID), Data: data}, err
}

// FinishLogin implements broker.PasskeyLogin.
func (p *Passkeys) FinishLogin(session, answer []byte, find func([]byte) (broker.Passkey, error), _ time.Time) (broker.Passkey, error) {
	a, err := p.finish(session, answer)
	if err != nil {
		return broker.Passkey{}, err
	}
	k, err := find([]byte(a.ID))
	if err != nil {
		return broker.Passkey{}, errors.New("no such credential") // as libraries do: without the cause
	}
	var old PasskeyAnswer
	if err := json.Unmarshal(k.Data, &old); err != nil {
		return broker.Passkey{}, err
	}
	if a.Counter <= old.Counter {
		return broker.Passkey{}, errors.New("a copy of the credential")
	}
	k.Data, err = json.Marshal(a)
	return k, err
}

// Log keeps what was logged.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
