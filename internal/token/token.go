// Package token owns the signed tokens of the broker: what each says, who may
// verify it as what, and the keys that sign. It is pure: no clock, no I/O, no
// network; time is an argument, keys are values. JWS is go-jose's.
//
// Laws:
//   - A token has one purpose. Its typ says which, and a verifier of one
//     purpose refuses every other.
//   - The algorithm belongs to the key, never to the token; a token names its
//     key by thumbprint and brings none.
//   - Nothing that says two things is accepted: duplicate, unknown or
//     differently cased members, second encodings of the same bytes.
//   - A key signs only while it is published, and stays published for as long
//     as a token of its may live.
//   - A refusal never quotes the token.
package token

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
)

// Lives of tokens, and what clocks may differ by.
const (
	MasterLife    = 5 * time.Hour   // longest session of a master
	AgentLife     = time.Hour       // longest session of an agent
	AccessLife    = 5 * time.Minute // longest signer token
	MinIdentity   = time.Minute     // shortest web-identity token
	MaxIdentity   = time.Hour       // longest web-identity token
	Leeway        = 30 * time.Second
	ProofWindow   = time.Minute // a proof's iat, before and after now
	maxToken      = 16 << 10    // bytes
	maxIdentifier = 128         // bytes of a jti
	minIdentifier = 16          // 96 bits in base64url
	maxAudience   = 512         // bytes
)

// ErrToken is wrapped by every refusal to verify a token, with the reason.
var ErrToken = errors.New("invalid token")

// ErrIssue is wrapped by every refusal to sign one.
var ErrIssue = errors.New("token not issued")

// Role says whose session it is. The zero Role is nobody's.
type Role string

// The roles.
const (
	Master Role = "master"
	Agent  Role = "agent"
)

// Session is what a session token (RFC 9068) says. Times have whole seconds.
type Session struct {
	ID      string // jti, at least 16 of A-Z a-z 0-9 _ -; see NewID
	Account string // sub: the account id
	Wallet  agentkeys.Wallet
	Role    Role
	Parent  agentkeys.Wallet // agents only: the master's wallet
	Agent   agentkeys.Agent  // agents only
	Device  Thumbprint       // cnf.jkt: the key that must prove itself
	Issued  time.Time        // when issuing: zero, or the now that is given with it
	Expires time.Time        // the first moment at which the token is dead
}

// Access is what a signer token says. Wallet is the one whose keys may be asked
// for: the holder's own, or, for a master, that of its Agent; then Parent is
// the master's.
type Access struct {
	ID       string
	Account  string
	Wallet   agentkeys.Wallet
	Role     Role
	Parent   agentkeys.Wallet
	Agent    agentkeys.Agent
	Device   Thumbprint
	Audience string
	Issued   time.Time
	Expires  time.Time
}

// Identity is what a web-identity token says.
type Identity struct {
	ID       string
	Wallet   agentkeys.Wallet
	Audience string
	Issued   time.Time
	Expires  time.Time
}

// NewID makes a random jti of 128 bits.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// check returns what makes s say nothing or two things.
func (s Session) check() error {
	if err := checkParties(s.ID, s.Account, s.Wallet, s.Device); err != nil {
		return err
	}
	agent := !s.Parent.IsZero() && !s.Agent.IsZero()
	none := s.Parent.IsZero() && s.Agent.IsZero()
	longest := MasterLife
	switch {
	case s.Role == Master && !none:
		return errors.New("a master has neither parent nor agent label")
	case s.Role == Agent && !agent:
		return errors.New("an agent has a parent and a label")
	case s.Role == Agent:
		longest = AgentLife
	case s.Role != Master:
		return errors.New("unknown role")
	}
	if s.Parent == s.Wallet {
		return errors.New("a wallet is not its own parent")
	}
	return checkLife(s.Issued, s.Expires, time.Second, longest)
}

func (a Access) check() error {
	if err := checkParties(a.ID, a.Account, a.Wallet, a.Device); err != nil {
		return err
	}
	switch {
	case a.Role != Master && a.Role != Agent:
		return errors.New("unknown role")
	case a.Parent.IsZero() != a.Agent.IsZero():
		return errors.New("an agent's wallet has a parent and a label")
	case a.Role == Agent && a.Agent.IsZero():
		return errors.New("an agent has a parent and a label")
	case a.Parent == a.Wallet:
		return errors.New("a wallet is not its own parent")
	}
	if err := checkAudience(a.Audience); err != nil {
		return err
	}
	return checkLife(a.Issued, a.Expires, time.Second, AccessLife)
}

func (id Identity) check() error {
	if !isIdentifier(id.ID) {
		return errIdentifier
	}
	if id.Wallet.IsZero() {
		return errors.New("no wallet")
	}
	if err := checkAudience(id.Audience); err != nil {
		return err
	}
	return checkLife(id.Issued, id.Expires, MinIdentity, MaxIdentity)
}

var errIdentifier = fmt.Errorf("the jti is %d to %d of A-Z a-z 0-9 _ -", minIdentifier, maxIdentifier)

func checkParties(id, account string, w agentkeys.Wallet, device Thumbprint) error {
	switch {
	case !isIdentifier(id):
		return errIdentifier
	case !isAccount(account):
		return errors.New("malformed account id")
	case w.IsZero():
		return errors.New("no wallet")
	case device.IsZero():
		return errors.New("no device key")
	}
	return nil
}

func checkLife(issued, expires time.Time, least, most time.Duration) error {
	if issued.Unix() <= 0 || expires.Unix() <= 0 {
		return errors.New("no time of issue or expiry")
	}
	if life := expires.Sub(issued); life < least || life > most {
		return fmt.Errorf("a life from %v to %v is allowed", least, most)
	}
	return nil
}

func checkAudience(s string) error {
	if len(s) == 0 || len(s) > maxAudience {
		return fmt.Errorf("an audience is 1 to %d bytes", maxAudience)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return errors.New("an audience is printable ASCII without spaces, quotes or backslashes")
		}
	}
	return nil
}

func isIdentifier(s string) bool {
	return len(s) >= minIdentifier && len(s) <= maxIdentifier && isBase64URL(s)
}

func isBase64URL(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// isAccount is the form of signer.AccountID, which holds keys and so is not
// imported here.
func isAccount(s string) bool {
	_, err := agentkeys.ParseAgent(s) // the same alphabet and length
	return err == nil
}
