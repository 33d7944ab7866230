// Package signerapi is the HTTP API of the signer as both sides of it see it:
// paths, bodies, codes of problems. It depends on the nouns only.
//
// Both sides show a certificate (TLS 1.3, self-signed will do: what counts is
// the RFC 7638 thumbprint of its P-256 key, whose possession the handshake
// proves). A body is strict JSON, as is the broker's; problems are the
// broker's too.
package signerapi

import "github.com/litentry/agentkeys"

// Paths.
const (
	PathWallet = "/v1/wallet" // POST WalletRequest: WalletAnswer, for a broker's certificate
	PathKEK    = "/v1/kek"    // POST KEKRequest: KEKAnswer, for a device's, with its signer token
	PathEpoch  = "/v1/epoch"  // GET: EpochAnswer, for a device's, with its signer token
)

// Codes of problems beside those of brokerapi.
const (
	CodeEpoch = "unknown-epoch" // there is no sealing root of that epoch
)

// WalletRequest asks for the wallet of an account, or of one of its agents.
type WalletRequest struct {
	Account string           `json:"account"`         // as signer.ParseAccountID wants it
	Agent   *agentkeys.Agent `json:"agent,omitempty"` // absent: the master's; null and "" are refused
}

// WalletAnswer is the wallet, the same for ever.
type WalletAnswer struct {
	Wallet agentkeys.Wallet `json:"wallet"`
}

// KEKRequest asks for the key-encryption key of one credential.
type KEKRequest struct {
	Wallet  agentkeys.Wallet  `json:"wallet"`
	Service agentkeys.Service `json:"service"`
	Epoch   uint32            `json:"epoch"`
}

// KEKAnswer is a key and the current epoch. The two sides write and read it by
// hand, and clear what they hold:
//
//	{"kek":"<32 bytes, standard base64>","epoch":1}
type KEKAnswer struct {
	KEK   []byte `json:"kek"`
	Epoch uint32 `json:"epoch"`
}

// EpochAnswer is the epoch that new envelopes are sealed under.
type EpochAnswer struct {
	Epoch uint32 `json:"epoch"`
}
