package crash_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// cost is what every request costs.
const cost = grant.USD / 10_000

// seller is a service that charges, and notices when it is shown a key that
// should have been replaced.
type seller struct {
	*httptest.Server
	mu     sync.Mutex
	stale  []string
	opened map[string]string // what was shown at /open/…
	served atomic.Int64
}

func newSeller(t *testing.T) *seller {
	s := &seller{opened: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *seller) serve(w http.ResponseWriter, r *http.Request) {
	s.served.Add(1)
	if strings.HasPrefix(r.URL.Path, "/open/") {
		s.mu.Lock()
		s.opened[r.URL.Path] = r.Header.Get("Authorization")
		s.mu.Unlock()
		return
	}
	var shown, least int
	_, err1 := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer sk-or-v1-%08x", &shown)
	_, err2 := fmt.Sscanf(r.URL.RawQuery, "least=%d", &least)
	if err := errors.Join(err1, err2); err != nil || shown < least {
		s.mu.Lock()
		s.stale = append(s.stale, fmt.Sprintf("%s?%s with key %d: %v", r.URL.Path, r.URL.RawQuery, shown, err))
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"model":"m","choices":[],"usage":{"cost":%.9f}}`, float64(cost)/float64(grant.USD))
}

// routerKey is the n-th key for the seller.
func routerKey(n int) string { return fmt.Sprintf("sk-or-v1-%08x%056x", n, n) }

// plainKey is the n-th key of another service.
func plainKey(service string, n int) string {
	return fmt.Sprintf("key-%d-of-%s-%s", n, service, strings.Repeat("x", 24))
}

// world is a home under ten writers.
type world struct {
	t      *testing.T
	h      *rig.Home
	seller *seller
	client *control.Client
	addr   string

	writers []writer
	least   atomic.Int64 // the last key for the seller that is acknowledged
	stopped atomic.Bool  // the log has, for good

	mu    sync.Mutex
	facts []fact // acknowledged in this round
	last  int64  // one more than the highest index of an entry that was shown
	shown map[int64]string
	note  string // the last checkpoint
}

// writer is somebody who changes things of its own, one after the other, and
// knows what was acknowledged.
type writer interface {
	// write makes one change. An error means that whether it was made is not
	// known.
	write(ctx context.Context, rng *rand.Rand) error
	// check holds the state after a restart against what is known, and takes
	// what it finds for known.
	check(t *testing.T)
}

// fact is an entry that the log must have because something was acknowledged.
type fact struct {
	op, svc, agent, grant string
	revision              uint64
}

func (w *world) acknowledged(f fact) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = append(w.facts, f)
}

func newWorld(t *testing.T, h *rig.Home) *world {
	t.Helper()
	w := &world{t: t, h: h, seller: newSeller(t), client: h.Client(), shown: map[int64]string{}}
	st := h.Up()
	w.addr = st.Address
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.seller.Certificate().Raw})
	h.Reach("openrouter", w.seller.URL+"/api/v1", ca)
	for i := range 2 {
		name := fmt.Sprint("plain-", i)
		h.CustomAt(name, w.seller.URL, ca)
		w.writers = append(w.writers, &storer{w: w, svc: service(name), key: func(n int) string { return plainKey(name, n) }, removes: true})
	}
	router := &storer{w: w, svc: service("openrouter"), key: routerKey, told: &w.least}
	must(t, router.store(t.Context(), 1))
	w.writers = append(w.writers, router)
	for i := range 2 {
		g := &granter{w: w, agent: agent(fmt.Sprint("granted-", i)), revoked: map[string]bool{}}
		_, err := w.client.CreateAgent(t.Context(), g.agent)
		must(t, err)
		w.writers = append(w.writers, g)
	}
	for i := range 2 {
		w.writers = append(w.writers, newHirer(w, i))
	}
	for i := range 2 {
		w.writers = append(w.writers, newBuyer(t, w, i))
	}
	w.writers = append(w.writers, &reader{w: w})
	w.facts = nil // of before the first round
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func service(name string) agentkeys.Service {
	s, err := agentkeys.ParseService(name)
	if err != nil {
		panic(err)
	}
	return s
}

func agent(name string) agentkeys.Agent {
	a, err := agentkeys.ParseAgent(name)
	if err != nil {
		panic(err)
	}
	return a
}

// storer stores one key after the other for one service.
type storer struct {
	w       *world
	svc     agentkeys.Service
	key     func(n int) string
	removes bool
	told    *atomic.Int64

	n        int // of the key that is there, 0 for none
	next     int
	revision uint64
	maybe    []int // what may be there instead, because nobody said how it went
}

func (s *storer) store(ctx context.Context, n int) error {
	s.maybe = append(s.maybe, n)
	s.next = n
	res, err := s.w.client.Store(ctx, s.svc, secret.FromString(s.key(n)), local.StoreOptions{NoVerify: true})
	if err != nil {
		return err
	}
	if res.Revision <= s.revision {
		s.w.t.Errorf("%s: revision %d after %d", s.svc, res.Revision, s.revision)
	}
	s.n, s.revision, s.maybe = n, res.Revision, nil
	if s.told != nil {
		s.told.Store(int64(n))
	}
	s.w.acknowledged(fact{op: "credential.store", svc: s.svc.String(), revision: res.Revision})
	return nil
}

func (s *storer) write(ctx context.Context, rng *rand.Rand) error {
	if s.removes && s.n > 0 && rng.IntN(6) == 0 {
		s.maybe = append(s.maybe, 0)
		if err := s.w.client.Remove(ctx, s.svc, false); err != nil {
			return err
		}
		s.n, s.maybe = 0, nil
		s.w.acknowledged(fact{op: "credential.delete", svc: s.svc.String()})
		return nil
	}
	return s.store(ctx, s.next+1)
}

func (s *storer) check(t *testing.T) {
	t.Helper()
	found := 0
	v, err := s.w.client.Reveal(t.Context(), s.svc)
	var e *control.Error
	switch {
	case errors.As(err, &e) && e.Code == control.CodeNotFound:
	case err != nil:
		t.Errorf("%s: %v", s.svc, err)
		return
	default:
		for _, n := range append(s.maybe, s.n) {
			if n > 0 && string(v.Expose()) == s.key(n) {
				found = n
			}
		}
		if found == 0 {
			t.Errorf("%s is %q, neither key %d nor one of %d", s.svc, v.Expose(), s.n, s.maybe)
		}
		d, err := s.w.client.Credential(t.Context(), s.svc)
		if err != nil || d.Revision < s.revision || found != s.n && d.Revision == s.revision {
			t.Errorf("%s: key %d has revision %d after %d, %v", s.svc, found, d.Revision, s.revision, err)
		}
		s.revision = d.Revision
	}
	if found != s.n && !slices.Contains(s.maybe, found) {
		t.Errorf("%s: key %d is there, key %d was acknowledged, %d were under way", s.svc, found, s.n, s.maybe)
	}
	s.n, s.maybe = found, nil
	if s.told != nil && found > 0 {
		s.told.Store(int64(found))
	}
}

// granter grants and revokes.
type granter struct {
	w       *world
	agent   agentkeys.Agent
	limit   int64 // names the grant that is there, 0 for none
	id      string
	next    int64
	maybe   []int64
	revoked map[string]bool
}

func (g *granter) write(ctx context.Context, rng *rand.Rand) error {
	svc := service("openrouter")
	if g.limit > 0 && rng.IntN(2) == 0 {
		g.maybe = append(g.maybe, 0)
		if err := g.w.client.Revoke(ctx, g.agent, svc); err != nil {
			return err
		}
		g.revoked[g.id] = true
		g.w.acknowledged(fact{op: "grant.revoke", grant: g.id})
		g.limit, g.id, g.maybe = 0, "", nil
		return nil
	}
	g.next++
	g.maybe = append(g.maybe, g.next)
	info, err := g.w.client.Grant(ctx, g.agent, svc, control.GrantRequest{
		Requests: &grant.Requests{Limit: g.next, Per: grant.Total}, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		return err
	}
	if g.id != "" {
		g.revoked[g.id] = true // replaced
	}
	g.limit, g.id, g.maybe = g.next, info.ID, nil
	g.w.acknowledged(fact{op: "grant.create", grant: info.ID})
	return nil
}

func (g *granter) check(t *testing.T) {
	t.Helper()
	list, err := g.w.client.Grants(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	var limit int64
	id := ""
	for _, info := range list {
		if info.Agent != g.agent {
			continue
		}
		limit, id = info.Requests.Limit, info.ID
		if g.revoked[id] {
			t.Errorf("grant %s was revoked or replaced, and is there", id)
		}
	}
	if limit != g.limit && !slices.Contains(g.maybe, limit) {
		t.Errorf("%s: grant %d is there, %d was acknowledged, %d were under way", g.agent, limit, g.limit, g.maybe)
	}
	if limit == g.limit && limit != 0 && id != g.id {
		t.Errorf("%s: grant %s is there, %s was acknowledged", g.agent, id, g.id)
	}
	g.limit, g.id, g.maybe = limit, id, nil
}

// hirer creates and removes agents.
type hirer struct {
	w      *world
	labels []agentkeys.Agent
	there  map[agentkeys.Agent]bool
	maybe  map[agentkeys.Agent]bool // whose being there is not known
	wallet map[agentkeys.Agent]agentkeys.Wallet
	token  map[agentkeys.Agent]string
	dead   []string // tokens of agents that were removed
}

func newHirer(w *world, i int) *hirer {
	h := &hirer{
		w: w, there: map[agentkeys.Agent]bool{}, maybe: map[agentkeys.Agent]bool{}, wallet: map[agentkeys.Agent]agentkeys.Wallet{}, token: map[agentkeys.Agent]string{},
	}
	for k := range 4 {
		h.labels = append(h.labels, agent(fmt.Sprintf("hired-%d-%d", i, k)))
	}
	return h
}

func (h *hirer) write(ctx context.Context, rng *rand.Rand) error {
	a := h.labels[rng.IntN(len(h.labels))]
	if h.there[a] {
		if h.token[a] == "" && rng.IntN(2) == 0 {
			s, err := h.w.client.StartSession(ctx, control.SessionRequest{Agent: a, TTL: 3600})
			if err != nil {
				return err
			}
			h.token[a] = s.Token
			return nil
		}
		h.maybe[a] = true
		token := h.token[a]
		delete(h.token, a) // it may be dead, whatever becomes of the agent
		if err := h.w.client.RemoveAgent(ctx, a); err != nil {
			return err
		}
		h.there[a] = false
		if token != "" {
			h.dead = append(h.dead, token)
		}
		h.w.acknowledged(fact{op: "agent.remove", agent: a.String()})
	} else {
		h.maybe[a] = true
		made, err := h.w.client.CreateAgent(ctx, a)
		if err != nil {
			return err
		}
		if old, known := h.wallet[a]; known && old != made.Wallet {
			h.w.t.Errorf("agent %s has another wallet than before", a)
		}
		h.there[a], h.wallet[a] = true, made.Wallet
		h.w.acknowledged(fact{op: "agent.create", agent: a.String()})
	}
	delete(h.maybe, a)
	return nil
}

func (h *hirer) check(t *testing.T) {
	t.Helper()
	list, err := h.w.client.Agents(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	found := map[agentkeys.Agent]bool{}
	for _, a := range list {
		found[a.Label] = true
		if old, known := h.wallet[a.Label]; known && old != a.Wallet {
			t.Errorf("agent %s has another wallet than before", a.Label)
		}
	}
	for _, a := range h.labels {
		if !h.maybe[a] && found[a] != h.there[a] {
			t.Errorf("agent %s: there: %t, acknowledged: %t", a, found[a], h.there[a])
		}
		if !found[a] && h.token[a] != "" {
			h.dead = append(h.dead, h.token[a])
			delete(h.token, a)
		}
		h.there[a] = found[a]
	}
	clear(h.maybe)
	// The last few of the dead.
	for _, token := range h.dead[max(0, len(h.dead)-3):] {
		if status, code, err := h.w.ask(t.Context(), token); err != nil || status != http.StatusUnauthorized {
			t.Errorf("the token of a removed agent: %d %s %v", status, code, err)
		}
	}
	for a, token := range h.token {
		if status, code, err := h.w.ask(t.Context(), token); err != nil || status != http.StatusForbidden || code != "no-grant" {
			t.Errorf("the token of agent %s: %d %s %v", a, status, code, err)
		}
	}
}

var anyhow = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 20 * time.Second}

// ask sends a request with a token.
func (w *world) ask(ctx context.Context, token string) (status int, code string, err error) {
	url := fmt.Sprintf("http://%s/openrouter/chat/completions?least=%d", w.addr, w.least.Load())
	req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("{}"))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer sk-or-v1-agentkeys."+token)
	resp, err := anyhow.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &p)
	return resp.StatusCode, p.Code, nil
}

// buyer spends a budget.
type buyer struct {
	w       *world
	agent   agentkeys.Agent
	id      string // of its grant
	token   string
	served  int64 // acknowledged
	unknown int64 // asked for, and not known to be served
}

func newBuyer(t *testing.T, w *world, i int) *buyer {
	t.Helper()
	b := &buyer{w: w, agent: agent(fmt.Sprint("buyer-", i))}
	_, err := w.client.CreateAgent(t.Context(), b.agent)
	must(t, err)
	g, err := w.client.Grant(t.Context(), b.agent, service("openrouter"), control.GrantRequest{
		Requests: &grant.Requests{Limit: 1e9, Per: grant.Total},
		// A hold, a hundredth of it, is more than a request costs: what was
		// under way when the process was killed is charged no less.
		Budget: &grant.Budget{Limit: 1e6 * grant.USD, Per: grant.Total}, Expires: time.Now().Add(24 * time.Hour),
	})
	must(t, err)
	b.id = g.ID
	s, err := w.client.StartSession(t.Context(), control.SessionRequest{Agent: b.agent, TTL: 86400})
	must(t, err)
	b.token = s.Token
	return b
}

func (b *buyer) write(ctx context.Context, _ *rand.Rand) error {
	stopped := b.w.stopped.Load()
	status, code, err := b.w.ask(ctx, b.token)
	if err == nil && status != 200 {
		err = fmt.Errorf("answered %d %s", status, code)
	}
	if err != nil {
		b.unknown++
	} else {
		b.served++
		b.w.acknowledged(fact{op: grant.OpUse, grant: b.id})
		if stopped {
			b.w.t.Error("a use began after the log had stopped")
		}
	}
	return err
}

func (b *buyer) check(t *testing.T) {
	t.Helper()
	list, err := b.w.client.Grants(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	for _, g := range list {
		if g.ID != b.id {
			continue
		}
		if g.Usage.Requests < b.served || g.Usage.Requests > b.served+b.unknown {
			t.Errorf("%s: %d used, %d acknowledged, %d unknown", b.agent, g.Usage.Requests, b.served, b.unknown)
		}
		if g.Usage.Spent < cost*grant.Money(b.served) || g.Usage.Held != 0 {
			t.Errorf("%s: %v spent and %v held for %d requests of %v", b.agent, g.Usage.Spent, g.Usage.Held, b.served, cost)
		}
		if err := b.write(t.Context(), nil); err != nil {
			t.Errorf("%s: after a restart: %v", b.agent, err)
		}
		return
	}
	t.Errorf("%s has lost its grant", b.agent)
}

// reader reads the log and has it signed.
type reader struct{ w *world }

func (r *reader) write(ctx context.Context, rng *rand.Rand) error {
	if rng.IntN(3) == 0 {
		c, err := r.w.client.Checkpoint(ctx)
		if err != nil {
			return err
		}
		r.w.mu.Lock()
		r.w.note = c.Note
		r.w.mu.Unlock()
		return nil
	}
	return r.w.client.TailAudit(ctx, 40, false, func(l control.LogLine) error {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		r.w.shown[l.Index] = string(l.Entry)
		r.w.last = max(r.w.last, l.Index+1)
		return nil
	})
}

func (r *reader) check(*testing.T) {} // the log is checked by itself

// checkLog holds the log against all that was acknowledged and shown since it
// had size entries, and begins anew.
func (w *world) checkLog(t *testing.T, size int64) {
	t.Helper()
	st, err := w.client.Status(t.Context())
	must(t, err)
	if st.LogSize < w.last || st.LogError != "" {
		t.Errorf("the log has %d entries, and %d were shown; %s", st.LogSize, w.last, st.LogError)
	}
	have := map[fact]int{}
	next := size
	err = w.client.TailAudit(t.Context(), int(st.LogSize-size), false, func(l control.LogLine) error {
		if l.Index != next {
			return fmt.Errorf("entry %d where %d was to be", l.Index, next)
		}
		next++
		if was, ok := w.shown[l.Index]; ok && was != string(l.Entry) {
			t.Errorf("entry %d was shown as %s and is %s", l.Index, was, l.Entry)
		}
		delete(w.shown, l.Index)
		var e grant.Event
		if err := json.Unmarshal(l.Entry, &e); err != nil {
			return err
		}
		switch {
		case e.Op == grant.OpUse && e.Decision == grant.Allowed:
			have[fact{op: e.Op, grant: e.Grant}]++
		case e.Decision != grant.Done:
		case e.Op == "credential.store":
			have[fact{op: e.Op, svc: e.Svc.String(), revision: e.Revision}]++
		case e.Op == "credential.delete":
			have[fact{op: e.Op, svc: e.Svc.String()}]++
		case e.Op == "grant.create", e.Op == "grant.revoke":
			have[fact{op: e.Op, grant: e.Grant}]++
		case e.Op == "agent.create", e.Op == "agent.remove":
			have[fact{op: e.Op, agent: e.Agent.String()}]++
		}
		return nil
	})
	must(t, err)
	for index := range w.shown {
		if index >= size {
			t.Errorf("entry %d was shown and is gone", index)
		}
	}
	clear(w.shown)
	for _, f := range w.facts {
		if have[f]--; have[f] < 0 {
			t.Errorf("acknowledged, and not in the log: %+v", f)
		}
	}
	w.facts = w.facts[:0]
}
