package brokerclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/strictjson"
)

const (
	// silence is how long a stream may say nothing: beats come every 300 ms.
	silence = time.Second
	// firstWord is how long the snapshot may take.
	firstWord = 10 * time.Second

	minPause = 100 * time.Millisecond
	maxPause = 10 * time.Second
)

// Stream keeps a Directory true until it is closed.
type Stream struct {
	*Directory
	c      *Client
	kicked chan struct{}
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Events begins to follow the broker.
func (c *Client) Events() *Stream {
	ctx, stop := context.WithCancel(context.Background())
	s := &Stream{c: c, kicked: make(chan struct{}, 1), stop: stop}
	s.Directory = newDirectory(c.o.Now, func() {
		select {
		case s.kicked <- struct{}{}:
		default:
		}
	})
	s.done.Go(func() { s.run(ctx) })
	return s
}

// Close ends the stream. The Directory stays as it is, and becomes stale.
func (s *Stream) Close() {
	s.stop()
	s.done.Wait()
}

// run connects again and again: at once after a stream that lived, later and
// later after failures, and at once when somebody waits.
func (s *Stream) run(ctx context.Context) {
	pause := minPause
	for {
		lived, err := s.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrEnded), errors.Is(err, ErrDeviceOut):
			s.end(err)
			s.c.o.Log.Warn("the broker has ended the login of this device", "err", err)
			return
		}
		s.lost(err)
		if lived {
			pause = minPause
		}
		s.c.o.Log.Info("the broker's stream ended; connecting again", "err", err)
		if !s.rest(ctx, pause) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// rest waits for up to pause, at random so that not all come back at once after
// an outage. Who waits for a beat cuts it short, but for the least of it.
func (s *Stream) rest(ctx context.Context, pause time.Duration) bool {
	select { // an old kick is none
	case <-s.kicked:
	default:
	}
	least := time.NewTimer(minPause/2 + rand.N(minPause/2))
	defer least.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-least.C:
	}
	if pause <= minPause {
		return true
	}
	more := time.NewTimer(pause/2 + rand.N(pause/2))
	defer more.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-more.C:
	case <-s.kicked:
	}
	return true
}

// follow reads one connection to its end. lived says that it had a word.
func (s *Stream) follow(ctx context.Context) (lived bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	last := s.now()
	watchdog := time.AfterFunc(firstWord, func() { cancel(errSilent) })
	defer watchdog.Stop()
	body, asked, err := s.c.events(ctx)
	if err != nil {
		return false, cause(ctx, err)
	}
	defer body.Close()
	in := newEvents(body)
	path := transit{asked: asked}
	for first := true; ; first = false {
		ev, err := in.next()
		if err != nil {
			return !first, cause(ctx, err)
		}
		now := s.now()
		if first && ev.name != brokerapi.EventSnapshot && ev.name != brokerapi.EventEnded {
			return false, fmt.Errorf("%w: the stream does not begin with a snapshot", ErrAnswer)
		}
		if !first && since(last, now) > silence {
			return true, errSilent // the watchdog slept as well
		}
		last = now
		watchdog.Reset(silence)
		if ev.name == brokerapi.EventBeat {
			err = s.hear(ev, &path, now)
		} else {
			err = s.take(ev, &path)
		}
		if err != nil {
			return !first, err
		}
	}
}

// transit is how long the beats of one connection take, by two clocks of which
// nobody knows how they differ. What counts is by how much one beat takes
// longer than the fastest, and, for what all are held up by, that the snapshot
// was made after it was asked for.
type transit struct {
	asked time.Time // when the snapshot was asked for, by this machine's clock
	from  time.Time // when it was made, by the broker's

	known bool
	least time.Duration
}

// asOf is a beat's own time by this machine's clock, or before: how long it was
// held up on the way, in a buffer or through a laptop's sleep, does not make it
// younger.
func (t *transit) asOf(at, now time.Time) time.Time {
	took := now.Round(0).Sub(at) // the wall clock: the other stands still in a sleep
	if !t.known || took < t.least {
		t.known, t.least = true, took
	}
	asOf := now.Add(t.least - took)
	if least := t.asked.Add(at.Sub(t.from)); least.Before(asOf) {
		return least
	}
	return asOf
}

// hear takes a beat. One that comes too late to be of use is the end of the
// connection: those behind it would be late as well, and another begins with
// how things are.
func (s *Stream) hear(ev event, path *transit, now time.Time) error {
	var b brokerapi.Beat
	if err := parse(ev, &b); err != nil {
		return err
	}
	if b.At.IsZero() {
		return fmt.Errorf("%w: a beat without its time", ErrAnswer)
	}
	asOf := path.asOf(b.At, now)
	if since(asOf, now) > freshFor {
		return errSilent
	}
	s.beaten(asOf)
	return nil
}

var errSilent = fmt.Errorf("%w: its stream fell silent", ErrUnreachable)

func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it closed the stream", ErrUnreachable)
	}
	return err
}

// take makes of an event what it says. Unknown ones are of a later date.
func (s *Stream) take(ev event, path *transit) error {
	switch ev.name {
	case brokerapi.EventSnapshot:
		var snap brokerapi.Snapshot
		if err := parse(ev, &snap); err != nil {
			return err
		}
		if snap.At.IsZero() {
			return fmt.Errorf("%w: a snapshot without its time", ErrAnswer)
		}
		for i := range snap.Grants {
			if snap.Grants[i].Validate() != nil {
				return fmt.Errorf("%w: a grant that makes no sense", ErrAnswer)
			}
		}
		if path.from.IsZero() { // another one was asked for by nobody
			path.from = snap.At
		}
		s.snapshot(snap, path.asked)
	case brokerapi.EventGrant:
		g := new(grant.Grant)
		if err := parse(ev, g); err != nil {
			return err
		}
		if g.Validate() != nil {
			return fmt.Errorf("%w: a grant that makes no sense", ErrAnswer)
		}
		s.put(g)
	case brokerapi.EventRevoked:
		var r brokerapi.Revoked
		if err := parse(ev, &r); err != nil {
			return err
		}
		s.revoked(r)
	case brokerapi.EventAgents:
		var all []brokerapi.Agent
		if err := parse(ev, &all); err != nil {
			return err
		}
		s.change(func() Change { return Change{Agents: s.setAgents(all)} })
	case brokerapi.EventEnded:
		return ErrEnded
	}
	return nil
}

func parse(ev event, v any) error {
	if json.Unmarshal(ev.data, v) != nil || strictjson.Unique(ev.data) != nil {
		return fmt.Errorf("%w: a malformed %s event", ErrAnswer, ev.name)
	}
	return nil
}

// events opens a stream. asked is before the request was sent.
func (c *Client) events(ctx context.Context) (body io.ReadCloser, asked time.Time, err error) {
	// Not before there is a connection, which may take its time.
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { asked = c.o.Now() }}
	for again := false; ; again = true {
		sess, err := c.Session(ctx)
		if err != nil {
			return nil, asked, err
		}
		req, err := c.prepare(ctx, request{method: http.MethodGet, path: brokerapi.PathEvents}, sess.Token)
		if err != nil {
			return nil, asked, err
		}
		req.Header.Set("Accept", "text/event-stream, application/problem+json")
		asked = c.o.Now()
		resp, err := c.stream.Do(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
		if err != nil {
			return nil, asked, unreachable(ctx, err)
		}
		t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if resp.StatusCode == http.StatusOK && t == "text/event-stream" {
			return resp.Body, asked, nil
		}
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		_ = resp.Body.Close()
		err = refusal(resp, data)
		if err == nil {
			err = fmt.Errorf("%w: status %d without a stream", ErrAnswer, resp.StatusCode)
		}
		if p, ok := errors.AsType[*brokerapi.Problem](err); ok && p.Code == brokerapi.CodeToken && !again {
			c.drop(sess.Token)
			continue
		}
		return nil, asked, err
	}
}
