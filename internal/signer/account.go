package signer

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/litentry/agentkeys"
)

// AccountID names an account to the signer, [a-z0-9][a-z0-9-]{0,62}. It is
// random and kept: a wallet follows from it, so it must never be an e-mail
// address or whatever else its owner may change.
type AccountID struct{ s string }

// NewAccountID makes a random one: 32 hexadecimal digits.
func NewAccountID() AccountID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes the program instead
	return AccountID{hex.EncodeToString(b[:])}
}

// ParseAccountID parses an account id. Errors wrap agentkeys.ErrName.
func ParseAccountID(s string) (AccountID, error) {
	ok := len(s) >= 1 && len(s) <= 63 && s[0] != '-'
	for _, c := range []byte(s) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return AccountID{}, fmt.Errorf("%w: an account id is 1 to 63 of a-z, 0-9 and -, not starting with -", agentkeys.ErrName)
	}
	return AccountID{s}, nil
}

// IsZero reports whether a is the invalid zero value.
func (a AccountID) IsZero() bool { return a.s == "" }

// String returns the id.
func (a AccountID) String() string { return a.s }

// Path says which wallet of an account: "" in its text form is the master's,
// "//label" a hard-derived agent's. The zero Path is neither, and refused: a
// forgotten agent must not turn into its master.
type Path struct {
	s  string
	ok bool
}

// MasterPath is the path of the account's own wallet.
func MasterPath() Path { return Path{"", true} }

// AgentPath is the path of an agent's wallet; the zero Path for the zero Agent.
func AgentPath(a agentkeys.Agent) Path {
	if a.IsZero() {
		return Path{}
	}
	return Path{"//" + a.String(), true}
}

// IsZero reports whether p is the invalid zero value.
func (p Path) IsZero() bool { return !p.ok }

// String returns the text form; "" for the master and for the zero Path.
func (p Path) String() string { return p.s }
