package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/sesmail"
)

const (
	// together is how many items are worked on at once. They wait for the store
	// nearly all the time.
	together = 16
	// leave is what is left of an invocation's time to say how it ended; of a
	// short one a fifth. Half of it is for items to end by themselves, which
	// know better than anybody how far they came.
	leave = 2 * time.Second
)

// handler is the function.
type handler struct {
	bucket string
	handle func(context.Context, mailrouter.Event) (mailrouter.Entry, error)
	log    *journal
	now    func() time.Time
}

// answer is what a queue is told: which of its messages are to come again.
type answer struct {
	BatchItemFailures []failure `json:"batchItemFailures"`
}

type failure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// errAgain fails an invocation whose event can only fail as a whole.
var errAgain = errors.New("to be tried again")

// result is what became of an item.
type result struct {
	n     int
	entry mailrouter.Entry
	err   error
}

// Invoke implements lambda.Handler. A queue is answered with the messages that
// failed; any other event fails with an error if one of its items did, and is
// then brought again as a whole, which harms none that was done.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	b, err := sesmail.Parse(payload, h.bucket)
	if err != nil {
		h.log.write(line{Time: h.now().UTC(), Op: opError, Error: err.Error()})
		h.log.metrics(h.now(), tally{Failed: 1})
		return nil, err
	}
	end := ctx
	if deadline, ok := ctx.Deadline(); ok {
		rest := min(leave, deadline.Sub(h.now())/5)
		var cancel, cancelEnd context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-rest))
		defer cancel()
		end, cancelEnd = context.WithDeadline(end, deadline.Add(-rest/2))
		defer cancelEnd()
	}
	errs, t := h.all(ctx, end, b.Items)
	h.log.metrics(h.now(), t)
	if !b.Queued {
		return h.whole(errs)
	}
	a := answer{BatchItemFailures: []failure{}}
	told := map[string]bool{}
	for n, err := range errs {
		if m := b.Items[n].Message; err != nil && !told[m] {
			told[m] = true
			a.BatchItemFailures = append(a.BatchItemFailures, failure{m})
		}
	}
	return json.Marshal(a)
}

func (h *handler) whole(errs []error) ([]byte, error) {
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	if failed > 0 {
		return nil, fmt.Errorf("%d of %d items: %w", failed, len(errs), errAgain)
	}
	return []byte("null"), nil
}

// all works on items, which are to end with ctx, and waits for none beyond end.
// An error means that an item is to come again.
func (h *handler) all(ctx, end context.Context, items []sesmail.Item) ([]error, tally) {
	errs := make([]error, len(items))
	var t tally
	results := make(chan result, len(items)) // nobody is held up when nobody listens any more
	places := make(chan struct{}, together)
	pending := map[int]bool{}
	settle := func(r result) {
		delete(pending, r.n)
		errs[r.n] = r.err
		t.add(r)
		if r.err != nil {
			h.log.write(line{Time: h.now().UTC(), Op: opError, ID: items[r.n].ID.String(), Message: items[r.n].Message, Error: r.err.Error()})
		}
	}
	for n, i := range items {
		switch {
		case i.Err != nil:
			settle(result{n: n, err: i.Err})
			continue
		case i.Skip != "":
			t.Ignored++
			h.log.write(line{Time: h.now().UTC(), Op: opSkip, Message: i.Message, Reason: i.Skip})
			continue
		}
		pending[n] = true
		go func() {
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				results <- result{n: n, err: fmt.Errorf("not begun: %w", ctx.Err())}
				return
			}
			e, err := h.one(ctx, mailrouter.Event{ID: i.ID, Recipients: i.Recipients})
			<-places
			results <- result{n, e, err}
		}()
	}
	for len(pending) > 0 {
		select {
		case r := <-results:
			settle(r)
			continue
		default:
		}
		select {
		case r := <-results:
			settle(r)
		case <-end.Done():
			for n := range pending {
				settle(result{n: n, err: fmt.Errorf("no time left: %w", errAgain)})
			}
		}
	}
	return errs, t
}

// one is one item. What panics over one message may do well with another, and
// the process goes on.
func (h *handler) one(ctx context.Context, ev mailrouter.Event) (e mailrouter.Entry, err error) {
	defer func() {
		if p := recover(); p != nil {
			text := "" // what else one panics with may have mail in it
			if re, ok := p.(runtime.Error); ok {
				text = re.Error()
			}
			h.log.write(line{Time: h.now().UTC(), Op: opPanic, ID: ev.ID.String(), Error: text + "\n" + string(debug.Stack())})
			err = fmt.Errorf("a panic: %w", errAgain)
		}
	}()
	return h.handle(ctx, ev)
}
