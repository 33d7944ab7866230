package signersrv

import (
	"net/http"
	"slices"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// peer is the thumbprint of the key of the certificate that a request came
// with. That whoever sent it has the key, the handshake has shown.
func peer(r *http.Request) (token.Thumbprint, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return token.Thumbprint{}, forbidden("the connection has no client certificate")
	}
	p, err := token.ThumbprintOf(r.TLS.PeerCertificates[0].PublicKey)
	if err != nil || p.IsZero() {
		return token.Thumbprint{}, forbidden("the key of the client certificate is not a P-256 key")
	}
	return p, nil
}

func (s *Server) isBroker(p token.Thumbprint) bool {
	return !p.IsZero() && slices.Contains(s.o.Brokers, p)
}

// caller is a device with a right to the keys of exactly one wallet. Only
// admit makes one.
type caller struct {
	wallet agentkeys.Wallet // whose keys
	actor  agentkeys.Wallet // who asks: the wallet itself, or its master
	parent agentkeys.Wallet // of the actor, if that is an agent
	agent  agentkeys.Agent  // whose wallet it is; zero: the master's
	token  string           // its id, for the log
}

// admit returns whom a request comes from. The token says it, and nothing that
// it says is believed alone: the certificate must have the key that the token
// is bound to, and the wallets it names must be those that are derived for the
// account it names, so that one with inconsistent claims opens nothing.
func (s *Server) admit(r *http.Request) (caller, error) {
	p, err := peer(r)
	if err != nil {
		return caller{}, err
	}
	if s.isBroker(p) {
		// It could not read what the key opens, and has no need to learn it.
		return caller{}, forbidden("a broker's certificate gets no keys")
	}
	if wait, ok := s.devices.Allow(p.String()); !ok {
		return caller{}, limited(wait)
	}
	raw, ok := bearer(r)
	if !ok {
		return caller{}, unauthenticated("there is no bearer token")
	}
	if err := s.ready(r.Context()); err != nil {
		s.o.Log.Error("the issuer's keys are not at hand", "err", err)
		return caller{}, unavailable("the issuer's keys")
	}
	a, err := s.verifier.Access(raw, s.o.Now())
	if err != nil {
		s.o.Log.Info("token refused", "request", webserve.RequestID(r.Context()), "err", err) // it quotes nothing
		return caller{}, unauthenticated("the token is not valid here: it has expired, or is of another issuer, audience or purpose")
	}
	if a.Device.IsZero() || a.Device != p {
		return caller{}, unauthenticated("the token is bound to another device's key")
	}
	account, err := signer.ParseAccountID(a.Account)
	if err != nil {
		return caller{}, inconsistent()
	}
	master, err := s.o.Core.Wallet(account, signer.MasterPath())
	if err != nil {
		return caller{}, s.failed(r, err)
	}
	if a.Agent.IsZero() {
		if a.Role != token.Master || !a.Parent.IsZero() || a.Wallet.IsZero() || a.Wallet != master {
			return caller{}, inconsistent()
		}
		return caller{wallet: master, actor: master, token: a.ID}, nil
	}
	own, err := s.o.Core.Wallet(account, signer.AgentPath(a.Agent))
	if err != nil {
		return caller{}, s.failed(r, err)
	}
	if a.Wallet.IsZero() || a.Wallet != own || a.Parent != master {
		return caller{}, inconsistent()
	}
	switch a.Role {
	case token.Agent:
		return caller{wallet: own, actor: own, parent: master, agent: a.Agent, token: a.ID}, nil
	case token.Master:
		return caller{wallet: own, actor: master, agent: a.Agent, token: a.ID}, nil
	}
	return caller{}, inconsistent()
}

// bearer is the token of RFC 6750 section 2.1, of a header that stands once.
func bearer(r *http.Request) (string, bool) {
	h := r.Header.Values("Authorization")
	if len(h) != 1 {
		return "", false
	}
	scheme, raw, ok := strings.Cut(h[0], " ")
	return raw, ok && strings.EqualFold(scheme, "Bearer") && raw != ""
}

func inconsistent() error { return forbidden("the claims of the token do not belong together") }

func forbidden(detail string) error {
	return &brokerapi.Problem{Code: brokerapi.CodeForbidden, Status: http.StatusForbidden, Title: "Not allowed", Detail: detail}
}

func unauthenticated(detail string) error {
	return &brokerapi.Problem{
		Code: brokerapi.CodeToken, Status: http.StatusUnauthorized, Title: "A signer token is needed", Detail: detail,
		Fix: "ask the broker for one, with the device's session and the signer's audience",
	}
}

func unavailable(part string) error {
	return &brokerapi.Problem{
		Code: brokerapi.CodeUnavailable, Status: http.StatusServiceUnavailable, Title: "Not available",
		Detail: part + " cannot be reached or used", Fix: "try again later; the operator finds the cause in the signer's log",
	}
}
