package chrome

import (
	"context"
	"fmt"
	"sync"

	"github.com/chromedp/cdproto"
	jsonv2 "github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// conn carries the commands and events of all sessions. Events are handled one
// after another, in the order in which the browser sent them.
type conn struct {
	tr   chromedp.Transport
	done chan struct{} // closed when the browser is gone

	mu      sync.Mutex
	next    int64
	waiting map[int64]chan *cdproto.Message
	queue   []func()
	wake    chan struct{}
}

// handler handles an event. It may send, but not wait for an answer.
type handler func(s session, method string, params jsonv2.Value)

func newConn(tr chromedp.Transport) *conn {
	return &conn{tr: tr, done: make(chan struct{}), waiting: map[int64]chan *cdproto.Message{}, wake: make(chan struct{}, 1)}
}

// serve reads until the browser is gone.
func (c *conn) serve(h handler) {
	go func() {
		for {
			select {
			case <-c.wake:
			case <-c.done:
				return
			}
			for {
				c.mu.Lock()
				queue := c.queue
				c.queue = nil
				c.mu.Unlock()
				if len(queue) == 0 {
					break
				}
				for _, f := range queue {
					f()
				}
			}
		}
	}()
	go func() {
		defer close(c.done)
		for {
			m := new(cdproto.Message)
			if err := c.tr.Read(context.Background(), m); err != nil {
				return
			}
			if m.ID == 0 {
				c.later(func() { h(session{c: c, id: m.SessionID}, string(m.Method), m.Params) })
				continue
			}
			c.mu.Lock()
			ch := c.waiting[m.ID]
			delete(c.waiting, m.ID)
			c.mu.Unlock()
			if ch != nil {
				ch <- m
			}
		}
	}()
}

// later queues f behind the events that have come.
func (c *conn) later(f func()) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// settle waits until the events that have come are handled.
func (c *conn) settle(ctx context.Context) error {
	handled := make(chan struct{})
	c.later(func() { close(handled) })
	select {
	case <-handled:
		return nil
	case <-c.done:
		return recipe.ErrGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) close() { _ = c.tr.Close() }

// session is one target's part of a connection, the browser's own without id.
type session struct {
	c  *conn
	id target.SessionID
}

// send sends a command. The channel gets its answer, unless the browser goes.
func (s session) send(method string, params any) (<-chan *cdproto.Message, int64, error) {
	buf, err := jsonv2.Marshal(params, chromedp.DefaultMarshalOptions)
	if err != nil {
		// An encoder's error quotes what it was given.
		return nil, 0, fmt.Errorf("encoding %s", method)
	}
	ch := make(chan *cdproto.Message, 1)
	s.c.mu.Lock()
	s.c.next++
	id := s.c.next
	s.c.waiting[id] = ch
	s.c.mu.Unlock()
	err = s.c.tr.Write(context.Background(), &cdproto.Message{ID: id, SessionID: s.id, Method: cdproto.MethodType(method), Params: buf})
	clear(buf)
	if err != nil {
		s.drop(id)
		return nil, 0, recipe.ErrGone
	}
	return ch, id, nil
}

func (s session) drop(id int64) {
	s.c.mu.Lock()
	delete(s.c.waiting, id)
	s.c.mu.Unlock()
}

// tell sends a command whose answer nobody wants.
func (s session) tell(method string, params any) {
	_, id, err := s.send(method, params)
	if err == nil {
		s.drop(id)
	}
}

// Call implements cdp.Session. A browser that is gone is recipe.ErrGone.
func (s session) Call(ctx context.Context, method string, params, result any) error {
	raw, err := s.raw(ctx, method, params)
	if err != nil || result == nil {
		return err
	}
	err = jsonv2.Unmarshal(raw, result, chromedp.DefaultUnmarshalOptions)
	clear(raw)
	if err != nil {
		return fmt.Errorf("answer of %s is malformed", method)
	}
	return nil
}

// raw returns the answer as it came.
func (s session) raw(ctx context.Context, method string, params any) (jsonv2.Value, error) {
	ch, id, err := s.send(method, params)
	if err != nil {
		return nil, err
	}
	select {
	case m := <-ch:
		if m.Error != nil {
			return nil, &refusal{method: method, code: m.Error.Code}
		}
		return m.Result, nil
	case <-s.c.done:
		return nil, recipe.ErrGone
	case <-ctx.Done():
		s.drop(id)
		return nil, ctx.Err()
	}
}

// Subscribe implements cdp.Session; events go to the handler of the connection.
func (s session) Subscribe(string) (<-chan jsonv2.Value, func()) {
	none := make(chan jsonv2.Value)
	close(none)
	return none, func() {}
}

// refusal is what the browser answers instead of a result. Its text may quote
// the page, and is left out.
type refusal struct {
	method string
	code   int64
}

func (r *refusal) Error() string { return fmt.Sprintf("the browser refuses %s (%d)", r.method, r.code) }

// decode reads an event.
func decode[E any](params jsonv2.Value) (E, bool) {
	var e E
	err := jsonv2.Unmarshal(params, &e, chromedp.DefaultUnmarshalOptions)
	return e, err == nil
}
