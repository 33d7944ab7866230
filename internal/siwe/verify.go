package siwe

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Statement is what a person reads before signing.
const Statement = "Sign in to AgentKeys on the device that asked. It will act for you until you log it out. If you did not ask for this, do not sign."

// Leeway is how far the clocks of a broker's replicas may differ: one may have
// issued what another verifies.
const Leeway = time.Minute

// devicePrefix begins the resource that names the device.
const devicePrefix = "urn:agentkeys:device:"

// Ask is what a broker asks a wallet to sign for one login of one device.
type Ask struct {
	Origin  string  // of the broker: https://host, with a port if it is not the usual one
	Address Address // who claims to be logging in
	ChainID uint64  // the chain on which the address, if a contract, is asked
	Nonce   string  // of this login alone: 8 letters and digits or more
	Login   string  // the login's id
	Device  string  // the thumbprint of the key that gets the session, RFC 7638
	Issued  time.Time
	Expires time.Time
}

// Message is the message that asks a. Times are cut to whole seconds.
func (a Ask) Message() (Message, error) {
	u, err := url.Parse(a.Origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != a.Origin {
		return Message{}, fmt.Errorf("%w: the broker's origin is not a scheme and a host", ErrMessage)
	}
	if a.Login == "" || a.Device == "" || a.ChainID == 0 || a.Address.IsZero() {
		return Message{}, fmt.Errorf("%w: it lacks an address, a chain, a login or a device", ErrMessage)
	}
	if !a.Expires.After(a.Issued) {
		return Message{}, fmt.Errorf("%w: it would expire before it is issued", ErrMessage)
	}
	m := Message{
		Domain: u.Host, Address: a.Address, Statement: Statement, URI: a.Origin, ChainID: a.ChainID, Nonce: a.Nonce,
		Issued: TimeOf(a.Issued), Expires: TimeOf(a.Expires), NotBefore: TimeOf(a.Issued),
		RequestID: a.Login, Resources: []string{devicePrefix + a.Device},
	}
	if _, err := m.Text(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// Contracts answers for the accounts of one chain. Errors of its own, as
// against a contract's refusal, make Verify return ErrUnavailable.
type Contracts interface {
	// Chain is the chain it asks, by EIP-155.
	Chain() uint64
	// Code is the code at an address, empty for one that is no contract.
	Code(ctx context.Context, at Address) ([]byte, error)
	// Call is what calling a contract with data returns, and changes nothing. A
	// call that the contract reverts returns nothing and no error.
	Call(ctx context.Context, to Address, data []byte) ([]byte, error)
}

// Verify checks that text is what want asks, that it is in force now, and that
// signature, in hexadecimal with 0x, is of it by want.Address: by the key of
// the account, EIP-191, or by its contract, ERC-1271, where one of chains is
// the chain of want. It returns which. now must be as close to the true time as
// the caller has. It says nothing about whether the nonce was used before.
func Verify(ctx context.Context, text, signature string, want Ask, now time.Time, chains ...Contracts) (contract bool, err error) {
	if err := inForce(text, want, now); err != nil {
		return false, err
	}
	sig, err := parseSignature(signature)
	if err != nil {
		return false, err
	}
	return verify(ctx, text, sig, want, chains)
}

// inForce checks all but the signature.
func inForce(text string, want Ask, now time.Time) error {
	m, err := Parse(text)
	if err != nil {
		return err
	}
	asked, err := want.Message()
	if err != nil {
		return err
	}
	if err := m.same(asked); err != nil {
		return err
	}
	if text != asked.String() {
		return fmt.Errorf("%w: its text is not the one that was given out", ErrRefused)
	}
	// A message is in force from its first second to before its last. The clock
	// that issued it may be another replica's, which goes before this one.
	if early := now.Add(Leeway); early.Before(m.NotBefore.at) || early.Before(m.Issued.at) {
		return fmt.Errorf("%w: it is not in force yet", ErrRefused)
	}
	if !now.Before(m.Expires.at) {
		return fmt.Errorf("%w: it has expired", ErrRefused)
	}
	return nil
}

// same says which field of m is not as asked.
func (m Message) same(asked Message) error {
	for _, f := range []struct {
		what string
		ok   bool
	}{
		{"the domain", m.Scheme == asked.Scheme && strings.EqualFold(m.Domain, asked.Domain)},
		{"the address", m.Address == asked.Address},
		{"the statement", m.Statement == asked.Statement},
		{"the URI", m.URI == asked.URI},
		{"the chain id", m.ChainID == asked.ChainID},
		{"the nonce", m.Nonce == asked.Nonce},
		{"the time of issue", m.Issued.at.Equal(asked.Issued.at)},
		{"the time of expiry", m.Expires.at.Equal(asked.Expires.at)},
		{"the time it is not to be used before", m.NotBefore.at.Equal(asked.NotBefore.at)},
		{"the request id", m.RequestID == asked.RequestID},
		{"the device among the resources", slices.Equal(m.Resources, asked.Resources)},
	} {
		if !f.ok {
			return fmt.Errorf("%w: %s is not what was asked for", ErrRefused, f.what)
		}
	}
	return nil
}
