// Package passkey is the broker's login with passkeys: WebAuthn with
// discoverable credentials and user verification. It keeps nothing. What must
// be remembered between the two halves of a ceremony goes to the caller, who
// gives it back once; so does each credential.
//
// Laws:
//   - the user is verified by the authenticator, each time, or the login is
//     refused; the browser's request says so and the answer is checked for it
//   - one origin, exactly; the RP id is its host or, where the operator says
//     so, a domain above it; no frame of another origin
//   - a challenge is of one kind of ceremony and ends with its time
//   - a signature counter that does not grow, where there is one, is a copied
//     authenticator, and refused
package passkey

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/litentry/agentkeys/internal/broker"
)

// What a login may fail with.
var (
	// ErrConfig is wrapped by New for an origin without passkeys.
	ErrConfig = errors.New("passkeys cannot be used")
	// ErrRefused is wrapped for every answer that does not prove who somebody is.
	ErrRefused = errors.New("the passkey is refused")
)

const (
	// life is how long a ceremony may take, in the browser and here.
	life      = 5 * time.Minute
	maxAnswer = 64 << 10 // bytes
)

// Login is the broker's login with passkeys. It is safe for concurrent use.
type Login struct{ w *webauthn.WebAuthn }

var _ broker.PasskeyLogin = (*Login)(nil)

// New makes the login of the broker at origin, which a browser must reach by
// https, or as http://localhost. rpID is what passkeys are made for: empty, the
// host of origin. It can never be changed without losing all passkeys.
func New(origin, rpID string) (*Login, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return nil, fmt.Errorf("%w: the broker's origin is not a scheme and a host", ErrConfig)
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, fmt.Errorf("%w: browsers make no passkeys for an address; give the broker a name, or use localhost", ErrConfig)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || host != "localhost") {
		return nil, fmt.Errorf("%w: browsers make passkeys for https only, or for http://localhost", ErrConfig)
	}
	if rpID == "" {
		rpID = host
	}
	if rpID != host && (!strings.HasSuffix(host, "."+rpID) || !strings.Contains(rpID, ".")) {
		return nil, fmt.Errorf("%w: the RP id is neither the host of the broker's origin nor a domain above it", ErrConfig)
	}
	timeout := webauthn.TimeoutConfig{Timeout: life, TimeoutUVD: life}
	w, err := webauthn.New(&webauthn.Config{
		RPID: rpID, RPDisplayName: "AgentKeys", RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation, // whose key it is, not which
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// No extension is asked for and none is read: what a password manager
		// says beyond that is its own.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Login{w}, nil
}

// The two ceremonies.
const (
	registers = "register"
	logsIn    = "login"
)

// session is what is remembered between the halves of a ceremony.
type session struct {
	Kind string               `json:"kind"`
	Ends time.Time            `json:"ends"`
	Data webauthn.SessionData `json:"data"`
}

// stored is a credential as it is kept.
type stored struct {
	User       []byte              `json:"user"` // the handle, random
	Credential webauthn.Credential `json:"credential"`
}

// user is what the library asks about whoever it deals with.
type user struct {
	handle      []byte
	name        string
	credentials []webauthn.Credential
}

func (u user) WebAuthnID() []byte                         { return u.handle }
func (u user) WebAuthnName() string                       { return u.name }
func (u user) WebAuthnDisplayName() string                { return u.name }
func (u user) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// BeginRegister implements broker.PasskeyLogin.
func (l *Login) BeginRegister(name string, now time.Time) (options, remember []byte, err error) {
	handle := make([]byte, 32)
	_, _ = rand.Read(handle) // never fails: crypto/rand aborts the process instead
	creation, data, err := l.w.BeginRegistration(user{handle: handle, name: name})
	if err != nil {
		return nil, nil, err
	}
	return begun(creation, registers, data, now)
}

// BeginLogin implements broker.PasskeyLogin.
func (l *Login) BeginLogin(now time.Time) (options, remember []byte, err error) {
	assertion, data, err := l.w.BeginDiscoverableLogin()
	if err != nil {
		return nil, nil, err
	}
	return begun(assertion, logsIn, data, now)
}

func begun(options any, kind string, data *webauthn.SessionData, now time.Time) ([]byte, []byte, error) {
	o, err := json.Marshal(options)
	if err != nil {
		return nil, nil, err
	}
	s, err := json.Marshal(session{kind, now.Add(life).UTC(), *data})
	return o, s, err
}

// resume gives the library what it wants back, if it is of that ceremony and
// in its time.
func resume(remembered, answer []byte, kind string, now time.Time) (webauthn.SessionData, error) {
	var s session
	if err := json.Unmarshal(remembered, &s); err != nil {
		return webauthn.SessionData{}, fmt.Errorf("%w: there is no ceremony to end", ErrRefused)
	}
	switch {
	case s.Kind != kind:
		return webauthn.SessionData{}, fmt.Errorf("%w: the ceremony was begun as another", ErrRefused)
	case !now.Before(s.Ends):
		return webauthn.SessionData{}, fmt.Errorf("%w: it took too long", ErrRefused)
	case len(answer) > maxAnswer:
		return webauthn.SessionData{}, fmt.Errorf("%w: the answer is longer than %d bytes", ErrRefused, maxAnswer)
	case s.Data.UserVerification != protocol.VerificationRequired:
		return webauthn.SessionData{}, fmt.Errorf("%w: the ceremony was begun without user verification", ErrRefused)
	}
	return s.Data, nil
}

// FinishRegister implements broker.PasskeyLogin.
func (l *Login) FinishRegister(remembered, answer []byte, now time.Time) (broker.Passkey, error) {
	data, err := resume(remembered, answer, registers, now)
	if err != nil {
		return broker.Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return broker.Passkey{}, refuse(err)
	}
	credential, err := l.w.CreateCredential(user{handle: data.UserID}, data, parsed)
	if err != nil {
		return broker.Passkey{}, refuse(err)
	}
	credential.Attestation = webauthn.CredentialAttestation{} // it was not asked for, and is of no use
	return keep(data.UserID, *credential)
}

// FinishLogin implements broker.PasskeyLogin.
func (l *Login) FinishLogin(remembered, answer []byte, find func(id []byte) (broker.Passkey, error), now time.Time) (broker.Passkey, error) {
	data, err := resume(remembered, answer, logsIn, now)
	if err != nil {
		return broker.Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return broker.Passkey{}, refuse(err)
	}
	var missed error
	owner, credential, err := l.w.ValidatePasskeyLogin(func(id, _ []byte) (webauthn.User, error) {
		kept, err := find(id)
		if err != nil {
			missed = err
			return nil, err
		}
		var s stored
		if err := json.Unmarshal(kept.Data, &s); err != nil {
			return nil, errors.New("the credential is not kept as it was made")
		}
		return user{handle: s.User, credentials: []webauthn.Credential{s.Credential}}, nil
	}, data, parsed)
	switch {
	case missed != nil:
		return broker.Passkey{}, missed // the caller's own
	case err != nil:
		return broker.Passkey{}, refuse(err)
	case credential.Authenticator.CloneWarning:
		return broker.Passkey{}, fmt.Errorf("%w: its counter did not grow, so there may be a copy of it: make a new passkey", ErrRefused)
	}
	return keep(owner.WebAuthnID(), *credential)
}

func keep(handle []byte, c webauthn.Credential) (broker.Passkey, error) {
	data, err := json.Marshal(stored{handle, c})
	return broker.Passkey{ID: c.ID, Data: data}, err
}

// refuse names what the library found, which has nothing secret in it: a
// challenge is known to whoever answers it.
func refuse(err error) error { return fmt.Errorf("%w: %w", ErrRefused, err) }
