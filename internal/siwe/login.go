package siwe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
)

// Login is the broker's login with a wallet. It implements broker.WalletLogin.
type Login struct {
	origin string
	chains []Contracts
}

var _ broker.WalletLogin = (*Login)(nil)

// NewLogin makes the login of the broker at origin. Accounts that are contracts
// can log in on the given chains. Those that are keys can on these and on
// chain 1, Ethereum: a key is the same on all.
func NewLogin(origin string, chains ...Contracts) (*Login, error) {
	seen := map[uint64]bool{}
	for _, c := range chains {
		if seen[c.Chain()] {
			return nil, fmt.Errorf("two nodes are given for chain %d, and one of them would never be asked", c.Chain())
		}
		seen[c.Chain()] = true
	}
	l := &Login{origin, chains}
	probe := broker.WalletRequest{Login: "probe", Device: "probe", ChainID: 1, Nonce: "00000000", Expires: time.Unix(1, 0)}
	ask := l.ask(probe)
	ask.Address = Address{1}
	_, err := ask.Message()
	return l, err
}

func (l *Login) ask(r broker.WalletRequest) Ask {
	return Ask{
		Origin: l.origin, Address: Address(r.Address.Bytes()), ChainID: r.ChainID, Nonce: r.Nonce,
		Login: r.Login, Device: r.Device, Issued: r.Issued, Expires: r.Expires,
	}
}

// ParseAddress implements broker.WalletLogin.
func (l *Login) ParseAddress(s string) (agentkeys.Wallet, error) {
	a, err := ParseAddress(s)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	return agentkeys.WalletFrom(a), nil
}

// Message implements broker.WalletLogin.
func (l *Login) Message(r broker.WalletRequest) (string, error) {
	known := r.ChainID == 1
	for _, c := range l.chains {
		known = known || c.Chain() == r.ChainID
	}
	if !known {
		return "", fmt.Errorf("%w: chain %d is not one of this broker's: sign in on chain 1", ErrRefused, r.ChainID)
	}
	m, err := l.ask(r).Message()
	if err != nil {
		return "", err
	}
	return m.String(), nil
}

// Verify implements broker.WalletLogin.
func (l *Login) Verify(ctx context.Context, r broker.WalletRequest, message, signature string, now time.Time) (contract bool, err error) {
	if _, err := l.Message(r); err != nil {
		return false, err
	}
	contract, err = Verify(ctx, message, signature, l.ask(r), now, l.chains...)
	if errors.Is(err, ErrUnavailable) {
		return false, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return contract, err
}
