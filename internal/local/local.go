// Package local owns the process that keeps and lends for one user: directory,
// vault, audit log and daemon, joined. On a laptop all of it is on this machine;
// with a Remote, roots, store and directory are a broker's, and the same code
// joins them. What it does is what the owner may ask for over the control
// socket. It is the only package that joins those that decide with those that
// can decrypt, and must not depend on cmd, provision or chrome, nor on what
// speaks to a broker.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/dirblob"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrRunning says that another process serves the same state already.
var ErrRunning = errors.New("already running")

// ErrPort says that the loopback port cannot be had.
var ErrPort = errors.New("loopback port is taken")

// ErrLogShort says that the audit log, or its end, is gone.
var ErrLogShort = errors.New("the audit log is shorter than it was")

// DefaultPort is tried first when no port is remembered yet.
const DefaultPort = 7461

// Options are what a Host needs.
type Options struct {
	Paths   Paths
	Roots   signer.Roots // the Host owns them from then on; none with a Remote
	Remote  *Remote      // nil: everything is on this machine
	Port    int          // of the loopback listener; 0: the remembered one
	Sockets string       // directory of the agents' sockets; "": the one of Paths
	Idle    time.Duration
	Mail    MailSettings // without a Remote
	// KeyGrace is how long a key that was made at a service lives on there when
	// another has taken its place; 0: a few minutes.
	KeyGrace time.Duration
	Log      *slog.Logger
	Now      func() time.Time
	Version  string
}

// Host serves everything of one user. Its methods are safe for concurrent use.
type Host struct {
	opts    Options
	paths   Paths
	log     *slog.Logger
	now     func() time.Time
	started time.Time
	harden  daemon.Hardening

	signer  *signer.Signer   // nil with a Remote
	wallet  agentkeys.Wallet // whose credentials these are, and who acts
	audit   *audit.Log
	logKey  *audit.Key
	ledger  *grant.Ledger
	decider *grant.Decider
	book    *book.Book // placeholders, and on a laptop the directory
	dir     directory
	rem     remote
	keys    vault.KeySource
	vault   *vault.Vault
	cat     *services
	routes  *daemon.Routes
	daemon  *daemon.Daemon
	runs    *daemon.Runs
	addr    net.Addr
	mail    post
	fed     federation

	// change serialises what touches more than one store: storing, lending,
	// revoking. What revokes does so before it waits for it.
	change   sync.Mutex
	rotating sync.Mutex
	doubts   doubts
	minted   minted

	closers []func(context.Context) error
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// Open starts serving the state below o.Paths: it recovers the log, replays
// what the ledger's snapshot misses, and listens on loopback and the agents'
// sockets. On an error everything it had started is stopped again.
func Open(o Options) (_ *Host, err error) {
	h := &Host{opts: o, paths: o.Paths, log: o.Log, now: o.Now, started: o.Now(), harden: daemon.Harden()}
	defer func() {
		if err != nil {
			_ = h.Close(context.Background())
		}
	}()
	if err := h.prepare(); err != nil {
		return nil, err
	}
	if err := h.openLog(); err != nil {
		return nil, err
	}
	h.ledger = grant.NewLedger()
	h.decider = grant.NewDecider(h.ledger, h.audit)
	if err := h.openDirectory(); err != nil {
		return nil, err
	}
	left, err := h.openLedger()
	if err != nil {
		return nil, err
	}
	if err := h.openVault(); err != nil {
		return nil, err
	}
	if h.cat, err = openServices(h.paths); err != nil {
		return nil, err
	}
	if err := h.openMinted(); err != nil {
		return nil, err
	}
	h.routes = daemon.NewRoutes(h.cat.entry)
	h.onClose(func(context.Context) error { h.routes.Close(); return nil })
	if err := h.listen(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	if err := h.openMail(ctx); err != nil {
		return nil, err
	}
	if o.Remote == nil {
		h.mend(ctx, left)
	} else {
		h.wg.Go(func() { h.followRemote(ctx, left) })
	}
	h.wg.Go(func() { h.snapshots(ctx) })
	h.wg.Go(func() { h.sweeps(ctx) })
	h.wg.Go(func() { h.reaps(ctx) })
	return h, h.audit.Record(context.Background(), grant.Event{
		Time: h.now(), Op: "daemon.start", Actor: h.wallet, Decision: grant.Done, Subject: "agentkeys " + o.Version,
	})
}

func (h *Host) onClose(f func(context.Context) error) { h.closers = append(h.closers, f) }

func (h *Host) prepare() error {
	p := h.paths
	for _, dir := range []string{p.Config, p.Data, p.State, p.Run} {
		if err := durable.MkdirAll(dir); err != nil {
			return err
		}
		// A directory that somebody made beforehand with their umask.
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	unlock, err := durable.Lock(p.Lock())
	if errors.Is(err, durable.ErrLocked) {
		return ErrRunning
	}
	if err != nil {
		return err
	}
	h.onClose(func(context.Context) error {
		_ = os.Remove(p.Run) // only if empty; it may be below /tmp
		unlock()
		return nil
	})
	if err := durable.MkdirAll(p.own()); err != nil {
		return err
	}
	if err := durable.Sweep(p.own()); err != nil {
		return err
	}
	if r := h.opts.Remote; r != nil {
		h.wallet, h.keys = r.Wallet, r.Keys
		return nil
	}
	h.signer = signer.New(h.opts.Roots)
	h.keys = h.signer
	h.wallet, err = h.signer.Wallet(h.signer.Account(), signer.MasterPath())
	return err
}

func (h *Host) logSeed() (secret.Value, error) {
	if r := h.opts.Remote; r != nil {
		return r.LogSeed, nil
	}
	return h.signer.LogSeed()
}

func (h *Host) openDirectory() (err error) {
	if r := h.opts.Remote; r != nil {
		return h.openRemote(r)
	}
	h.book, err = book.Open(h.paths.Broker(), h.wallet, changes{h.audit, h})
	h.dir = laptop{h.book, h.signer}
	return err
}

func (h *Host) openLog() error {
	seed, err := h.logSeed()
	if err != nil {
		return err
	}
	defer seed.Clear()
	if h.logKey, err = audit.NewKey("agentkeys/"+h.wallet.String(), seed); err != nil {
		return err
	}
	// For `audit verify`, which has no roots. Whoever doubts the disk brings
	// the key from elsewhere.
	if err := durable.WriteFile(h.paths.LogKey(), []byte(h.logKey.VerifierKey()+"\n")); err != nil {
		return err
	}
	h.audit, err = audit.Open(h.paths.AuditLog(), audit.Options{Signer: h.logKey, Verifier: h.logKey.Verifier(), Now: h.now})
	if err != nil {
		return err
	}
	h.onClose(func(context.Context) error { return h.audit.Close() })
	return nil
}

// ledgerFile is the snapshot of the ledger as of the first Size log entries.
type ledgerFile struct {
	Size     int64                    `json:"size"`
	Accounts map[string]grant.Account `json:"accounts"`
}

// openLedger restores the snapshot and replays the log from there. Without a
// readable snapshot it replays from the first entry: slower, never wrong.
func (h *Host) openLedger() (unfinished, error) {
	var snap ledgerFile
	data, err := os.ReadFile(h.paths.Ledger())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if json.Unmarshal(data, &snap) == nil && snap.Size > h.audit.Size() {
			// Budgets have been counted by entries that are gone.
			return nil, fmt.Errorf("%w: it has %d entries, and %d of it were counted before", ErrLogShort, h.audit.Size(), snap.Size)
		}
		if err := json.Unmarshal(data, &snap); err != nil || snap.Size < 0 {
			h.log.Warn("ledger snapshot unusable, replaying the whole log", "path", h.paths.Ledger())
			snap = ledgerFile{}
		}
	}
	h.ledger.Restore(snap.Accounts)
	grants := map[string]*grant.Grant{}
	for _, g := range h.dir.Grants() {
		grants[g.ID] = g
	}
	left := unfinished{}
	err = h.audit.Replay(snap.Size, func(e audit.Entry) error {
		left.replay(e)
		if g := grants[e.Event.Grant]; g != nil {
			h.ledger.Replay(g, e.Event)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.ledger.CloseOpen()
	h.onClose(func(context.Context) error { return h.saveLedger() })
	return left, nil
}

func (h *Host) saveLedger() error {
	// The size first: what is recorded in between is replayed on top.
	snap := ledgerFile{Size: h.audit.Size()}
	all := h.ledger.Snapshot()
	snap.Accounts = make(map[string]grant.Account, len(all))
	for _, g := range h.dir.Grants() {
		if a, ok := all[g.ID]; ok {
			snap.Accounts[g.ID] = a
		}
	}
	data, err := json.Marshal(snap)
	if err != nil {
		return err
	}
	return durable.WriteFile(h.paths.Ledger(), data)
}

// snapshots bounds how much a restart replays.
func (h *Host) snapshots(ctx context.Context) {
	const every = 30 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := h.audit.Size()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		size := h.audit.Size()
		// What a change under way has begun must be behind the snapshot, for
		// mend to see it.
		if size == last || !h.change.TryLock() {
			continue
		}
		err := h.saveLedger()
		h.change.Unlock()
		if err != nil {
			h.log.Error("ledger snapshot not saved", "err", err)
			continue
		}
		last = size
	}
}

func (h *Host) openVault() error {
	blobs, err := h.blobs()
	if err != nil {
		return err
	}
	marks, err := dirblob.OpenMarks(h.paths.Marks())
	if err != nil {
		return err
	}
	h.vault = vault.New(blobs, h.keys, marks)
	return nil
}

func (h *Host) blobs() (vault.Blobs, error) {
	if r := h.opts.Remote; r != nil {
		return r.Blobs, nil
	}
	return dirblob.Open(h.paths.Store())
}

func (h *Host) listen() error {
	h.runs = daemon.OpenRuns(h.paths.Runs())
	h.onClose(func(context.Context) error { h.runs.Close(); return nil })
	o := daemon.Options{
		Directory: lookup{callers{h.book}, h.dir}, Decider: h.decider, Vault: federated{h}, Routes: h.routes, Runs: h.runs,
		SocketDir: h.opts.Sockets, Idle: h.opts.Idle, Log: h.log, Now: h.now,
	}
	if o.SocketDir == "" {
		o.SocketDir = h.paths.AgentSockets()
	}
	if h.opts.Remote != nil {
		o.Fresh, o.MaxAge = h.fresh, remoteMaxAge
	}
	h.daemon = daemon.New(o)
	h.onClose(h.daemon.Close)
	if h.opts.Remote != nil {
		h.watchRemote() // before anything is lent
	}
	port, remembered, err := h.port()
	if err != nil {
		return err
	}
	h.addr, err = h.daemon.ListenLoopback(port)
	if err != nil && !remembered {
		// Nobody has been told a port yet, so any will do.
		h.addr, err = h.daemon.ListenLoopback(0)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPort, err)
	}
	port = h.addr.(*net.TCPAddr).Port
	if err := durable.WriteFile(h.paths.Port(), []byte(strconv.Itoa(port)+"\n")); err != nil {
		return err
	}
	for _, a := range h.dir.Agents() {
		h.listenAgent(a)
	}
	return nil
}

// port returns the port to listen on and whether agents may know it already.
func (h *Host) port() (port int, remembered bool, err error) {
	if h.opts.Port != 0 {
		return h.opts.Port, true, nil
	}
	data, err := os.ReadFile(h.paths.Port())
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultPort, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	port, err = strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || port < 1 || port > 65535 {
		return DefaultPort, false, nil
	}
	return port, true, nil
}

func (h *Host) listenAgent(a book.Agent) {
	if err := h.daemon.ListenAgent(inject.Caller{Agent: a.Label, Wallet: a.Wallet}); err != nil {
		h.log.Warn("agent has no socket, only loopback", "agent", a.Label.String(), "err", err)
	}
}

// Close stops serving: first the listeners, then snapshots, then the log.
// Requests under way have as long as ctx lasts.
func (h *Host) Close(ctx context.Context) error {
	if h.stop != nil {
		h.stop()
		h.wg.Wait()
		_ = h.audit.Note(grant.Event{Time: h.now(), Op: "daemon.stop", Actor: h.wallet, Decision: grant.Done})
	}
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i](ctx))
	}
	h.closers = nil
	h.opts.Roots.Clear()
	if r := h.opts.Remote; r != nil {
		r.LogSeed.Clear()
	}
	return errors.Join(errs...)
}

// changes is the log as the broker records to it. A change is done only when no
// decision that rests on how things were before can still come behind it: the
// log has no use of a grant behind its revocation.
type changes struct {
	*audit.Log
	h *Host
}

// Record implements grant.Recorder.
func (c changes) Record(ctx context.Context, e grant.Event) error {
	if e.Decision == grant.Done && c.h.daemon != nil {
		c.h.daemon.Decided()
	}
	return c.Log.Record(ctx, e)
}

// lookup is what the daemon asks, and callers the half of it that is about
// placeholders.
type lookup struct {
	callers
	dir Directory
}

type callers struct{ book *book.Book }

// CallerByToken implements daemon.Directory.
func (c callers) CallerByToken(presented string, now time.Time) (inject.Caller, bool) {
	a, ok := c.book.AgentByToken(presented, now)
	return inject.Caller{Agent: a.Label, Wallet: a.Wallet}, ok
}

// Grant implements daemon.Directory.
func (l lookup) Grant(a agentkeys.Agent, s agentkeys.Service) *grant.Grant { return l.dir.Grant(a, s) }
