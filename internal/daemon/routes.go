package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// Routes is the table of services as the proxy reaches them, compiled from
// their catalogue entries when they are first asked for.
type Routes struct {
	lookup func(agentkeys.Service) (*catalog.Entry, error)

	mu     sync.RWMutex
	routes map[agentkeys.Service]*inject.Route
	forgot int64 // how often: what was looked up before may be out of date
}

// NewRoutes makes a table over a lookup of entries as their owner has set
// them. Whoever changes an entry calls Forget.
func NewRoutes(lookup func(agentkeys.Service) (*catalog.Entry, error)) *Routes {
	return &Routes{lookup: lookup, routes: map[agentkeys.Service]*inject.Route{}}
}

// Route returns the route of a service, or inject.ErrUnknownService.
func (t *Routes) Route(s agentkeys.Service) (*inject.Route, error) {
	for {
		t.mu.RLock()
		r, forgot := t.routes[s], t.forgot
		t.mu.RUnlock()
		if r != nil {
			return r, nil
		}
		e, err := t.lookup(s)
		if errors.Is(err, catalog.ErrUnknown) {
			return nil, fmt.Errorf("%w: %w", inject.ErrUnknownService, err)
		}
		if err != nil {
			return nil, err
		}
		if r, err = compile(e); err != nil {
			return nil, err
		}
		if r = t.keep(s, r, forgot); r != nil {
			return r, nil
		}
	}
}

// keep puts r into the table unless another is there, and returns which is.
// It returns nil if the entry that r was made of may have changed since.
func (t *Routes) keep(s agentkeys.Service, r *inject.Route, forgot int64) *inject.Route {
	t.mu.Lock()
	defer t.mu.Unlock()
	if first := t.routes[s]; first != nil {
		return first
	}
	if t.forgot != forgot {
		return nil
	}
	t.routes[s] = r
	return r
}

// Forget drops a route, so that the next request compiles it anew. Requests
// under way keep the old one.
func (t *Routes) Forget(s agentkeys.Service) {
	t.mu.Lock()
	r := t.routes[s]
	delete(t.routes, s)
	t.forgot++
	t.mu.Unlock()
	closeIdle(r)
}

// Close closes idle connections.
func (t *Routes) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, r := range t.routes {
		closeIdle(r)
		delete(t.routes, s)
	}
}

func closeIdle(r *inject.Route) {
	if r == nil {
		return
	}
	if c, ok := r.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Check reports what would keep an entry from being a route.
func Check(e *catalog.Entry) error {
	_, err := compile(e)
	return err
}

func compile(e *catalog.Entry) (*inject.Route, error) {
	opts := inject.TransportOptions{Allow: e.Owner.AllowAddresses}
	if e.Owner.CAPEM != "" {
		opts.Roots = x509.NewCertPool()
		if !opts.Roots.AppendCertsFromPEM([]byte(e.Owner.CAPEM)) {
			return nil, fmt.Errorf("%s: the CA file holds no certificate", e.ID)
		}
	}
	r := &inject.Route{
		Service: e.ID, Base: e.Base, Constant: http.Header{}, Merged: http.Header{},
		StripHeaders: e.Strip.Headers, StripQuery: e.Strip.Query,
		Policy: e.Policy(), Transport: inject.NewTransport(opts), Exchanged: e.Owner.Federation != nil,
	}
	for _, p := range e.Inject {
		r.Place = append(r.Place, inject.Placement{Header: p.Header, Prefix: p.Prefix, Query: p.Query})
	}
	for _, h := range e.Headers {
		switch {
		case h.Merge:
			r.Merged.Add(h.Name, h.Value)
			continue
		case !h.IfAbsent:
			r.StripHeaders = append(r.StripHeaders, h.Name)
		}
		r.Constant.Add(h.Name, h.Value)
	}
	if e.Usage.Pricing != catalog.PricingUnknown {
		r.Meter = func() inject.Meter { return &meter{entry: e} }
	}
	return r, r.Validate()
}

// meter reads the cost of one answer by its service's own rules.
type meter struct {
	entry *catalog.Entry
	usage catalog.Usage
	found bool
}

func (m *meter) Feed(doc []byte) {
	// The model may stand in another event than the counts.
	u, ok := m.entry.Usage.FromJSON(doc)
	m.usage.Merge(u)
	m.found = m.found || ok
}

func (m *meter) Result() (grant.Money, bool) {
	switch {
	case m.entry.Usage.Pricing == catalog.PricingNone:
		return 0, true
	case !m.found:
		return 0, false
	}
	return m.entry.Price(m.usage)
}
