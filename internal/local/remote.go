package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/grant"
)

// remote is what a Host does about what it hears of a broker.
type remote struct {
	mirror sync.Mutex // the book is made to agree with the directory by one at a time
	wake   chan struct{}

	mu     sync.Mutex
	gone   []*grant.Grant // to be recorded
	silent bool           // that it is so is on record
}

// openRemote waits for the first word of the broker. Without it nothing would
// be known of the grants whose use the log counts.
func (h *Host) openRemote(r *Remote) error {
	h.rem.wake = make(chan struct{}, 1)
	if err := r.Stream.Fresh(context.Background()); err != nil {
		return err
	}
	var err error
	if h.book, err = book.Open(h.paths.Broker(), h.wallet, mirrored{changes{h.audit, h}}); err != nil {
		return err
	}
	h.dir = recorded{r.Dir, r.Changes, changes{h.audit, h}, h.wallet, h.mirror}
	return h.mirror()
}

// remoteMaxAge is how long an opened credential is kept at most where another
// machine may replace it: its owner, on another device.
const remoteMaxAge = time.Minute

// watchRemote begins to hear the broker; the daemon is there.
func (h *Host) watchRemote() {
	h.opts.Remote.Stream.Watch(func(c Change) {
		for _, g := range c.Gone {
			if h.dir.Grant(g.Agent, g.Svc) == nil {
				h.daemon.Revoked(g.Wallet, g.Svc)
			} else {
				h.daemon.Forget(g.Wallet, g.Svc) // sealed anew
			}
		}
		h.rem.mu.Lock()
		h.rem.gone = append(h.rem.gone, c.Gone...)
		h.rem.mu.Unlock()
		if len(c.Gone) > 0 || c.Agents {
			select {
			case h.rem.wake <- struct{}{}:
			default:
			}
		}
	})
}

// followRemote writes down what was heard, until ctx ends.
func (h *Host) followRemote(ctx context.Context, left unfinished) {
	h.follow() // also what came between openRemote and watchRemote
	if h.manage() == nil {
		h.mend(ctx, left)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rem.wake:
			h.follow()
		}
	}
}

// follow does what takes its time about changes that are in force already.
func (h *Host) follow() {
	h.rem.mu.Lock()
	gone := h.rem.gone
	h.rem.gone = nil
	h.rem.mu.Unlock()
	if len(gone) > 0 {
		h.daemon.Decided()
	}
	for _, g := range gone {
		h.ledger.Drop(g.ID)
		h.doubt(g.Agent)
		e := grant.Event{
			Time: h.now().UTC(), Op: "grant.end", Actor: h.wallet, Agent: g.Agent, Svc: g.Svc, Grant: g.ID,
			Decision: grant.Done, Reason: "told by the broker",
		}
		if err := h.audit.Note(e); err != nil {
			h.log.Error("the end of a grant was not recorded", "err", err)
		}
	}
	if err := h.mirror(); err != nil {
		h.log.Error("the agents of the broker are not all known here", "err", err)
	}
}

// mirror makes the book know the agents that the broker has: placeholders are
// the book's, and end with their agent, also where another was made since under
// its label, which has the same wallet.
func (h *Host) mirror() error {
	h.rem.mirror.Lock()
	defer h.rem.mirror.Unlock()
	ctx := context.Background()
	var errs []error
	for _, old := range h.book.Agents() {
		if a, ok := h.dir.Agent(old.Label); ok && a.Wallet == old.Wallet && a.Created.Equal(old.Created) {
			continue
		}
		if _, err := h.book.RemoveAgent(ctx, old.Label, h.now()); err != nil {
			errs = append(errs, err)
		}
		if h.daemon != nil {
			h.daemon.CloseAgent(old.Label)
		}
	}
	for _, a := range h.dir.Agents() {
		if _, known := h.book.Agent(a.Label); known {
			continue
		}
		a, err := h.book.CreateAgent(ctx, a.Label, a.Wallet, a.Created)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if h.daemon != nil {
			h.listenAgent(a)
		}
	}
	return errors.Join(errs...)
}

// mirrored is the log as a book that only mirrors records to it: agents come
// and go at the broker, and who makes or removes one here records that itself.
type mirrored struct{ changes }

// Record implements grant.Recorder.
func (m mirrored) Record(ctx context.Context, e grant.Event) error {
	if e.Op == "agent.create" || e.Op == "agent.remove" {
		return nil
	}
	return m.changes.Record(ctx, e)
}

// fresh is asked before anything is lent. The log says once that the broker
// fell silent, and once that it is heard again.
func (h *Host) fresh(ctx context.Context) error {
	err := h.opts.Remote.Stream.Fresh(ctx)
	if err != nil && ctx.Err() != nil {
		return err // the caller went: that says nothing of the broker
	}
	h.rem.mu.Lock()
	changed := h.rem.silent != (err != nil)
	h.rem.silent = err != nil
	h.rem.mu.Unlock()
	if !changed {
		return err
	}
	e := grant.Event{Time: h.now().UTC(), Op: "broker.heard", Actor: h.wallet, Decision: grant.Done}
	if err != nil {
		e.Op, e.Decision, e.Reason = "broker.silent", grant.Denied, string(daemon.CodeUnreachable)
	}
	if nerr := h.audit.Note(e); nerr != nil {
		h.log.Error("the state of the broker was not recorded", "err", nerr)
	}
	return err
}

// leftCopy reports whether an agent has a copy without a grant: what is left by
// a revocation that was interrupted after the broker had acknowledged it.
func (h *Host) leftCopy(ctx context.Context, a book.Agent, svc agentkeys.Service) bool {
	has, err := h.hasCopy(ctx, a.Wallet, svc)
	return err == nil && has
}
