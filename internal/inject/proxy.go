package inject

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// Options are the settings of a Proxy. Their zero values but Hosts' are
// usable.
type Options struct {
	// Hosts are the names of the listener; none answers nobody.
	Hosts Hosts
	// Logger gets a line for what went wrong. nil: nobody does.
	Logger *slog.Logger
	// MaxRequestBody bounds what one request may send, in bytes. 0: 256 MiB.
	MaxRequestBody int64
	// MaxUnderWay bounds the requests served at the same time, and with them
	// memory: some 64 KiB each. 0: 2048.
	MaxUnderWay int64
	// Stall is how long an agent may neither send what it has announced nor
	// read what is sent to it. 0: a minute.
	Stall time.Duration
}

// Proxy is the injecting reverse proxy.
type Proxy struct {
	backend  Backend
	hosts    Hosts
	log      *slog.Logger
	maxBody  int64
	maxBusy  int64
	stall    time.Duration
	lending  *lending
	busy     *atomic.Int64
	prefix   string // of request ids: random, so that no two processes make the same
	sequence *atomic.Uint64
}

// New makes a Proxy.
func New(b Backend, o Options) *Proxy {
	p := &Proxy{
		backend: b, hosts: o.Hosts, log: o.Logger, maxBody: o.MaxRequestBody, maxBusy: o.MaxUnderWay, stall: o.Stall,
		lending: newLending(), busy: new(atomic.Int64), sequence: new(atomic.Uint64),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.maxBody <= 0 {
		p.maxBody = 256 << 20
	}
	if p.maxBusy <= 0 {
		p.maxBusy = 2048
	}
	if p.stall <= 0 {
		p.stall = time.Minute
	}
	var b8 [8]byte
	_, _ = rand.Read(b8[:]) // never fails
	p.prefix = hex.EncodeToString(b8[:]) + "-"
	return p
}

// For returns a Proxy for another listener, which shares everything but its
// names with p.
func (p *Proxy) For(h Hosts) *Proxy {
	q := *p
	q.hosts = h
	return &q
}

// Forget clears what was worked out from a credential: at once, or with the
// end of the last request that uses it. It is called before v is cleared.
func (p *Proxy) Forget(v secret.Value) { p.lending.forget(v) }

// ForgetAll is Forget for every credential.
func (p *Proxy) ForgetAll() { p.lending.forgetAll() }

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := p.newExchange(w, r)
	pb := x.serve()
	switch {
	case x.aborted || pb != nil && x.headed:
		// The agent must not take what it has got for a whole answer.
		panic(http.ErrAbortHandler)
	case pb != nil:
		// The server's own deadline for writing may have passed by now, and it
		// has none for the rest of the body, which it reads before it answers.
		x.sink.extend()
		if r.ContentLength != 0 {
			_ = x.sink.conn.SetReadDeadline(time.Now().Add(p.stall / 2))
		}
		pb.request = x.id
		pb.render(w)
		if p.log.Enabled(r.Context(), slog.LevelInfo) {
			p.log.LogAttrs(r.Context(), slog.LevelInfo, "refused", slog.String("code", string(pb.code)), slog.String("request", x.id))
		}
	}
}
