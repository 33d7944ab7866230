package broker_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
)

// BenchmarkMint is what a token costs, its record in memory, once the caller is
// known.
func BenchmarkMint(b *testing.B) {
	w := brokertest.NewWorld(b)
	br, _ := w.Replica(b, brokertest.SQLite(b, w))
	key := brokertest.NewKey(b)
	prove := func(method, path, session string) broker.Request {
		p, err := token.NewProof(key, method, brokertest.Origin+path, session, w.Clock.Now())
		if err != nil {
			b.Fatal(err)
		}
		return broker.Request{Method: method, Path: path, Proof: p, Token: session}
	}
	k, err := br.ProveKey(b.Context(), prove("POST", "/", ""))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := br.BeginLogin(b.Context(), k, "", brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"}); err != nil {
		b.Fatal(err)
	}
	id, secret := w.Mail.Link(b)
	h, err := br.ProveMail(b.Context(), id, secret)
	if err != nil {
		b.Fatal(err)
	}
	s, err := br.EndLogin(b.Context(), k, id, h.Code, "")
	if err != nil {
		b.Fatal(err)
	}
	c, err := br.Authenticate(b.Context(), prove("GET", "/", s.Token))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := br.Mint(b.Context(), c, broker.MintRequest{Audience: brokertest.STS}); err != nil {
			b.Fatal(err)
		}
	}
}
