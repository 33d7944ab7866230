// Package daemon owns the agent's side: the loopback listener and the agents'
// sockets, who is at the other end of them, the cache of opened credentials
// and the table of routes. It joins inject to a grant decider and a vault, and
// must not depend on provision or chrome.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// Directory is who the daemon asks about agents and grants.
type Directory interface {
	// CallerByToken returns the agent a presented placeholder speaks for.
	CallerByToken(presented string, now time.Time) (inject.Caller, bool)
	// Grant returns the grant in force, or nil.
	Grant(agentkeys.Agent, agentkeys.Service) *grant.Grant
}

// Options are what a Daemon needs.
type Options struct {
	Directory Directory
	Decider   *grant.Decider
	Vault     Vault
	Routes    *Routes
	Runs      *Runs  // nil: agents' processes are not told apart on sockets
	SocketDir string // for the agents' sockets; made 0700
	Idle      time.Duration
	MaxAge    time.Duration // after which a credential is read anew; 0: never
	// Fresh returns nil if the Directory is known to be what it should be. nil:
	// it always is. It is asked before every loan, and may wait for a while.
	Fresh func(context.Context) error
	Log   *slog.Logger
	Now   func() time.Time
}

// Daemon lends credentials to agents over loopback and Unix sockets.
type Daemon struct {
	opts  Options
	cache *cache
	proxy *inject.Proxy

	// deciding is held, shared, from when a grant is looked up until the
	// decision is on record.
	deciding sync.RWMutex
	underway underway

	mu      sync.Mutex
	servers []*http.Server
	sockets map[agentkeys.Agent]*http.Server
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// DefaultIdle is how long an opened credential stays in memory unused.
const DefaultIdle = 5 * time.Minute

// New makes a Daemon that listens nowhere yet.
func New(o Options) *Daemon {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Daemon{
		opts:    o,
		sockets: map[agentkeys.Agent]*http.Server{},
		stop:    stop,
	}
	d.proxy = inject.New((*backend)(d), inject.Options{Logger: o.Log})
	d.cache = newCache(o.Vault, o.Idle, d.proxy.Forget)
	d.cache.maxAge, d.cache.now = o.MaxAge, o.Now
	d.wg.Go(func() { d.sweep(ctx) })
	return d
}

// sweep evicts idle credentials.
func (d *Daemon) sweep(ctx context.Context) {
	span := d.opts.Idle
	if d.opts.MaxAge > 0 {
		span = min(span, d.opts.MaxAge)
	}
	tick := time.NewTicker(max(span/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.cache.evict(d.opts.Now(), false)
		}
	}
}

// ListenLoopback serves agents that present a token on 127.0.0.1:port; port 0
// takes a free one. It returns the address.
func (d *Daemon) ListenLoopback(port int) (net.Addr, error) {
	ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	hosts, err := inject.LoopbackHosts(ln.Addr())
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	srv := inject.NewServer(d.proxy.For(hosts))
	// Anybody on this machine can connect here, and connections are files: the
	// audit log must not be left without one.
	d.serve(srv, netutil.LimitListener(ln, maxConns()))
	d.mu.Lock()
	d.servers = append(d.servers, srv)
	d.mu.Unlock()
	return ln.Addr(), nil
}

// maxConns is how many connections the loopback listener has open at once: a
// quarter of the files this process may have.
func maxConns() int {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
		return 256
	}
	return int(min(max(lim.Cur/4, 16), 4096))
}

// ListenAgent serves one agent on its own socket, <SocketDir>/<label>.sock:
// whoever the kernel says is this process's own user speaks as that agent
// there. Listening twice is not an error.
func (d *Daemon) ListenAgent(c inject.Caller) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sockets[c.Agent] != nil {
		return nil
	}
	ln, err := ListenUnix(d.SocketPath(c.Agent))
	if err != nil {
		return err
	}
	srv := inject.NewServer(d.proxy.For(inject.SocketHosts()))
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return withCaller(ctx, c, conn, d.opts.Runs)
	}
	d.serve(srv, ln)
	d.sockets[c.Agent] = srv
	return nil
}

// SocketPath is where an agent's socket is.
func (d *Daemon) SocketPath(a agentkeys.Agent) string {
	return filepath.Join(d.opts.SocketDir, a.String()+".sock")
}

// CloseAgent stops serving an agent's socket and cuts its connections.
func (d *Daemon) CloseAgent(a agentkeys.Agent) {
	d.mu.Lock()
	srv := d.sockets[a]
	delete(d.sockets, a)
	d.mu.Unlock()
	if srv != nil {
		_ = srv.Close()
	}
}

func (d *Daemon) serve(srv *http.Server, ln net.Listener) {
	d.wg.Go(func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			d.opts.Log.Error("listener stopped", "addr", ln.Addr().String(), "err", err)
		}
	})
}

// Decided returns when every decision that rests on what the Directory said
// before the call is on record. Whoever has taken a grant back calls it before
// it says so: no use of the grant is then recorded as begun after that.
func (d *Daemon) Decided() {
	d.deciding.Lock()
	//lint:ignore SA2001 who had the lock is done
	d.deciding.Unlock()
}

// Revoked ends every use of a credential that is under way, answers that are
// being streamed included, and drops it from memory. It is called after the
// grant has gone: no use of it begins then.
func (d *Daemon) Revoked(w agentkeys.Wallet, s agentkeys.Service) {
	d.underway.cut(w, s)
	d.cache.remove(w, s)
}

// Forget drops a credential from memory, after it was stored anew or deleted.
// Uses under way go on with the one they have.
func (d *Daemon) Forget(w agentkeys.Wallet, s agentkeys.Service) { d.cache.remove(w, s) }

// Cached is the number of opened credentials in memory.
func (d *Daemon) Cached() int { return d.cache.len() }

// Close stops listening, waits for requests under way as long as ctx lasts,
// then cuts them, and clears the cache.
func (d *Daemon) Close(ctx context.Context) error {
	d.mu.Lock()
	all := slices.Clone(d.servers)
	for _, s := range d.sockets {
		all = append(all, s)
	}
	d.mu.Unlock()
	d.stop()
	var errs []error
	for _, s := range all {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, s.Close())
		}
	}
	d.wg.Wait()
	d.cache.evict(d.opts.Now(), true)
	_ = os.Remove(d.opts.SocketDir) // only if empty
	return errors.Join(errs...)
}
