package remote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/remote/remotetest"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/exchange"
)

var claude = agentkeys.Must(agentkeys.ParseService("anthropic"))

// ids are what the played service has given.
var ids = map[string]string{
	"federation_rule_id": "fdrl_example", "organization_id": "00000000-0000-4000-8000-000000000000", "service_account_id": "svac_example",
}

// played is a vendor: the API, and the endpoint that exchanges tokens for it.
type played struct {
	api *testsrv.Server
	ex  *exchange.Server
}

// play starts a vendor that trusts subject's tokens.
func play(t *testing.T, w *remotetest.World, subject string, life time.Duration, keys map[string]string) *played {
	t.Helper()
	ex, err := exchange.Start(exchange.Options{
		Shape: "anthropic", IssuerCA: w.PEM, Lifetime: life,
		Rule: exchange.Rule{Parameters: ids, Issuer: w.URL, Audience: brokertest.Federation, Subject: subject},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ex.Close() })
	api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Anthropic, Keys: keys, Keyring: ex.Keyring, Remember: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	return &played{api, ex}
}

// reach has a machine find the vendor where it is played.
func (p *played) reach(t *testing.T, m *machine) {
	t.Helper()
	base, ca := p.api.BaseURL(), string(p.api.CAPEM())+string(p.ex.CAPEM())
	base = strings.TrimSuffix(base, "/v1") // as the catalogue has it
	_, err := m.SetService(t.Context(), claude, local.ServiceChange{
		BaseURL: &base, CAPEM: &ca, Force: true,
		AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(p.api.Addr()), netip.MustParseAddrPort(p.ex.Addr())},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *played) exchange() *catalog.Exchange {
	return &catalog.Exchange{URL: p.ex.URL(), Audience: brokertest.Federation, Parameters: ids}
}

func subjectOf(w agentkeys.Wallet) string { return "agentkeys:wallet:" + w.String() }

// master is a logged-in machine with the agent coder.
func master(t *testing.T, w *remotetest.World) *machine {
	t.Helper()
	k := device.New()
	w.Login(w.Client(k), "ada@example.com")
	m := open(t, w, k)
	if _, err := m.CreateAgent(t.Context(), coder); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) lend(svc agentkeys.Service) {
	m.t.Helper()
	if _, err := m.Grant(m.t.Context(), coder, svc, book.Terms{Expires: time.Now().Add(time.Hour)}); err != nil {
		m.t.Fatal(err)
	}
}

// client sends requests to the played API as coder's program does, which
// believes to have a key, with headers that ask for betas.
func (m *machine) client(betas ...string) func() (int, string) {
	m.t.Helper()
	s, err := m.StartSession(m.t.Context(), coder, time.Hour)
	if err != nil {
		m.t.Fatal(err)
	}
	st, err := m.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	m.t.Cleanup(tr.CloseIdleConnections)
	return func() (int, string) {
		req, err := http.NewRequest("GET", "http://"+st.Address+"/anthropic/v1/models", nil)
		if err != nil {
			return 0, err.Error()
		}
		req.Header.Set("X-Api-Key", "sk-ant-api03-"+book.TokenMark+s.Token)
		req.Header.Set("Anthropic-Version", "2023-06-01")
		req.Header["Anthropic-Beta"] = betas
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
}

// served fails unless a request is.
func served(t *testing.T, ask func() (int, string)) {
	t.Helper()
	if status, body := ask(); status != 200 || !strings.Contains(body, "claude") {
		t.Fatalf("%d %s", status, body)
	}
}

// clean fails if any of needles is in a file of the machine: ".eyJ" is one of
// any token, between its header and its claims. No random text has it by chance.
func (m *machine) clean(needles ...string) {
	m.t.Helper()
	seen := 0
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the machine is at work, and writes its files anew
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		seen++
		for _, n := range needles {
			if bytes.Contains(data, []byte(n)) {
				m.t.Errorf("%s has a token", path)
			}
		}
		return nil
	})
	if err != nil || seen < 3 || len(needles) == 0 {
		m.t.Errorf("%d files were searched: %v", seen, err)
	}
}

// TestFederation: an agent uses a service for which there is no key anywhere.
func TestFederation(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	m := master(t, w)
	p := play(t, w, subjectOf(m.broker.Session().Wallet), 0, nil)
	p.reach(t, m)

	st, err := m.Federation(ctx, claude)
	if err != nil || st.Set || st.Issuer != w.URL || st.Subject != subjectOf(m.broker.Session().Wallet) || st.Keys != w.URL+brokerapi.PathKeys ||
		st.Audience != "" || len(st.Parameters) < 3 || len(st.Setup) == 0 || st.StoredKey {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := m.CheckFederation(ctx, claude); !errors.Is(err, local.ErrNoFederation) {
		t.Errorf("checked before it is set: %v", err)
	}
	if _, err := m.Grant(ctx, coder, claude, book.Terms{Expires: time.Now().Add(time.Hour)}); err == nil {
		t.Fatal("lent without a key or a token")
	}
	st, err = m.SetFederation(ctx, claude, p.exchange(), true)
	if err != nil || !st.Set || st.Audience != brokertest.Federation || st.Last == nil || st.Last.Verdict != catalog.Good || st.Last.Error != "" {
		t.Fatalf("%+v %v", st, err)
	}
	m.lend(claude)
	ask := m.client()
	for range 5 {
		served(t, ask)
	}
	// What an agent asks for by a header that the token needs as well is kept.
	served(t, m.client("tools-1", "tools-2"))
	if all := p.api.Requests(); all[len(all)-1].Header.Get("Anthropic-Beta") != "tools-1,tools-2,oauth-2025-04-20" {
		t.Errorf("%q", all[len(all)-1].Header["Anthropic-Beta"])
	}
	if n := len(p.ex.Asked()); n != 2 {
		t.Errorf("%d exchanges for a check and six requests", n)
	}
	for _, r := range p.api.Requests() {
		if r.Key == "" || r.Header.Get("X-Api-Key") != "" || len(r.Header.Values("Authorization")) != 1 || !strings.Contains(r.Header.Get("Anthropic-Beta"), "oauth-2025-04-20") {
			t.Errorf("%s %s with %v", r.Method, r.Path, r.Header)
		}
	}
	if res, err := m.CheckFederation(ctx, claude); err != nil || res.Verdict != catalog.Good {
		t.Errorf("%+v %v", res, err)
	}

	// Nothing of it is kept, and the log says what was done.
	if names := w.Cloud.Names(); len(names) != 0 {
		t.Errorf("stored: %q", names)
	}
	m.clean(append(p.ex.Given(), ".eyJ", "sk-ant-oat01-")...)
	var log []string
	err = m.TailAudit(ctx, 1000, false, func(_ int64, raw json.RawMessage) error {
		var e grant.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		if e.Op == "token.exchange" {
			log = append(log, fmt.Sprintf("%s %s %s", e.Agent, e.Decision, e.Svc))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{" allow anthropic", " done anthropic", "coder allow anthropic", "coder done anthropic", " allow anthropic", " done anthropic"}
	if !slices.Equal(log, want) {
		t.Errorf("%q", log)
	}

	if err := m.Revoke(ctx, coder, claude); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(); status != 403 || !strings.Contains(body, "no-grant") {
		t.Errorf("revoked: %d %s", status, body)
	}
	if n := len(p.ex.Asked()); n != 3 {
		t.Errorf("%d exchanges", n)
	}
}

// TestFederationRenews: tokens that last three seconds carry a load of many
// requests for many of them, and none fails.
func TestFederationRenews(t *testing.T) {
	w := remotetest.Start(t)
	m := master(t, w)
	p := play(t, w, subjectOf(m.broker.Session().Wallet), 3*time.Second, nil)
	p.reach(t, m)
	if _, err := m.SetFederation(t.Context(), claude, p.exchange(), false); err != nil {
		t.Fatal(err)
	}
	m.lend(claude)
	ask := m.client()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	const tokens = 5
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil && len(p.ex.Given()) < tokens {
				if status, body := ask(); status != 200 {
					t.Errorf("%d %s", status, body)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	used := map[string]int{}
	for _, r := range p.api.Requests() {
		used[r.Key]++
	}
	if len(p.ex.Given()) < tokens || used[""] > 0 || len(used) < tokens-1 {
		t.Errorf("%d tokens were given; requests: %v", len(p.ex.Given()), used)
	}
	m.clean(p.ex.Given()...)
}

// TestFederationOutage: while the vendor gives no tokens the old one is used to
// its end, and no longer; after that requests fail until it gives some again.
func TestFederationOutage(t *testing.T) {
	w := remotetest.Start(t)
	m := master(t, w)
	p := play(t, w, subjectOf(m.broker.Session().Wallet), 3*time.Second, nil)
	p.reach(t, m)
	if _, err := m.SetFederation(t.Context(), claude, p.exchange(), false); err != nil {
		t.Fatal(err)
	}
	m.lend(claude)
	ask := m.client()
	served(t, ask)
	outage := func(why string, begin, end func()) {
		t.Helper()
		within(t, "a token is renewed", func() bool { served(t, ask); return len(p.ex.Given()) > 1 })
		begin()
		served(t, ask)
		within(t, "it fails", func() bool {
			status, body := ask()
			if status != 200 && (status != 503 || !strings.Contains(body, `"exchange-`+why+`"`)) {
				t.Fatalf("%d %s", status, body)
			}
			return status != 200
		})
		end()
		within(t, "it works again", func() bool { status, _ := ask(); return status == 200 })
	}
	outage("failed", func() { p.ex.Down(503) }, func() { p.ex.Down(0) })
	st, err := m.Federation(t.Context(), claude)
	if err != nil || st.Last == nil || st.Last.Error != "" || st.Last.Expires.IsZero() {
		t.Errorf("%+v %v", st.Last, err)
	}
	// The same if somebody turns the rule off there.
	rule := exchange.Rule{Parameters: ids, Issuer: w.URL, Audience: brokertest.Federation, Subject: subjectOf(m.broker.Session().Wallet)}
	off := rule
	off.Off = true
	outage("refused", func() { p.ex.SetRule(off) }, func() { p.ex.SetRule(rule) })
	for _, r := range p.api.Requests() {
		if r.Key == "" {
			t.Fatal("the API was asked with a token that had ended")
		}
	}
}

// TestFederationRefused: what does not fit is refused with the reason, and
// nothing is changed by a set-up that does not work.
func TestFederationRefused(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	m := master(t, w)
	subject := subjectOf(m.broker.Session().Wallet)
	p := play(t, w, subject, 0, nil)
	p.reach(t, m)
	rule := exchange.Rule{Parameters: ids, Issuer: w.URL, Audience: brokertest.Federation, Subject: subject}
	with := func(f func(*exchange.Rule)) func() {
		r := rule
		f(&r)
		return func() { p.ex.SetRule(r) }
	}
	other := func(f func(*catalog.Exchange)) *catalog.Exchange {
		x := p.exchange()
		f(x)
		return x
	}
	for name, c := range map[string]struct {
		rule func()
		set  *catalog.Exchange
		is   error
		why  string // at the vendor; "": it was not asked
	}{
		"another subject":  {with(func(r *exchange.Rule) { r.Subject = subjectOf(agentkeys.Wallet{}) }), p.exchange(), federate.ErrRefused, "another subject"},
		"another audience": {with(func(r *exchange.Rule) { r.Audience = "https://another.test" }), p.exchange(), federate.ErrRefused, "another audience"},
		"the rule is off":  {with(func(r *exchange.Rule) { r.Off = true }), p.exchange(), federate.ErrRefused, "the rule is off"},
		"another rule": {with(func(r *exchange.Rule) {}),
			other(func(x *catalog.Exchange) {
				x.Parameters = map[string]string{"federation_rule_id": "fdrl_other", "organization_id": "o", "service_account_id": "svac_x"}
			}), federate.ErrRefused, "another "},
		"an audience that the broker does not have": {with(func(r *exchange.Rule) {}),
			other(func(x *catalog.Exchange) { x.Audience = "https://unheard.test" }), local.ErrAudience, ""},
		"the store's audience": {with(func(r *exchange.Rule) {}), other(func(x *catalog.Exchange) { x.Audience = brokertest.STS }), local.ErrAudience, ""},
		"the signer's audience": {with(func(r *exchange.Rule) {}),
			other(func(x *catalog.Exchange) { x.Audience = brokertest.SignerAudience }), local.ErrAudience, ""},
		"no audience":    {with(func(r *exchange.Rule) {}), other(func(x *catalog.Exchange) { x.Audience = "" }), federate.ErrSetup, ""},
		"no ids":         {with(func(r *exchange.Rule) {}), other(func(x *catalog.Exchange) { x.Parameters = nil }), federate.ErrSetup, ""},
		"nobody there":   {with(func(r *exchange.Rule) {}), other(func(x *catalog.Exchange) { x.URL = "https://127.0.0.1:1/v1/oauth/token" }), federate.ErrTemporary, ""},
		"no token there": {with(func(r *exchange.Rule) {}), other(func(x *catalog.Exchange) { x.URL = p.api.URL() + "/v1/models" }), federate.ErrRefused, ""},
	} {
		c.rule()
		before := len(p.ex.Asked())
		_, err := m.SetFederation(ctx, claude, c.set, true)
		if !errors.Is(err, c.is) || strings.Contains(fmt.Sprint(err), ".eyJ") {
			t.Errorf("%s: %v", name, err)
		}
		asked := p.ex.Asked()[before:]
		if (c.why == "") != (len(asked) == 0) || len(asked) > 0 && !strings.HasPrefix(asked[0].Why, c.why) {
			t.Errorf("%s: %+v", name, asked)
		}
		if st, err := m.Federation(ctx, claude); err != nil || st.Set {
			t.Fatalf("%s: it was set all the same: %v", name, err)
		}
	}
	m.clean(".eyJ")
	if _, err := m.SetFederation(ctx, router, p.exchange(), false); !errors.Is(err, federate.ErrSetup) {
		t.Errorf("a service that exchanges none: %v", err)
	}
	if _, err := m.SetFederation(ctx, claude, nil, false); !errors.Is(err, local.ErrNoFederation) {
		t.Errorf("off before it is on: %v", err)
	}
}

// TestFederationClock: a vendor whose clock is far from the issuer's refuses.
func TestFederationClock(t *testing.T) {
	w := remotetest.Start(t)
	m := master(t, w)
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		ex, err := exchange.Start(exchange.Options{
			Shape: "anthropic", IssuerCA: w.PEM, Now: func() time.Time { return time.Now().Add(ahead) },
			Rule: exchange.Rule{Parameters: ids, Issuer: w.URL, Audience: brokertest.Federation, Subject: subjectOf(m.broker.Session().Wallet)},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ex.Close() })
		api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Anthropic, Keyring: ex.Keyring})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Close() })
		p := &played{api, ex}
		p.reach(t, m)
		if _, err := m.SetFederation(t.Context(), claude, p.exchange(), true); !errors.Is(err, federate.ErrRefused) {
			t.Errorf("%s ahead: %v", ahead, err)
		}
		if all := ex.Asked(); len(all) != 1 || all[0].Why != map[bool]string{true: "it has ended", false: "it is not good yet"}[ahead > 0] {
			t.Errorf("%s ahead: %+v", ahead, all)
		}
	}
}

// TestFederationSwitched: a stored key is never sent where a token belongs, nor
// a token where a key does, though requests go on while it is switched on and
// off; agents have copies of the key only while it is used.
func TestFederationSwitched(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	m := master(t, w)
	stored := "sk-ant-api03-" + strings.Repeat("x", 93) + "AA"
	p := play(t, w, subjectOf(m.broker.Session().Wallet), 0, map[string]string{"stored": stored})
	p.reach(t, m)
	if _, err := m.Store(ctx, claude, secret.FromString(stored), local.StoreOptions{}); err != nil {
		t.Fatal(err)
	}
	m.lend(claude)
	ask := m.client()
	served(t, ask)

	stop, done := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for stop.Err() == nil {
				if status, body := ask(); status != 200 && !strings.Contains(body, "not-lent") {
					t.Errorf("%d %s", status, body)
					return
				}
			}
		})
	}
	for range 6 {
		st, err := m.SetFederation(ctx, claude, p.exchange(), false)
		if err != nil || !st.StoredKey {
			t.Fatalf("%+v %v", st, err)
		}
		if n := len(w.Cloud.Names()); n != 1 {
			t.Errorf("%d objects while no key is used", n)
		}
		within(t, "served by a token", func() bool { status, _ := ask(); return status == 200 })
		// A key that is stored meanwhile is tried as a key, and lent to nobody.
		if res, err := m.Store(ctx, claude, secret.FromString(stored), local.StoreOptions{}); err != nil || res.Verdict != catalog.Good {
			t.Errorf("%+v %v", res, err)
		}
		if n := len(w.Cloud.Names()); n != 1 {
			t.Errorf("%d objects after a store", n)
		}
		if _, err := m.SetFederation(ctx, claude, nil, false); err != nil {
			t.Fatal(err)
		}
		if n := len(w.Cloud.Names()); n != 2 {
			t.Errorf("%d objects while the key is used", n)
		}
		within(t, "served by the key", func() bool { status, _ := ask(); return status == 200 })
	}
	done()
	wg.Wait()
	by := map[bool]int{}
	for _, r := range p.api.Requests() {
		asKey, asToken := r.Header.Get("X-Api-Key") != "", r.Header.Get("Authorization") != ""
		if asKey == asToken || asKey != (r.Key == "stored") {
			t.Fatalf("%s as a key: %t, as a token: %t", r.Key, asKey, asToken)
		}
		by[asKey]++
	}
	if by[true] == 0 || by[false] == 0 {
		t.Errorf("%v", by)
	}
	// What takes all settings back takes this one as well.
	if _, err := m.SetFederation(ctx, claude, p.exchange(), false); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveService(ctx, claude, true); err != nil {
		t.Fatal(err)
	}
	if st, err := m.Federation(ctx, claude); err != nil || st.Set || len(w.Cloud.Names()) != 2 {
		t.Errorf("%+v %v, %q", st, err, w.Cloud.Names())
	}
}

// TestFederationOfAgent: an agent's own machine exchanges tokens of the agent's
// wallet, as it is set there.
func TestFederationOfAgent(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	m := master(t, w)
	a := m.Agents()[0]
	p := play(t, w, subjectOf(a.Wallet), 0, nil)
	p.reach(t, m)
	if _, err := m.SetFederation(ctx, claude, p.exchange(), false); err != nil {
		t.Fatal(err)
	}
	m.lend(claude)
	// The rule is for the agent, and not for its master.
	if _, err := m.CheckFederation(ctx, claude); !errors.Is(err, federate.ErrRefused) {
		t.Errorf("the master: %v", err)
	}

	e, err := m.Enrolment(ctx, coder)
	if err != nil {
		t.Fatal(err)
	}
	box := device.New()
	if _, err := w.Client(box).Enrol(ctx, brokerapi.EnrolRequest{Code: e.Code, Device: "sandbox"}); err != nil {
		t.Fatal(err)
	}
	agent := open(t, w, box)
	p.reach(t, agent)
	ask := agent.client()
	if status, body := ask(); status != 503 || !strings.Contains(body, "not-lent") {
		t.Errorf("before it is set there: %d %s", status, body)
	}
	if st, err := agent.SetFederation(ctx, claude, p.exchange(), true); err != nil || st.Subject != subjectOf(a.Wallet) {
		t.Fatalf("%+v %v", st, err)
	}
	served(t, ask)
	if err := m.Revoke(ctx, coder, claude); err != nil {
		t.Fatal(err)
	}
	within(t, "the grant is gone there", func() bool { status, _ := ask(); return status == 403 })
	agent.clean(append(p.ex.Given(), ".eyJ")...)
}
