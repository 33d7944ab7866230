package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// loginRecord is a login under way. It moves on by changes that rest on its
// version, and only forward: begun, proven, gone.
type loginRecord struct {
	Method string    `json:"method"`
	Device string    `json:"device"` // thumbprint of the key that began it
	Port   int       `json:"port,omitempty"`
	Ends   time.Time `json:"ends"`

	// Begun: what the proof is checked against.
	Token    string         `json:"token,omitempty"` // digest of the mailed token, or of state
	Email    string         `json:"email,omitempty"` // what the token will prove
	Wallet   *WalletRequest `json:"wallet,omitempty"`
	Message  string         `json:"message,omitempty"` // to sign
	Nonce    string         `json:"nonce,omitempty"`
	Verifier string         `json:"verifier,omitempty"`
	Passkey  []byte         `json:"passkey,omitempty"`
	Register bool           `json:"register,omitempty"`

	// Proven: who it is, and the code that hands the login over.
	Identity string `json:"identity,omitempty"`
	Code     string `json:"code,omitempty"` // digest
	Wrong    int    `json:"wrong,omitempty"`
}

func (l *loginRecord) proven() bool { return l.Identity != "" }

const maxWrongCodes = 5

func loginKey(id string) (Key, error) {
	k := Key{kindLogin, id}
	if k.Valid() != nil {
		return k, ErrLogin
	}
	return k, nil
}

// BeginLogin begins a login that only the device with this key can end. peer
// is what limits count whoever asks by. The answer does not depend on whether
// there is an account. *LimitError.
func (b *Broker) BeginLogin(ctx context.Context, key DeviceKey, peer string, r brokerapi.LoginRequest) (brokerapi.Login, error) {
	if key.isZero() {
		return brokerapi.Login{}, ErrProof
	}
	// Whoever begins a login sends somebody's browser there: not to a service
	// of the machine's own.
	if r.LoopbackPort != 0 && (r.LoopbackPort < 1024 || r.LoopbackPort > 65535) {
		return brokerapi.Login{}, requestError("a loopback port is 1024 to 65535")
	}
	if (r.Email != "") != (r.Method == brokerapi.LoginEmail) ||
		(r.Address != "" || r.ChainID != 0) && r.Method != brokerapi.LoginWallet {
		return brokerapi.Login{}, requestError("it has what another method needs, or lacks what this one does")
	}
	id, now := randomHex(16), b.o.Now()
	rec := loginRecord{Method: r.Method, Device: key.t.String(), Port: r.LoopbackPort, Ends: now.Add(LoginLife).UTC().Truncate(time.Second)}
	out := brokerapi.Login{ID: id, Expires: rec.Ends}
	begin := map[string]func() error{
		brokerapi.LoginEmail:   func() error { return b.beginMail(ctx, id, peer, r.Email, rec) },
		brokerapi.LoginWallet:  func() error { return b.beginWallet(id, &rec, &out, r, now) },
		brokerapi.LoginGoogle:  func() error { return b.beginProvider(ctx, id, &rec, &out) },
		brokerapi.LoginPasskey: func() error { out.URL = b.o.Origin + "/login/passkey#" + id; return nil },
	}[r.Method]
	if begin == nil || !b.isOn(r.Method) {
		return brokerapi.Login{}, requestError("the login methods here are %s", strings.Join(b.Methods(), ", "))
	}
	if err := begin(); err != nil {
		return brokerapi.Login{}, err
	}
	if r.Method == brokerapi.LoginEmail { // kept already, with its limits
		return out, nil
	}
	if err := b.apply(ctx, Change{Writes: []Write{put(Key{kindLogin, id}, 0, rec, rec.Ends)}}); err != nil {
		return brokerapi.Login{}, err
	}
	return out, nil
}

func (b *Broker) isOn(method string) bool {
	for _, m := range b.Methods() {
		if m == method {
			return true
		}
	}
	return false
}

// open returns a login that waits for its proof.
func (b *Broker) open(ctx context.Context, id, method string) (loginRecord, int64, error) {
	k, err := loginKey(id)
	if err != nil {
		return loginRecord{}, 0, err
	}
	rec, version, err := get[loginRecord](ctx, b.o.State, k)
	switch {
	case errors.Is(err, ErrAbsent):
		return rec, 0, ErrLogin
	case err != nil:
		return rec, 0, err
	case rec.Method != method || rec.proven():
		return rec, 0, ErrLogin
	}
	return rec, version, nil
}

// prove says who somebody has proven to be, if nobody was faster, and returns
// the code that takes the login to its device. What the proof was checked
// against is gone from then on.
func (b *Broker) prove(ctx context.Context, id string, rec loginRecord, version int64, identity string, also ...Write) (brokerapi.Handoff, error) {
	code, shown := newCode(handoffLen, 4)
	next := loginRecord{
		Method: rec.Method, Device: rec.Device, Port: rec.Port, Ends: rec.Ends,
		Identity: identity, Code: digest("handoff", id, code),
	}
	err := b.apply(ctx, Change{Writes: append(also, put(Key{kindLogin, id}, version, next, rec.Ends))})
	if err != nil {
		return brokerapi.Handoff{}, err
	}
	return brokerapi.Handoff{Code: shown, LoopbackPort: rec.Port}, nil
}

// refuse makes ErrLogin of whatever refuses a proof, and leaves ErrUnavailable.
func refuse(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLogin, err)
}

// EndLogin ends a login for the device that began it: its code is good once.
// Where the account has MaxDevices, its oldest is out. ErrLogin, ErrTaken.
func (b *Broker) EndLogin(ctx context.Context, key DeviceKey, id, code, name string) (brokerapi.Session, error) {
	k, err := loginKey(id)
	if err != nil {
		return brokerapi.Session{}, err
	}
	if name, err = deviceName(name); err != nil {
		return brokerapi.Session{}, err
	}
	var device deviceRecord
	err = b.change(ctx, "login/"+id, func(try *tries) error {
		rec, version, err := get[loginRecord](ctx, b.o.State, k)
		switch {
		case errors.Is(err, ErrAbsent):
			return ErrLogin
		case err != nil:
			return err
		case key.isZero() || rec.Device != key.t.String() || !rec.proven():
			return ErrLogin
		}
		if !same(rec.Code, digest("handoff", id, parseCode(code, handoffLen))) {
			return b.wrongCode(ctx, k, rec, version)
		}
		device, err = b.admit(ctx, try, k, rec, version, key.t, name)
		return err
	})
	if err != nil {
		return brokerapi.Session{}, err
	}
	return b.issue(ctx, key.t, device)
}

// wrongCode counts one, and ends the login with the last.
func (b *Broker) wrongCode(ctx context.Context, k Key, rec loginRecord, version int64) error {
	rec.Wrong++
	w := put(k, version, rec, rec.Ends)
	if rec.Wrong >= maxWrongCodes {
		w = Write{Key: k, Expect: version}
	}
	if err := b.apply(ctx, Change{Writes: []Write{w}}); err != nil {
		return err
	}
	return ErrLogin
}

// admit consumes a proven login and makes the key a device of the account,
// which comes into being with its first, all in one change.
func (b *Broker) admit(ctx context.Context, try *tries, login Key, rec loginRecord, version int64, key token.Thumbprint, name string) (deviceRecord, error) {
	account, wallet, writes, err := b.account(ctx, rec.Identity, rec.Method)
	if err != nil {
		return deviceRecord{}, err
	}
	device := deviceRecord{Account: account, Wallet: wallet, Name: name, Created: b.o.Now().UTC()}
	ws, events, err := b.placeDevice(ctx, key, device)
	if err != nil {
		return deviceRecord{}, err
	}
	oldest, room, ended, err := b.makeRoom(ctx, account, key)
	if err != nil {
		return deviceRecord{}, err
	}
	writes = append(slices.Concat(writes, ws, room), Write{Key: login, Expect: version})
	events = append(events, ended...)
	change := func() error { return b.apply(ctx, Change{Writes: writes, Events: events}) }
	if !oldest.IsZero() {
		made := change
		change = func() error {
			e := grant.Event{Op: "device.revoke", Actor: wallet, Subject: "device " + oldest.String()}
			return try.record(ctx, e, made)
		}
	}
	e := grant.Event{Op: "session.login", Actor: wallet, Subject: rec.Method + " device " + key.String()}
	return device, try.record(ctx, e, change)
}

// account finds the account of an identity, or how to make one: the writes do
// it, or demand that it is still the identity's.
func (b *Broker) account(ctx context.Context, identity, method string) (account string, w agentkeys.Wallet, writes []Write, err error) {
	id, version, err := get[identityRecord](ctx, b.o.State, identityKey(identity))
	switch {
	case err == nil:
		acc, _, err := get[accountRecord](ctx, b.o.State, accountKey(id.Account))
		if err != nil {
			return "", w, nil, fmt.Errorf("the account of an identity: %w", err)
		}
		return id.Account, acc.Wallet, []Write{{Key: identityKey(identity), Expect: version, Check: true}}, nil
	case !errors.Is(err, ErrAbsent):
		return "", w, nil, err
	}
	// In the text form of signer.NewAccountID.
	account = randomHex(16)
	if w, err = b.o.Wallets.Master(ctx, account); err != nil {
		return "", w, nil, fmt.Errorf("%w: the signer: %w", ErrUnavailable, err)
	}
	now := b.o.Now().UTC()
	return account, w, []Write{
		put(identityKey(identity), 0, identityRecord{account, method, now}, never),
		put(accountKey(account), 0, accountRecord{w, now}, never),
		put(walletKey(w), 0, walletRecord{Account: account}, never),
	}, nil
}

// deviceName checks a name for people.
func deviceName(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", requestError("a device's name is up to 64 bytes that can be printed")
	}
	if s == "" {
		s = "device"
	}
	return s, nil
}
