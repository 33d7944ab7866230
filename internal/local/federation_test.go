package local

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
)

// federationOf sets a host up by hand, as a file of its configuration would.
func (w *world) federationOf(name string, x *catalog.Exchange) {
	w.t.Helper()
	svc := serviceOf(w.t, name)
	if _, err := w.cat.set(svc, func(s *catalog.Settings) { s.Federation = x }, func(_, _ *catalog.Entry) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
	w.forgetService(svc)
}

// TestFederationPermits: a token takes the same permit as a key, on record,
// before anybody is asked for anything.
func TestFederationPermits(t *testing.T) {
	_, m, _, _ := farWorld(t)
	ctx, svc := t.Context(), serviceOf(t, "openai")
	vendor := newService(t)
	vendor.answer(200, `{"access_token":"obviously-fake","expires_in":60}`, nil)
	m.reach("openai", vendor, "/v1")
	var asked atomic.Int64
	m.opts.Remote.Identity = func(_ context.Context, audience string) (string, time.Time, error) {
		asked.Add(1)
		if audience != "https://a.example" {
			t.Errorf("for %q", audience)
		}
		return "aGVhZA.Ym9keQ.c2ln", time.Now().Add(time.Minute), nil
	}
	x := &catalog.Exchange{URL: vendor.URL + "/oauth/token", Audience: "https://a.example", Parameters: map[string]string{
		"identity_provider_id": "i", "service_account_id": "s",
	}}
	m.federationOf("openai", x)

	for _, a := range []grant.Action{grant.ActReveal, grant.ActLend, grant.ActVerify, grant.ActStore, grant.ActDelete} {
		p, err := m.decider.Own(ctx, a, m.wallet, svc, grant.Event{Time: time.Now(), Op: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if rec, _, err := (federated{m.Host}).Load(ctx, p); !errors.Is(err, vault.ErrPermit) || !rec.Secret.IsZero() {
			t.Errorf("with a permit to %s: %v", a, err)
		}
	}
	if rec, _, err := (federated{m.Host}).Load(ctx, grant.Permit{}); !errors.Is(err, vault.ErrPermit) || !rec.Secret.IsZero() {
		t.Errorf("with no permit: %v", err)
	}
	if asked.Load() != 0 {
		t.Error("an identity was asked for")
	}
	coder := agentOf(t, "coder")
	a, _ := m.Host.dir.Agent(coder)
	use := func() grant.Permit {
		t.Helper()
		g := &grant.Grant{
			ID: "g_x", Master: m.wallet, Wallet: a.Wallet, Agent: coder, Svc: svc, Created: time.Now().Add(-time.Minute), Expires: time.Now().Add(time.Hour),
		}
		e, err := m.cat.entry(svc)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.decider.Use(ctx, coder, a.Wallet, svc, g, e.Policy(), grant.Request{ID: "r", Method: "GET", Path: "/models", Time: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rec, hdr, err := (federated{m.Host}).Load(ctx, use())
	if err != nil || string(rec.Secret.Expose()) != "obviously-fake" || hdr != (envelope.Header{}) || rec.ExpiresAt.IsZero() || rec.Kind != "token" {
		t.Fatalf("%v %+v %v", rec, hdr, err)
	}
	// A failure is not repeated by every request, and is when it is set anew.
	vendor.answer(400, `{"error":"invalid_grant"}`, nil)
	before := len(vendor.requests())
	for range 5 {
		if _, _, err := (federated{m.Host}).Load(ctx, use()); !errors.Is(err, federate.ErrRefused) || strings.Contains(err.Error(), "Ym9keQ") {
			t.Errorf("refused: %v", err)
		}
	}
	if n := len(vendor.requests()) - before; n != 1 {
		t.Errorf("%d requests", n)
	}
	st, err := m.Federation(ctx, svc)
	if err != nil || st.Last == nil || !strings.Contains(st.Last.Error, "invalid_grant") || strings.Contains(st.Last.Error, "Ym9keQ") {
		t.Errorf("%+v %v", st.Last, err)
	}
	vendor.answer(200, `{"access_token":"obviously-fake","expires_in":60}`, nil)
	m.federationOf("openai", x)
	last := use()
	if _, _, err := (federated{m.Host}).Load(ctx, last); err != nil {
		t.Error(err)
	}
	// What cannot be recorded is not done.
	if err := m.audit.Close(); err != nil {
		t.Fatal(err)
	}
	n := asked.Load()
	if rec, _, err := (federated{m.Host}).Load(ctx, last); err == nil || !rec.Secret.IsZero() {
		t.Error("it is not on record")
	}
	if asked.Load() != n {
		t.Error("an identity was asked for without a record")
	}
	m.Host = nil
}

// TestFederationWithoutBroker: a machine that has lost its broker sends no key
// in the place of a token; off, the key is used again.
func TestFederationWithoutBroker(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.agent("coder")
	vendor := newService(t)
	w.reach("openai", vendor, "/v1")
	w.store("openai", "sk-obviously-fake-key")
	w.lend("coder", "openai", book.Terms{})
	w.federationOf("openai", &catalog.Exchange{Audience: "https://a.example", Parameters: map[string]string{
		"identity_provider_id": "i", "service_account_id": "s",
	}})
	s, err := w.StartSession(ctx, agentOf(t, "coder"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+w.addr.String()+"/openai/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk-"+book.TokenMark+s.Token)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if status, body := ask(); status != 503 || !strings.Contains(body, "exchange-refused") || len(vendor.requests()) != 0 {
		t.Errorf("%d %s, %d requests", status, body, len(vendor.requests()))
	}
	svc := serviceOf(t, "openai")
	if _, err := w.CheckFederation(ctx, svc); !errors.Is(err, ErrNoBroker) {
		t.Errorf("checked: %v", err)
	}
	st, err := w.Federation(ctx, svc)
	if err != nil || !st.Set || !st.StoredKey || st.Issuer != "" {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := w.SetFederation(ctx, svc, st.Exchange, false); !errors.Is(err, ErrNoBroker) {
		t.Errorf("set: %v", err)
	}
	if _, err := w.SetFederation(ctx, svc, nil, false); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(); status != 200 || vendor.requests()[0].Header.Get("Authorization") != "Bearer sk-obviously-fake-key" {
		t.Errorf("%d %s", status, body)
	}
}
