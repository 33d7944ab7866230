// Package chrome drives one tab of a Chromium for the engine of package
// recipe. It owns the process, its profile, its way to the network and what
// the tab may visit. It knows nothing of services, steps or keys, and must not
// depend on catalog, vault or local.
//
// Laws:
//   - Chromium runs with its sandbox, as a user who is not root, over a pipe,
//     with an empty profile that ends with the run.
//   - No document of a host that is not listed comes into the tab itself: the
//     request is stopped before anything is sent, redirects included. Frames
//     may show other hosts, since bot checks do; they are never acted on
//     unless their host is listed.
//   - All traffic goes through a proxy of this package: https alone, and to
//     public addresses or to the one stand-in that was named.
//   - No error and no log line carries text of a page, or more of a URL than
//     its host.
//
// It speaks to the browser by a small connection of its own over chromedp's
// transports: a guard must stand in each new frame and window before its first
// request, and chromedp gives no session to a target that waits to be let go.
package chrome

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// What Launch answers.
var (
	// ErrNoBrowser: there is no Chromium to run.
	ErrNoBrowser = errors.New("there is no Chromium")
	// ErrNoDisplay: a window was wanted where no display is.
	ErrNoDisplay = errors.New("there is no display for a window")
	// ErrSandbox: Chromium cannot run here with its sandbox and without root.
	ErrSandbox = errors.New("the browser cannot run in its sandbox")
	// ErrStart: the browser did not start, or did not answer.
	ErrStart = errors.New("the browser does not start")
	// ErrAttach: the user's browser cannot be reached.
	ErrAttach = errors.New("the running browser cannot be reached")
)

// Options says how a browser is to run. Hosts is needed, and Dir unless Attach
// is set.
type Options struct {
	Path   string // of the browser; "": Find
	Headed bool   // with a window on the user's display
	// Attach is the DevTools address of a browser that runs already, such as
	// http://127.0.0.1:9222, on this machine. A tab is opened there and closed
	// at Close. The guard holds for that one tab. The proxy cannot be used: which
	// addresses that browser dials for it, and where it saves a download that the
	// tab starts, is that browser's own business. New windows of the tab are kept
	// from opening by a script; one that a page opens past it is closed, but may
	// have asked for its first document by then.
	Attach string
	Hosts  []string // that may be visited, in lower case
	// Dial opens connections for the proxy; nil: package netguard's, to public
	// addresses alone.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Site, if valid, stands in for every host of Hosts, and nothing else is
	// reached. CAPEM are the certificates by which it is known; a browser that is
	// attached to must know it by itself, and find it under each of its names.
	Site  netip.AddrPort
	CAPEM []byte
	// Record, if set, gets all that the tab sends and is sent. Replay, if set,
	// answers all that the tab asks for; nothing goes to the network then.
	Record *har.Recorder
	Replay *har.Archive
	Dir    string       // private; profiles live in it
	Log    *slog.Logger // nil: none
}

// errReplay is why nothing is dialled.
var errReplay = errors.New("a recording is played")

// Browser is a browser with one tab.
type Browser struct {
	opts    Options
	log     *slog.Logger
	conn    *conn
	process *process // nil if attached
	profile *profile // nil if attached
	proxy   *proxy   // nil if attached
	root    session  // of the browser
	tab     *tab

	mu    sync.Mutex
	hosts map[string]int // listed, and how often

	closing sync.Once
	closed  error
}

// startTime bounds a start. A cold disk needs seconds.
const startTime = 30 * time.Second

// Launch starts a browser, or attaches to one, and returns when its tab is
// ready and guarded.
func Launch(ctx context.Context, o Options) (*Browser, error) {
	if len(o.Hosts) == 0 {
		return nil, fmt.Errorf("%w: no host is listed", ErrStart)
	}
	b := &Browser{opts: o, log: o.Log, hosts: map[string]int{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	for _, h := range o.Hosts {
		if err := netguard.CheckHost(h); err != nil {
			return nil, fmt.Errorf("%w: host %q: %w", ErrStart, h, err)
		}
		b.hosts[h]++
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	start := b.launch
	if o.Attach != "" {
		start = b.attach
	}
	if err := start(ctx); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Browser) launch(ctx context.Context) error {
	path := b.opts.Path
	if path == "" {
		var err error
		if path, err = Find(); err != nil {
			return err
		}
	}
	if b.opts.Headed {
		if err := display(); err != nil {
			return err
		}
	}
	pins, err := pins(b.opts)
	if err != nil {
		return err
	}
	if b.profile, err = newProfile(b.opts.Dir); err != nil {
		return err
	}
	dial := b.opts.Dial
	if dial == nil {
		dial = netguard.New().DialContext(10 * time.Second)
	}
	site := b.opts.Site
	if b.opts.Replay != nil {
		site, dial = netip.AddrPort{}, func(context.Context, string, string) (net.Conn, error) { return nil, errReplay }
	}
	if b.proxy, err = newProxy(dial, site, b.listed); err != nil {
		return err
	}
	b.process, err = start(path, flags(b.profile.dir, b.proxy.address(), pins, b.opts.Headed), b.profile, b.opts.Headed)
	if err != nil {
		return err
	}
	b.conn = newConn(b.process.pipe)
	b.root = session{c: b.conn}
	b.tab = newTab(b)
	b.conn.serve(b.tab.event)
	if err := b.tab.open(ctx); err != nil {
		return b.process.explain(err)
	}
	return nil
}

// Page returns the tab.
func (b *Browser) Page() recipe.Page { return b.tab }

// Contacted returns the hosts that connections were opened to, sorted; none
// for a browser that was attached to.
func (b *Browser) Contacted() []string {
	if b.proxy == nil {
		return nil
	}
	return b.proxy.contacted()
}

// Reach lists more hosts, while a person is at work in the window, until
// restore is called.
func (b *Browser) Reach(hosts []string) (restore func()) {
	hosts = slices.Clone(hosts)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range hosts {
		b.hosts[h]++
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, h := range hosts {
			b.hosts[h]--
		}
	})
}

// listed reports whether a host may be visited.
func (b *Browser) listed(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hosts[host] > 0
}

// Close ends the browser and removes its profile; in a browser that was
// attached to, it closes the tab alone. It may be called again.
func (b *Browser) Close() error {
	b.closing.Do(func() {
		if b.conn != nil {
			if b.process == nil && b.tab != nil {
				b.tab.close()
			}
			b.conn.close()
		}
		if b.process != nil {
			b.process.kill()
		}
		if b.proxy != nil {
			b.proxy.close()
		}
		if b.profile != nil {
			b.closed = b.profile.remove()
		}
	})
	return b.closed
}
