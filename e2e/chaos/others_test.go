package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// granter grants and revokes, and listens at every replica.
type granter struct {
	w       *world
	master  *device
	agent   agentkeys.Agent
	svc     agentkeys.Service
	streams []*brokerclient.Stream
	revoked dead

	id    string // of the grant that is there, "" for none
	limit int64  // names what was asked for
	next  int64
	maybe []int64 // limits that may be there instead; 0: none
}

func newGranter(w *world, l *loginer, i int) *granter {
	g := &granter{
		w: w, master: w.master(l), agent: agentkeys.Must(agentkeys.ParseAgent(fmt.Sprint("granted-", i))),
		svc: agentkeys.Must(agentkeys.ParseService("openrouter")),
	}
	_, err := g.master.at[0].CreateAgent(w.t.Context(), g.agent)
	must(w.t, err)
	for _, c := range g.master.at {
		s := c.Events()
		w.t.Cleanup(s.Close)
		g.streams = append(g.streams, s)
	}
	return g
}

func (g *granter) grant(c *brokerclient.Client) error {
	g.next++
	g.maybe = append(g.maybe, g.next)
	made, err := c.PutGrant(g.w.t.Context(), g.agent, g.svc, brokerapi.Terms{
		Requests: &grant.Requests{Limit: g.next, Per: grant.Total}, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		return err
	}
	g.revoked.add(g.id) // replaced
	g.id, g.limit, g.maybe = made.ID, g.next, nil
	g.w.acknowledged(fact{op: "grant.create", grant: made.ID})
	return nil
}

func (g *granter) step(rng *rand.Rand) bool {
	w, replica := g.w, rng.IntN(len(g.w.replicas))
	if g.id == "" || len(g.maybe) > 0 || rng.IntN(3) == 0 {
		if err := g.grant(g.master.at[replica]); err != nil {
			if !w.lost(err) {
				w.t.Errorf("grant: %v", err)
			}
			return false
		}
		return true
	}
	id, calm := g.id, w.disturbed.Load()
	g.maybe = append(g.maybe, 0)
	if err := g.master.at[replica].RemoveGrant(w.t.Context(), g.agent, g.svc); err != nil {
		if !w.lost(err) {
			w.t.Errorf("revoke: %v", err)
		}
		return false
	}
	at := time.Now()
	g.revoked.add(id)
	g.id, g.limit, g.maybe = "", 0, nil
	w.acknowledged(fact{op: "grant.revoke", grant: id})
	for i, s := range g.streams {
		where := "the replica itself"
		if i != replica {
			where = "another replica"
		}
		g.hear(s, id, at, calm, where)
	}
	return true
}

// hear waits until nothing is lent any more by who listens: the revocation is
// heard, or nothing is.
func (g *granter) hear(s *brokerclient.Stream, id string, at time.Time, calm int64, where string) {
	w := g.w
	for end := at.Add(patience); ; time.Sleep(time.Millisecond) {
		has := s.Grant(g.agent, g.svc)
		_, live, _ := s.Heard()
		switch {
		case has == nil || has.ID != id:
			if calm%2 == 0 && w.disturbed.Load() == calm {
				w.took("a revocation is heard of at "+where+" that is well", time.Since(at))
			}
		case !live:
		case time.Now().After(end):
			w.t.Errorf("a grant that was revoked %v ago is lent", time.Since(at))
		default:
			continue
		}
		w.took("nothing is lent after a revocation at "+where+", well or not", time.Since(at))
		return
	}
}

func (g *granter) check() {
	w := g.w
	for i, c := range g.master.at {
		list, err := c.Grants(w.t.Context())
		if err != nil {
			w.t.Errorf("grants at %d: %v", i, err)
			continue
		}
		var limit int64
		id := ""
		for _, have := range list {
			if have.Agent == g.agent {
				limit, id = have.Requests.Limit, have.ID
			}
		}
		if g.revoked.at(id) != nil {
			w.t.Errorf("grant %s was revoked or replaced, and is there at %d", id, i)
		}
		if limit != g.limit && !slices.Contains(g.maybe, limit) {
			w.t.Errorf("%s: grant %d is there at %d, %d was acknowledged, %d were under way", g.agent, limit, i, g.limit, g.maybe)
		}
		if limit == g.limit && id != g.id {
			w.t.Errorf("%s: grant %q is there at %d, %q was acknowledged", g.agent, id, i, g.id)
		}
	}
	if len(g.maybe) > 0 {
		// A revocation that failed is in force where it was asked for, and there
		// alone: now there is one grant for all.
		if err := g.grant(g.master.at[0]); err != nil {
			w.t.Errorf("grant: %v", err)
		}
	}
	for i, s := range g.streams {
		w.await(fmt.Sprint("the directory of replica ", i), func() bool {
			has := s.Grant(g.agent, g.svc)
			return (has == nil && g.id == "" || has != nil && has.ID == g.id) && s.Fresh(w.t.Context()) == nil
		})
	}
}

// hirer creates and removes agents.
type hirer struct {
	w      *world
	master *device
	labels []agentkeys.Agent
	there  map[agentkeys.Agent]bool
	maybe  map[agentkeys.Agent]bool // whose being there is not known
	wallet map[agentkeys.Agent]agentkeys.Wallet
}

func newHirer(w *world, l *loginer) *hirer {
	h := &hirer{w: w, master: w.master(l), there: map[agentkeys.Agent]bool{}, maybe: map[agentkeys.Agent]bool{}, wallet: map[agentkeys.Agent]agentkeys.Wallet{}}
	for i := range 5 {
		h.labels = append(h.labels, agentkeys.Must(agentkeys.ParseAgent(fmt.Sprint("hired-", i))))
	}
	return h
}

func (h *hirer) step(rng *rand.Rand) bool {
	w, a, c := h.w, h.labels[rng.IntN(len(h.labels))], h.master.any(rng)
	unknown := h.maybe[a]
	h.maybe[a] = true
	var err error
	if h.there[a] {
		if err = c.RemoveAgent(w.t.Context(), a); err == nil {
			w.acknowledged(fact{op: "agent.remove", agent: a.String()})
		}
		if unknown && is(err, brokerapi.CodeNotFound) {
			err = nil
		}
	} else {
		var made brokerapi.Agent
		if made, err = c.CreateAgent(w.t.Context(), a); err == nil {
			if old, known := h.wallet[a]; known && old != made.Wallet {
				w.t.Errorf("agent %s has another wallet than before", a)
			}
			h.wallet[a] = made.Wallet
			w.acknowledged(fact{op: "agent.create", agent: a.String()})
		}
		if unknown && is(err, brokerapi.CodeExists) {
			err = nil
		}
	}
	if err != nil {
		if !w.lost(err) {
			w.t.Errorf("agent %s, there: %t: %v", a, h.there[a], err)
		}
		return false
	}
	h.there[a] = !h.there[a]
	delete(h.maybe, a)
	return true
}

func (h *hirer) check() {
	for i, c := range h.master.at {
		list, err := c.Agents(h.w.t.Context())
		if err != nil {
			h.w.t.Errorf("agents at %d: %v", i, err)
			continue
		}
		for _, a := range h.labels {
			found := slices.ContainsFunc(list, func(b brokerapi.Agent) bool {
				return b.Label == a && (h.wallet[a].IsZero() || b.Wallet == h.wallet[a])
			})
			if found != h.there[a] && !h.maybe[a] {
				h.w.t.Errorf("agent %s at %d: there: %t, acknowledged: %t", a, i, found, h.there[a])
			}
			h.there[a] = found
			delete(h.maybe, a)
		}
	}
}

// minter asks for tokens.
type minter struct {
	w      *world
	master *device
	agent  brokerapi.Agent
}

func newMinter(w *world, l *loginer, i int) *minter {
	m := &minter{w: w, master: w.master(l)}
	var err error
	m.agent, err = m.master.at[0].CreateAgent(w.t.Context(), agentkeys.Must(agentkeys.ParseAgent(fmt.Sprint("minting-", i))))
	must(w.t, err)
	return m
}

func (m *minter) step(rng *rand.Rand) bool {
	w := m.w
	var wallet agentkeys.Wallet
	if rng.IntN(2) == 0 {
		wallet = m.agent.Wallet
	}
	audience := []string{audienceES, audienceRS, w.signer}[rng.IntN(3)]
	c := m.master.any(rng)
	made, err := c.Mint(w.t.Context(), audience, wallet, 0)
	if err != nil {
		if !w.lost(err) {
			w.t.Errorf("mint: %v", err)
		}
		return false
	}
	id := w.saw(made.Token, func(keys token.Keys) (string, time.Time, error) {
		v := token.Verifier{Issuer: w.origin, Audience: audience, Keys: keys}
		if audience == w.signer {
			a, err := v.Access(made.Token, time.Now())
			return a.ID, a.Issued, err
		}
		got, err := v.Identity(made.Token, time.Now())
		return got.ID, got.Issued, err
	})
	w.acknowledged(fact{op: "token.mint", request: id})
	return true
}

func (m *minter) check() {
	for range 2 * len(m.w.replicas) {
		if !m.step(rand.New(rand.NewPCG(rand.Uint64(), 0))) {
			m.w.t.Error("no token though all is well")
		}
	}
}

// replayer asks for sessions, with each proof more than once.
type replayer struct {
	w      *world
	master *device
	used   string // the first proof of the round, which was good
	at     time.Time
}

// goodAgain is counted: a broker with a state of its own remembers proofs for
// as long as it lives, and no longer.
const goodAgain = "a proof good again after a restart"

func (r *replayer) step(rng *rand.Rand) bool {
	w := r.w
	proof := w.proof(r.master.key, http.MethodPost, brokerapi.PathSession, "")
	lives := func() (n int64) {
		for _, r := range w.replicas {
			n += r.life.Load()
		}
		return n
	}
	before := lives()
	errs := make(chan error, 4)
	won, lost := 0, false
	for i := range cap(errs) {
		replica := rng.IntN(len(w.replicas))
		ask := func() { errs <- r.renew(proof, replica) }
		if i == cap(errs)-1 {
			ask() // for the last time some time later
		} else {
			go ask()
		}
	}
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			won++
		case w.lost(err):
			lost = true
		case !is(err, brokerapi.CodeProof):
			w.t.Errorf("a proof for the second time: %v", err)
		}
	}
	switch {
	case won > 1 && (w.pg != nil || lives() == before):
		w.t.Errorf("a proof was good %d times", won)
	case won > 1:
		w.errors.add(goodAgain)
	case won == 0 && !lost:
		w.t.Error("a proof was good for nobody")
	}
	if won > 0 && r.used == "" {
		r.used, r.at = proof, time.Now()
	}
	return won > 0
}

func (r *replayer) renew(proof string, replica int) error {
	req, err := http.NewRequestWithContext(r.w.t.Context(), http.MethodPost, r.w.origin+brokerapi.PathSession, nil)
	if err != nil {
		return err
	}
	req.Header.Set("DPoP", proof)
	req.Header.Set("User-Agent", "chaos/"+strconv.Itoa(replica))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", brokerclient.ErrUnreachable, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil || res.StatusCode == http.StatusBadGateway:
		return fmt.Errorf("%w: %s", brokerclient.ErrUnreachable, res.Status)
	case res.StatusCode != http.StatusOK:
		p := new(brokerapi.Problem)
		return errors.Join(json.Unmarshal(text, p), p)
	}
	var s brokerapi.Session
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	r.w.sawSession(s)
	return nil
}

// check tries a proof of before the kill, while its time would do.
func (r *replayer) check() {
	if r.used != "" && time.Since(r.at) < token.ProofWindow/2 {
		for i := range r.w.replicas {
			switch err := r.renew(r.used, i); {
			case is(err, brokerapi.CodeProof):
			case err == nil && r.w.pg == nil:
				r.w.errors.add(goodAgain)
			default:
				r.w.t.Errorf("a proof from before the kill: %v", err)
			}
		}
	}
	if !r.step(rand.New(rand.NewPCG(1, 2))) {
		r.w.t.Error("no session though all is well")
	}
	r.used = ""
}

// lead is how long a new key is published before it signs: a replica reads its
// keys every ten seconds.
const lead = 14 * time.Second

// maxRotations keeps the key set within what a reader of it takes.
const maxRotations = 50

// rotating makes new token keys until ctx ends, and kills a fourth of the
// attempts.
func (w *world) rotating(ctx context.Context, rng *rand.Rand) (made int) {
	config := w.replicas[0].config()
	for i := 0; ctx.Err() == nil && made < maxRotations; i++ {
		alg := []string{"ES256", "RS256"}[i%2]
		cmd := w.command("broker", "keys", "rotate", "--config", config, "--alg", alg, "--lead", lead.String())
		if err := cmd.Start(); err != nil {
			w.t.Error(err)
			return made
		}
		killed := rng.IntN(4) == 0
		if killed {
			time.Sleep(time.Duration(rng.IntN(60_000)) * time.Microsecond)
			_ = cmd.Process.Signal(syscall.SIGKILL)
		}
		if err := cmd.Wait(); err != nil && !killed {
			w.t.Errorf("rotate: %v", err)
		}
		if i%5 == 4 {
			w.ok("broker", "keys", "prune", "--config", config)
		}
		made = w.learnKeys()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(2000+rng.IntN(4000)) * time.Millisecond):
		}
	}
	return made
}

// learnKeys notes from when each key signs, and returns how many were made
// since the installation, which makes two.
func (w *world) learnKeys() (made int) {
	var keys []struct {
		KID  string    `json:"kid"`
		From time.Time `json:"signs_from"`
	}
	if err := json.Unmarshal(w.ok("broker", "keys", "--config", w.replicas[0].config(), "--json"), &keys); err != nil {
		w.t.Error(err)
	}
	w.klock.Lock()
	defer w.klock.Unlock()
	for _, k := range keys {
		if _, known := w.from[k.KID]; !known {
			w.from[k.KID] = k.From
		}
	}
	return len(w.from) - 2
}

// turned makes a key, and waits until it has begun to sign at replicas that
// nobody starts again.
func (w *world) turned() {
	w.t.Helper()
	since := time.Now()
	w.ok("broker", "keys", "rotate", "--config", w.replicas[0].config(), "--lead", lead.String())
	w.learnKeys()
	w.t.Helper()
	w.await("a new key", func() bool {
		w.klock.Lock()
		defer w.klock.Unlock()
		for _, from := range w.from {
			if from.Sub(since) >= lead && time.Since(from) > time.Second {
				return true
			}
		}
		return false
	})
}
