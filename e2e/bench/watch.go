package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// kind is what a moment of a sign-up is spent with. Where two things go on at
// once, the first of these counts.
type kind int

const (
	inMail       kind = iota // it is on its way, or waited for
	inSite                   // a handler of the site works
	inBrowser                // it starts, ends, or one of the page's methods is under way
	betweenLooks             // the engine waits for the page to change
	rest                     // ours: deciding, journal, vault, log, the key's check
	kinds
)

// watch notes what a sign-up spends its time with.
type watch struct {
	mu    sync.Mutex
	spans []span
	looks bool      // the last thing that happened is a look
	last  time.Time // and it ended then
	sent  time.Time
	came  time.Time
}

type span struct {
	kind     kind
	from, to time.Time
}

func newWatch() *watch { return new(watch) }

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spans, w.looks = nil, false
}

func (w *watch) begin(k kind) (end func()) {
	from := time.Now()
	return func() { w.note(k, from, time.Now()) }
}

func (w *watch) note(k kind, from, to time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spans = append(w.spans, span{k, from, to})
}

func (w *watch) posted() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = time.Now()
}

// mail is how long the last one took, in ms.
func (w *watch) mail() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(w.came.Sub(w.sent).Microseconds()) / 1e3
}

// stepped ends what looks have in common: the next begins another step.
func (w *watch) stepped(recipe.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks = false
}

// split says what the time from began to ended was spent with, in ms.
func (w *watch) split(busy []sites.Work, began, ended time.Time) (out [kinds]float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	spans := slices.Clone(w.spans)
	for _, b := range busy {
		spans = append(spans, span{inSite, b.From, b.To})
	}
	edges := []time.Time{began, ended}
	for _, s := range spans {
		for _, t := range []time.Time{s.from, s.to} {
			if t.After(began) && t.Before(ended) {
				edges = append(edges, t)
			}
		}
	}
	slices.SortFunc(edges, time.Time.Compare)
	for i, from := range edges[:len(edges)-1] {
		to, k := edges[i+1], rest
		for _, s := range spans {
			if s.kind < k && !s.from.After(from) && !s.to.Before(to) {
				k = s.kind
			}
		}
		out[k] += float64(to.Sub(from).Nanoseconds()) / 1e6
	}
	return out
}

// watched is a browser whose time is noted.
type watched struct {
	*chrome.Browser
	w   *watch
	cpu *float64 // what its processes had used when it was closed, in ms
}

func (b watched) Page() recipe.Page { return watchedPage{b.Browser.Page(), b.w} }

func (b watched) Close() error {
	defer b.w.begin(inBrowser)()
	*b.cpu = descendants()
	return b.Browser.Close()
}

type watchedPage struct {
	recipe.Page
	w *watch
}

// during notes one of the page's methods, and the time since the last look, if
// the engine did nothing in between.
func (p watchedPage) during(look bool) (end func()) {
	from := time.Now()
	p.w.mu.Lock()
	if p.w.looks && look {
		p.w.spans = append(p.w.spans, span{betweenLooks, p.w.last, from})
	}
	p.w.mu.Unlock()
	return func() {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.w.looks, p.w.last = look, time.Now()
		p.w.spans = append(p.w.spans, span{inBrowser, from, p.w.last})
	}
}

func (p watchedPage) Open(ctx context.Context, url string) error {
	defer p.during(false)()
	return p.Page.Open(ctx, url)
}

func (p watchedPage) Look(ctx context.Context, css []string) (recipe.View, error) {
	defer p.during(true)()
	return p.Page.Look(ctx, css)
}

func (p watchedPage) Do(ctx context.Context, id recipe.ElementID, a recipe.Act) error {
	defer p.during(false)()
	return p.Page.Do(ctx, id, a)
}

func (p watchedPage) Read(ctx context.Context, id recipe.ElementID) (secret.Value, error) {
	defer p.during(false)()
	return p.Page.Read(ctx, id)
}

// kept is the background process as a run sees it.
type kept struct {
	*control.Client
	w *watch
}

func (k kept) Check(ctx context.Context, s agentkeys.Service) (provision.Checked, error) {
	c, err := k.CheckKey(ctx, s)
	return provision.Checked{Stored: c.Stored, Verdict: c.Verdict, Detail: c.Detail}, err
}

func (k kept) Store(ctx context.Context, s agentkeys.Service, v secret.Value, by catalog.Door) (provision.Checked, error) {
	r, err := k.Client.Store(ctx, s, v, local.StoreOptions{Route: by})
	return provision.Checked{Stored: err == nil, Verdict: r.Verdict, Detail: r.Detail, Revision: r.Revision}, err
}

func (k kept) Put(ctx context.Context, s agentkeys.Service, d provision.Drawer, v secret.Value) error {
	return k.PutDrawer(ctx, s, local.Drawer(d), v)
}

func (k kept) Get(ctx context.Context, s agentkeys.Service, d provision.Drawer) (secret.Value, error) {
	v, err := k.Drawer(ctx, s, local.Drawer(d))
	return v, absent(err)
}

func (k kept) Drop(ctx context.Context, s agentkeys.Service, d provision.Drawer) error {
	return absent(k.RemoveDrawer(ctx, s, local.Drawer(d)))
}

func absent(err error) error {
	if e, ok := err.(*control.Error); ok && e.Code == control.CodeNotFound {
		return provision.ErrEmpty
	}
	return err
}

func (k kept) Record(ctx context.Context, e provision.Entry) error {
	return k.RecordProvision(ctx, local.ProvisionEvent{
		Service: e.Service, Op: e.Op, Run: e.Run, Door: string(e.Door), Subject: e.Subject, Decision: e.Decision, Reason: e.Reason,
	})
}

func (k kept) Address(ctx context.Context, s agentkeys.Service) (string, error) {
	a, err := k.MailAddress(ctx, control.MailAddressRequest{Service: s})
	return a.Address, err
}

func (k kept) Came(context.Context, string) ([]agentkeys.MessageID, error) { return nil, nil }

func (k kept) Wait(ctx context.Context, w provision.MailWait) (recipe.Mail, error) {
	defer k.w.begin(inMail)()
	found, err := k.WaitMail(ctx, local.MailWait{
		Service: w.Service, Address: w.Address, Known: w.Known, Timeout: int64(w.Timeout / time.Second), Reveal: true,
	}, func(control.MailSeen) {})
	k.w.mu.Lock()
	k.w.came = time.Now()
	k.w.mu.Unlock()
	return recipe.Mail{ID: found.ID, Link: secret.FromString(found.Link), Code: secret.FromString(found.Code)}, err
}

// used is the processor time of this process, in ms.
func used() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

// descendants is the processor time that the processes below this one have
// used, in ms: the browser's, while it runs.
func descendants() (sum float64) {
	const tick = 10 // ms
	parents, times := map[int]int{}, map[int]float64{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		text := string(data)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 15 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		parents[pid], _ = strconv.Atoi(fields[1])
		for _, v := range fields[11:15] { // its own, and those of children that have ended
			n, _ := strconv.ParseFloat(v, 64)
			times[pid] += n * tick
		}
	}
	for pid := range parents {
		for p := parents[pid]; p > 1; p = parents[p] {
			if p == os.Getpid() {
				sum += times[pid]
				break
			}
		}
	}
	return sum
}
