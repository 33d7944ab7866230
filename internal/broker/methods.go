package broker

import (
	"context"
	"errors"
	"time"

	"github.com/litentry/agentkeys"
)

// ErrUnavailable: a part that is needed does not answer. An implementation of
// the interfaces here wraps it where trying again later may help, as when an
// RPC node or a provider does not answer. Each other error refuses what the
// person brought, and says no more to anybody than that it was refused.
var ErrUnavailable = errors.New("a part that is needed does not answer")

// Wallets derives wallets: the signer service. The same question has the same
// answer for ever, and asking leaves nothing behind. Account is in the text
// form of signer.AccountID.
type Wallets interface {
	// Master returns the account's own wallet.
	Master(ctx context.Context, account string) (agentkeys.Wallet, error)
	// Agent returns the wallet of the account's agent of that label.
	Agent(ctx context.Context, account string, label agentkeys.Agent) (agentkeys.Wallet, error)
}

// Mailer sends one mail of plain text. A nil error means that a mail server
// has taken it over. The text carries a login's token: it must not be logged.
type Mailer interface {
	Send(ctx context.Context, to, subject, text string) error
}

// WalletRequest is what an EIP-4361 message asks the owner of a wallet to
// sign, besides the domain, URI and statement, which are the broker's own and
// the same for all.
type WalletRequest struct {
	Login   string           `json:"login"`  // its id
	Device  string           `json:"device"` // thumbprint of the key that will get the session
	Address agentkeys.Wallet `json:"address"`
	ChainID uint64           `json:"chain_id"`
	Nonce   string           `json:"nonce"` // letters and digits, at least 128 bits
	Issued  time.Time        `json:"issued"`
	Expires time.Time        `json:"expires"`
}

// WalletLogin is Sign-In with Ethereum, EIP-4361 (internal/siwe).
type WalletLogin interface {
	// ParseAddress parses what a person types: EIP-55 or all lowercase.
	ParseAddress(s string) (agentkeys.Wallet, error)
	// Message returns the text to sign. An unknown chain is an error.
	Message(r WalletRequest) (string, error)
	// Verify returns no error if message is one for r, each field checked and
	// now within its times, and signature, 0x and hex, is its owner's: of the
	// key of the address or, by ERC-1271, of a contract there. contract says
	// which: one address may have another contract, of another owner, on each
	// chain.
	Verify(ctx context.Context, r WalletRequest, message, signature string, now time.Time) (contract bool, err error)
}

// ProviderLogin is a relying party of one OpenID provider, Google in the first
// place (internal/oidclogin). Its redirect URI is the broker's origin and
// brokerapi.PathGoogleReturn.
type ProviderLogin interface {
	// AuthURL returns where to send the browser: code flow, PKCE S256 of
	// verifier.
	AuthURL(ctx context.Context, state, nonce, verifier string) (string, error)
	// Exchange redeems code and verifies the ID token: its signature, issuer,
	// audience, times and nonce. iss is the parameter of RFC 9207 as it came,
	// "" if none. Issuer and subject name the person; an e-mail address never
	// does.
	Exchange(ctx context.Context, code, verifier, nonce, iss string) (issuer, subject string, err error)
}

// Passkey is a public-key credential as the broker keeps it.
type Passkey struct {
	ID   []byte // the credential id
	Data []byte // all that is needed to verify it, the user handle and the counter too; for PasskeyLogin alone
}

// PasskeyLogin is WebAuthn with user verification and discoverable credentials
// (internal/passkey). Options and answers are the JSON that a browser takes and
// gives; a session is what must be remembered between the two, up to 16 KiB,
// and is used once.
type PasskeyLogin interface {
	// BeginRegister begins to make a credential for a new user of that name,
	// under a random user handle.
	BeginRegister(name string, now time.Time) (options, session []byte, err error)
	// FinishRegister verifies the answer and returns the new credential.
	FinishRegister(session, answer []byte, now time.Time) (Passkey, error)
	// BeginLogin begins to ask for any credential of this broker.
	BeginLogin(now time.Time) (options, session []byte, err error)
	// FinishLogin verifies the answer against the credential that find returns
	// for its id, with an error if there is none, and returns it as it must be
	// kept from now on. A counter that does not grow is an error.
	FinishLogin(session, answer []byte, find func(id []byte) (Passkey, error), now time.Time) (Passkey, error)
}
