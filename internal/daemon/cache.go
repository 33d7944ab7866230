package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// Vault is where the cache reads what it does not have.
type Vault interface {
	Load(context.Context, grant.Permit) (envelope.Record, envelope.Header, error)
}

// cache keeps opened credentials for as long as they are in use, and idle ones
// for a while. A credential is cleared from memory when nobody uses it and it
// is idle, forgotten or replaced; a request that is under way keeps its own.
// One that ends is renewed while it is in use: see life.
type cache struct {
	vault  Vault
	idle   time.Duration
	maxAge time.Duration      // 0: none
	forget func(secret.Value) // called before a value is cleared
	now    func() time.Time   // what ends is held against it

	mu      sync.Mutex
	entries map[cacheKey]*entry
	lent    map[grant.Permit]*entry
}

type cacheKey struct {
	wallet agentkeys.Wallet
	svc    agentkeys.Service
}

type entry struct {
	key   cacheKey
	ready chan struct{} // closed when value and err are set
	value secret.Value
	err   error
	refs  int
	made  time.Time
	used  time.Time
	gone  bool // no longer in entries: clear at the last release
	life  life

	of     *entry // which this one is to replace; nil: it was loaded for want of any
	next   *entry // which is being loaded to replace this one
	failed int    // how often that failed
	again  time.Time
}

func newCache(v Vault, idle time.Duration, forget func(secret.Value)) *cache {
	return &cache{
		vault: v, idle: idle, forget: forget, now: time.Now,
		entries: map[cacheKey]*entry{}, lent: map[grant.Permit]*entry{},
	}
}

// get returns the credential a permit is for. The caller releases the permit
// when it has done with the value. Any number of callers cause one load.
func (c *cache) get(ctx context.Context, p grant.Permit, now time.Time) (secret.Value, error) {
	k := cacheKey{p.Wallet(), p.Service()}
	c.mu.Lock()
	e := c.current(ctx, k, p)
	if e == nil {
		e = &entry{key: k, ready: make(chan struct{}), made: now}
		c.entries[k] = e
		// The load outlives a caller that gives up: others may wait for it.
		go c.load(context.WithoutCancel(ctx), e, p)
	}
	e.refs++
	e.used = now
	c.lent[p] = e
	c.mu.Unlock()

	select {
	case <-e.ready:
	case <-ctx.Done():
		c.release(p, now)
		return secret.Value{}, ctx.Err()
	}
	if e.err != nil {
		c.release(p, now)
		return secret.Value{}, e.err
	}
	if e.life.over(c.now()) {
		c.release(p, now)
		return secret.Value{}, errEnded
	}
	return e.value, nil
}

// exchanged reports whether what p was lent is not a stored credential.
func (c *cache) exchanged(p grant.Permit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.lent[p]
	return e != nil && e.life != life{}
}

func (c *cache) load(ctx context.Context, e *entry, p grant.Permit) {
	began := c.now()
	rec, hdr, err := c.vault.Load(ctx, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.value, e.err = rec.Secret, err
	if err == nil && hdr.Revision == 0 && !rec.ExpiresAt.IsZero() {
		e.life = lifeFrom(began, rec.ExpiresAt)
	}
	close(e.ready)
	c.settle(e)
	// Whoever waited may have given up, and the credential been forgotten.
	c.clearUnused(e)
}

// release ends the use that p permitted. A permit not lent is ignored.
func (c *cache) release(p grant.Permit, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.lent[p]
	if e == nil {
		return
	}
	delete(c.lent, p)
	e.refs--
	e.used = now
	c.clearUnused(e)
}

// remove drops a credential, so that the next use reads the vault again.
func (c *cache) remove(w agentkeys.Wallet, s agentkeys.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[cacheKey{w, s}]; e != nil {
		c.drop(e)
	}
}

// evict drops what has been idle since before now-idle or was read before
// now-maxAge, or everything.
func (c *cache) evict(now time.Time, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		// What is not stored, nobody can have replaced elsewhere.
		aged := c.maxAge > 0 && e.life == life{} && now.Sub(e.made) >= c.maxAge
		if all || e.refs == 0 && now.Sub(e.used) >= c.idle || aged || e.next == nil && e.life.over(now) {
			c.drop(e)
		}
	}
}

func (c *cache) drop(e *entry) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	e.gone = true
	c.clearUnused(e)
}

func (c *cache) clearUnused(e *entry) {
	if !e.gone || e.refs > 0 {
		return
	}
	select {
	case <-e.ready:
		c.forget(e.value)
		e.value.Clear()
	default: // still loading: load clears it, or the last to wait for it
	}
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
