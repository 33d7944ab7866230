package sites

import (
	"context"
	"net/http"
	"strings"
	"sync"
)

// Held is a request that a Site has got and does not answer: the moment at
// which a test kills who sent it.
type Held struct {
	method, path string
	done         bool
	arrived      chan struct{}
	released     chan struct{}
	arrive, let  sync.Once
}

// Hold has the next request for "METHOD /path" wait: before anything is done
// for it, or, with done, when everything is and only the answer is missing.
func (s *Site) Hold(request string, done bool) *Held {
	method, path, _ := strings.Cut(request, " ")
	h := &Held{method: method, path: path, done: done, arrived: make(chan struct{}), released: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = append(s.holds, h)
	return h
}

// Arrived is closed when the request is there.
func (h *Held) Arrived() <-chan struct{} { return h.arrived }

// Release has the request go on, and later ones pass.
func (h *Held) Release() { h.let.Do(func() { close(h.released) }) }

// wait also ends with the request, whose sender was killed.
func (h *Held) wait(ctx context.Context) {
	h.arrive.Do(func() { close(h.arrived) })
	select {
	case <-h.released:
	case <-ctx.Done():
	}
}

// held returns what holds a request at this point, nil for nothing. Each holds
// one request.
func (s *Site) held(r *http.Request, done bool) *Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.holds {
		if h.done == done && h.method == r.Method && h.path == r.URL.Path {
			s.holds = append(s.holds[:i:i], s.holds[i+1:]...)
			return h
		}
	}
	return nil
}
