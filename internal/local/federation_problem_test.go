package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
)

// fedWorld is a master's machine whose agent coder is lent openai by tokens that
// vendor exchanges.
func fedWorld(t *testing.T) (m *world, vendor *service, x *catalog.Exchange) {
	t.Helper()
	_, m, _, _ = farWorld(t)
	vendor = newService(t)
	m.reach("openai", vendor, "/v1")
	m.opts.Remote.Identity = func(context.Context, string) (string, time.Time, error) {
		return "aGVhZA.Ym9keQ.c2ln", time.Now().Add(time.Minute), nil
	}
	x = &catalog.Exchange{URL: vendor.URL + "/oauth/token", Audience: "https://a.example", Parameters: map[string]string{
		"identity_provider_id": "i", "service_account_id": "s",
	}}
	m.federationOf("openai", x)
	m.lend("coder", "openai", book.Terms{Requests: &grant.Requests{Limit: 1000, Per: grant.Total}})
	return m, vendor, x
}

// getOpenAI has coder's program ask something of openai.
func (w *world) getOpenAI() (*http.Response, string) {
	w.t.Helper()
	s, err := w.StartSession(w.t.Context(), agentOf(w.t, "coder"), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", "http://"+w.addr.String()+"/openai/models", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-"+book.TokenMark+s.Token)
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(body)
}

// TestFederationProblems: an agent that is given no token is told whether to ask
// again and when, in none of the service's words; the owner is told those.
func TestFederationProblems(t *testing.T) {
	m, vendor, x := fedWorld(t)
	if st, err := m.Status(t.Context()); err != nil || st.Managed != 0 || st.Exchanged != 1 {
		t.Errorf("%+v %v", st, err)
	}
	identity := m.opts.Remote.Identity
	said := "what-the-vendor-said"
	for _, c := range []struct {
		name   string
		status int
		body   string
		header http.Header
		broken error // of the identity
		code   string
		detail string
		after  int // seconds at most; 0: not said
		reason string
	}{
		{"refused", 400, `{"error":"invalid_grant","error_description":"` + said + `"}`, nil, nil,
			"exchange-refused", "refuses to exchange", 0, "refused by the service: invalid_grant"},
		{"forbidden", 403, said, nil, nil, "exchange-refused", "refuses to exchange", 0, "refused by the service"},
		{"no token", 200, `{"x":"` + said + `"}`, nil, nil, "exchange-refused", "no token", 0, "the answer was no token"},
		{"elsewhere", 302, said, http.Header{"Location": {"https://" + said}}, nil, "exchange-refused", "no token", 0, "the answer was no token"},
		{"down", 503, said, nil, nil, "exchange-failed", "does not answer now", 1, "the service did not answer"},
		{"cut", -1, "", nil, nil, "exchange-failed", "does not answer now", 1, "the service did not answer"},
		{"busy", 429, `{"error":"slow_down"}`, http.Header{"Retry-After": {"90"}}, nil, "exchange-failed", "does not answer now", 90, "the service did not answer: slow_down"},
		{"no broker", 200, "", nil, fmt.Errorf("%w: %s", ErrAway, said), "exchange-failed", "broker", 1, "the broker did not answer"},
		{"logged out", 200, "", nil, fmt.Errorf("%w: %s", ErrLoggedOut, said), "exchange-refused", "logged out", 0, "this device is logged out"},
		{"no audience", 200, "", nil, fmt.Errorf("%w: %s", ErrAudience, said), "exchange-refused", "audience", 0, "no token for that audience"},
		{"a broken broker", 200, "", nil, fmt.Errorf("odd: %s", said), "exchange-failed", "no token", 1, "not done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			vendor.answer(c.status, c.body, c.header)
			m.opts.Remote.Identity = func(ctx context.Context, audience string) (string, time.Time, error) {
				if c.broken != nil {
					return "", time.Time{}, c.broken
				}
				return identity(ctx, audience)
			}
			m.federationOf("openai", x) // what came of the one before is forgotten
			asked := len(vendor.requests())
			for again := range 2 {
				res, body := m.getOpenAI()
				var p struct{ Code, Detail, Cure string }
				if err := json.Unmarshal([]byte(body), &p); err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != 503 || p.Code != c.code || !strings.Contains(p.Detail, c.detail) || !strings.Contains(p.Cure, "agentkeys federate") {
					t.Errorf("%d %s", res.StatusCode, body)
				}
				after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
				if after > c.after || (after == 0) != (c.after == 0) || again == 0 && after != c.after || (res.Header.Get("X-Should-Retry") == "false") != (c.after == 0) {
					t.Errorf("Retry-After: %q of %d", res.Header.Get("Retry-After"), c.after)
				}
				for _, secret := range []string{said, "invalid_grant", "slow_down", "Ym9keQ", vendor.URL} {
					if strings.Contains(body+fmt.Sprint(res.Header), secret) {
						t.Errorf("the agent is told %q: %s", secret, body)
					}
				}
			}
			if n := len(vendor.requests()) - asked; n > 1 && c.after > 1 {
				t.Errorf("the service was asked %d times", n)
			}
			if got := m.lastOf(opExchange); got.Decision != grant.Failed || got.Reason != c.reason || strings.Contains(fmt.Sprint(got), said) {
				t.Errorf("on record: %+v", got)
			}
			if got := m.lastOf(grant.OpSettle); got.Decision != grant.Failed || got.Reason != c.code || got.Cost != 0 {
				t.Errorf("settled: %+v", got)
			}
			if st, err := m.Federation(t.Context(), serviceOf(t, "openai")); err != nil || st.Last == nil || st.Last.Error == "" {
				t.Errorf("the owner is told %+v %v", st.Last, err)
			}
		})
	}
}

// lastOf is the last entry of an operation.
func (w *world) lastOf(op string) (last grant.Event) {
	w.t.Helper()
	err := w.TailAudit(w.t.Context(), 1000, false, func(_ int64, raw json.RawMessage) error {
		var e grant.Event
		if json.Unmarshal(raw, &e) == nil && e.Op == op {
			last = e
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return last
}

// TestFederationGivenUp: an owner who does not wait for a check keeps no agent
// from asking, and does not become what is known of the last exchange.
func TestFederationGivenUp(t *testing.T) {
	m, vendor, _ := fedWorld(t)
	svc := serviceOf(t, "openai")
	ctx, cancel := context.WithCancel(t.Context())
	identity := m.opts.Remote.Identity
	m.opts.Remote.Identity = func(ctx context.Context, audience string) (string, time.Time, error) {
		cancel()
		return identity(ctx, audience)
	}
	if _, err := m.CheckFederation(ctx, svc); err == nil {
		t.Fatal("nobody waited")
	}
	if st, err := m.Federation(t.Context(), svc); err != nil || st.Last != nil {
		t.Errorf("%+v %v", st.Last, err)
	}
	m.opts.Remote.Identity = identity
	vendor.answer(200, `{"access_token":"obviously-fake","expires_in":60}`, nil)
	if res, body := m.getOpenAI(); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if all := vendor.requests(); !slices.ContainsFunc(all, func(r *http.Request) bool { return r.URL.Path == "/v1/models" }) {
		t.Errorf("%d requests", len(all))
	}
}
