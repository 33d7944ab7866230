package chaos_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// fact is an entry that the log of some replica must have because something
// was acknowledged.
type fact struct{ op, agent, grant, subject, request string }

// ledger is what was acknowledged, and what the logs say.
type ledger struct {
	lock   sync.Mutex
	wanted map[fact]int
	have   map[fact]int
	good   map[string]*onceOnly // by the subject that would say so
	acks   int
}

// onceOnly is a code: of all who brought it, one was taken.
type onceOnly struct {
	what  string
	taken int
}

func (l *ledger) init() {
	l.wanted, l.have, l.good = map[fact]int{}, map[fact]int{}, map[string]*onceOnly{}
}

func (l *ledger) acknowledged(f fact) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.wanted[f]++
	l.acks++
}

// goodOnce says that at most one entry may have one of these subjects.
func (l *ledger) goodOnce(what string, subjects ...string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	o := &onceOnly{what: what}
	for _, s := range subjects {
		l.good[s] = o
	}
}

// read takes in an entry of a log.
func (w *world) read(e *grant.Event) {
	f := fact{op: e.Op, agent: e.Agent.String(), grant: e.Grant, subject: e.Subject, request: e.Request}
	switch {
	case e.Op == "token.mint" && e.Decision == grant.Allowed:
		f = fact{op: e.Op, request: e.Request}
	case e.Decision != grant.Done:
		return
	case e.Op == "session.login", e.Op == "agent.enrol":
		if o := w.good[e.Op+" "+e.Subject]; o != nil {
			if o.taken++; o.taken > 1 {
				w.t.Errorf("%s was taken %d times: %+v", o.what, o.taken, *e)
			}
		}
		f.agent = ""
	case e.Op == "grant.create", e.Op == "grant.revoke":
		f = fact{op: e.Op, grant: e.Grant}
	case e.Op == "agent.create", e.Op == "agent.remove":
		f = fact{op: e.Op, agent: f.agent}
	case e.Op == "device.revoke", e.Op == "session.end":
		f = fact{op: e.Op, subject: e.Subject}
	default:
		return
	}
	w.have[f]++
}

// checkLogs verifies each replica's log, as its owner would, and holds all of
// them against what was acknowledged.
func (w *world) checkLogs() {
	w.t.Helper()
	for _, r := range w.replicas {
		w.verify(r)
	}
	// The newest entries wait for a signature.
	for end := time.Now().Add(patience / 3); ; time.Sleep(10 * time.Millisecond) {
		for _, r := range w.replicas {
			w.replay(r)
		}
		left := w.missing()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			w.t.Errorf("acknowledged, and in nobody's log: %d, as %+v", len(left), left[0])
			break
		}
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	clear(w.wanted)
	clear(w.have)
}

func (w *world) missing() (list []fact) {
	w.lock.Lock()
	defer w.lock.Unlock()
	for f, n := range w.wanted {
		if w.have[f] < n {
			list = append(list, f)
		}
	}
	return list
}

// verify runs audit verify, against the last checkpoint too.
func (w *world) verify(r *replica) {
	w.t.Helper()
	dir := filepath.Join(r.audit(), "log")
	args := []string{"audit", "verify", "--dir", dir, "--key", filepath.Join(r.audit(), "log.vkey")}
	if r.head != nil {
		args = append(args, "--known", w.write("checkpoint-"+r.name, r.head))
	}
	head, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	must(w.t, err)
	w.ok(args...)
	r.head = head
}

// replay reads what is new in a replica's log.
func (w *world) replay(r *replica) {
	w.t.Helper()
	key, err := os.ReadFile(filepath.Join(r.audit(), "log.vkey"))
	must(w.t, err)
	v, err := note.NewVerifier(strings.TrimSpace(string(key)))
	must(w.t, err)
	log, err := audit.OpenReader(filepath.Join(r.audit(), "log"), v)
	must(w.t, err)
	if log.Head().Size <= r.next {
		return
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	must(w.t, log.Replay(r.next, func(e audit.Entry) error {
		if e.Index != r.next || e.Unread != nil {
			return fmt.Errorf("entry %d where %d was to be: %w", e.Index, r.next, e.Unread)
		}
		r.next++
		w.read(&e.Event)
		return nil
	}))
}

// published is what is known of the keys that sign tokens.
type published struct {
	klock sync.Mutex
	sets  map[string]*token.KeySet // by kid: one that has it
	from  map[string]time.Time     // when it was to sign, by the command that made it
	used  map[string]time.Time     // when the first token of it was seen
	late  int                      // how many were first seen in a token
}

func (p *published) init() {
	p.sets, p.from, p.used = map[string]*token.KeySet{}, map[string]time.Time{}, map[string]time.Time{}
}

// fetch reads the key set of one replica. A key that signed a token before it
// was asked is in it, and so is each that may sign by then.
func (w *world) fetch(r *replica) error {
	began := time.Now()
	res, err := once.Get("http://" + r.addr + brokerapi.PathKeys)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %w", res.Status, err)
	}
	set, err := token.ParseJWKS(text)
	if err != nil {
		w.t.Errorf("the key set: %v", err)
		return err
	}
	var raw struct {
		Keys []struct {
			KID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	w.klock.Lock()
	defer w.klock.Unlock()
	has := map[string]bool{}
	for _, k := range raw.Keys {
		has[k.KID] = true
		w.sets[k.KID] = set
	}
	for kid, at := range w.used {
		if at.Before(began) && !has[kid] {
			w.t.Errorf("replica %s does not publish %s, of which a token was seen %v before", r.name, kid, began.Sub(at))
		}
	}
	for kid, at := range w.from {
		if at.Before(began) && !has[kid] {
			w.t.Errorf("replica %s does not publish %s, which signs since %v", r.name, kid, began.Sub(at))
		}
	}
	return nil
}

// saw checks a token by what is published, and returns its id.
func (w *world) saw(raw string, wanted func(token.Keys) (id string, issued time.Time, err error)) (id string) {
	at := time.Now()
	head, _, _ := strings.Cut(raw, ".")
	var h struct {
		KID string `json:"kid"`
	}
	if text, err := base64.RawURLEncoding.DecodeString(head); err != nil || json.Unmarshal(text, &h) != nil || h.KID == "" {
		w.t.Errorf("a token without a key: %s", head)
		return ""
	}
	w.klock.Lock()
	set := w.sets[h.KID]
	if _, ok := w.used[h.KID]; !ok {
		w.used[h.KID] = at
	}
	w.klock.Unlock()
	if set == nil {
		// Nobody had the time to read the key set since it was made: it must
		// be there now.
		w.await("a key set with "+h.KID, func() bool {
			for _, r := range w.replicas {
				_ = w.fetch(r)
			}
			w.klock.Lock()
			defer w.klock.Unlock()
			set = w.sets[h.KID]
			return set != nil || w.t.Failed()
		})
		w.klock.Lock()
		w.late++
		w.klock.Unlock()
		if set == nil {
			return ""
		}
	}
	id, issued, err := wanted(set)
	if err != nil {
		w.t.Errorf("a token that does not verify: %v", err)
	}
	w.klock.Lock()
	defer w.klock.Unlock()
	if from, ok := w.from[h.KID]; ok && issued.Before(from.Truncate(time.Second)) {
		w.t.Errorf("key %s signs %v before its time", h.KID, from.Sub(issued))
	}
	return id
}

// sawSession checks a session token.
func (w *world) sawSession(s brokerapi.Session) {
	w.saw(s.Token, func(keys token.Keys) (string, time.Time, error) {
		got, err := token.Verifier{Issuer: w.origin, Audience: w.origin, Keys: keys}.Session(s.Token, time.Now())
		return got.ID, got.Issued, err
	})
}

// publishing reads the key sets until ctx ends, and returns how often it could.
func (w *world) publishing(ctx context.Context) (read int) {
	for i := 0; ctx.Err() == nil; i++ {
		if w.fetch(w.replicas[i%len(w.replicas)]) == nil {
			read++
		}
		time.Sleep(150 * time.Millisecond)
	}
	return read
}

// figures are what is counted and not judged.
type figures struct {
	flock  sync.Mutex
	spans  map[string][]time.Duration
	errors counts
}

func (f *figures) took(what string, d time.Duration) {
	f.flock.Lock()
	defer f.flock.Unlock()
	if f.spans == nil {
		f.spans = map[string][]time.Duration{}
	}
	f.spans[what] = append(f.spans[what], max(d, 0))
}

// report tells the median and the most of each.
func (f *figures) report(log func(string, ...any)) {
	f.flock.Lock()
	defer f.flock.Unlock()
	for _, what := range slices.Sorted(maps.Keys(f.spans)) {
		all := slices.Clone(f.spans[what])
		slices.Sort(all)
		ms := func(i int) time.Duration { return all[i].Round(100 * time.Microsecond) }
		log("%s: %d times, %v in the median, %v in 19 of 20, %v at most", what, len(all), ms(len(all)/2), ms((len(all)-1)*19/20), ms(len(all)-1))
	}
	log("refusals and failures that writers met: %v", f.errors.all())
}

// counts counts by name.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// lost reports whether an error leaves open what became of the request, and
// counts it. What is broken on purpose is no fault of a broker's own.
func (w *world) lost(err error) bool {
	p, answered := errors.AsType[*brokerapi.Problem](err)
	switch {
	case answered:
		w.errors.add(p.Code)
		if p.Code == brokerapi.CodeInternal || p.Code == brokerapi.CodeRate {
			w.t.Errorf("answered %s, request %s", p.Code, p.Request)
		}
		return p.Code == brokerapi.CodeUnavailable || p.Code == brokerapi.CodeInternal
	case errors.Is(err, brokerclient.ErrUnreachable):
		w.errors.add("no answer")
		return true
	}
	w.errors.add(err.Error())
	return false
}

// is reports whether a broker refused with one of these codes.
func is(err error, codes ...string) bool {
	p, ok := errors.AsType[*brokerapi.Problem](err)
	return ok && slices.Contains(codes, p.Code)
}

// proof is a proof of a device key.
func (w *world) proof(key *ecdsa.PrivateKey, method, path, session string) string {
	p, err := token.NewProof(key, method, w.origin+path, session, time.Now())
	if err != nil {
		w.t.Error(err)
	}
	return p
}
