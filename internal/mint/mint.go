// Package mint owns how a management key makes, finds and deletes keys at a
// service: the requests and the answers of six management APIs. What they are
// for, and what is remembered of them, is the caller's. It must not depend on
// vault, local or anything that stores.
//
// Laws:
//   - No error quotes a body, a URL with a value in it, or a key.
//   - A call asks at most what is needed, in a bounded time, and reads a bounded
//     answer. It follows no redirect.
//   - What was deleted before is deleted: Revoke says nil. A 404 alone does not
//     prove that: where keys can be listed, the list does.
//   - Each outcome of a request that may have made a key is told apart from one
//     that has made none: see Made.
package mint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// The outcomes a caller branches on.
var (
	// ErrRefused: the service knows the request and says no to this management
	// key.
	ErrRefused = errors.New("the service refuses the management key")
	// ErrTemporary: no answer, or one that asks for another try. It is an
	// *Unavailable.
	ErrTemporary = errors.New("the management API cannot be reached now")
	// ErrUnsupported: nobody knows how this is done at the service.
	ErrUnsupported = errors.New("the management API does not offer that")
	// ErrAnswer: an answer that is not what the documentation says.
	ErrAnswer = errors.New("the management API answered something else")
	// ErrSetup: an id is missing that the owner has to set.
	ErrSetup = errors.New("minting is not set up")
)

// Unavailable is ErrTemporary with what is known about when to ask again.
type Unavailable struct {
	Why        string
	RetryAfter time.Duration // 0: not said
}

func (u *Unavailable) Error() string { return ErrTemporary.Error() + ": " + u.Why }

// Is makes it ErrTemporary.
func (u *Unavailable) Is(err error) bool { return err == ErrTemporary }

// Want is the key that is wanted.
type Want struct {
	// Name is what the key can be found by: a-z, 0-9 and -, beginning with a
	// letter, at most MaxName bytes. Nobody uses one twice.
	Name string
	// Limit is a budget in money for each Per, 0 for none.
	Limit   grant.Money
	Per     grant.Window
	Expires time.Time // zero: never
}

// MaxName is the length of the longest name that all services take, in bytes.
const MaxName = 50

// Key is a key that was made.
type Key struct {
	ID     string // by which it is deleted: no secret
	Secret secret.Value
	// Limited and Expiring say what the service itself enforces of what was
	// wanted.
	Limited, Expiring bool

	unlimited, unending bool // the answer does not say that it enforces that
}

// Listed is a key as the service lists it.
type Listed struct{ ID, Name string }

// Caps is what a service can be told about a key.
type Caps struct {
	Windows []grant.Window // of budgets in money
	Expiry  bool
	Delete  bool
	List    bool // a key whose id was lost can be found by its name
}

// Minter speaks to the management API of one service. It is safe for concurrent
// use and keeps no management key.
type Minter struct {
	base   *url.URL
	params map[string]string
	rt     http.RoundTripper
	shape  shape
	wait   func(context.Context, time.Duration) error
}

// shape is one management API.
type shape struct {
	caps   Caps
	check  func(context.Context, *Minter, secret.Value) error
	mint   func(context.Context, *Minter, secret.Value, Want) (Key, error)
	revoke func(context.Context, *Minter, secret.Value, string) (gone bool, err error)
	list   func(context.Context, *Minter, secret.Value) ([]Listed, error)
	header string // of the management key
	prefix string
	needs  []string // parameters
	scope  []string // parameters besides, without which other keys are listed
}

var shapes = map[string]shape{
	"openrouter": openRouter,
	"openai":     openAI,
	"google":     google,
	"xai":        xAI,
	"resend":     resend,
	"elevenlabs": elevenLabs,
}

// New makes a Minter for a service as its owner has set it, over rt.
// ErrUnsupported if no way is known there, ErrSetup if an id is missing.
func New(e *catalog.Entry, rt http.RoundTripper) (*Minter, error) {
	base, err := Address(e)
	if err != nil {
		return nil, err
	}
	s, ok := shapes[e.Minting.Shape]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnsupported, e.ID)
	}
	m := &Minter{base: base, rt: rt, shape: s, params: map[string]string{}, wait: wait}
	if e.Owner.Minting != nil {
		for name, v := range e.Owner.Minting.Parameters {
			m.params[name] = v
		}
	}
	for _, p := range e.Minting.Parameters {
		if p.Required && m.params[p.Name] == "" {
			return nil, fmt.Errorf("%w: %s needs %s", ErrSetup, e.ID, p.Name)
		}
	}
	for _, name := range s.needs {
		if m.params[name] == "" {
			return nil, fmt.Errorf("%w: %s needs %s", ErrSetup, e.ID, name)
		}
		if !segment(m.params[name]) {
			return nil, fmt.Errorf("%w: %s is not an id", ErrSetup, name)
		}
	}
	return m, nil
}

// Place names whose keys this is about: the management API, and the account or
// project there. Keys that were made at another place are not known here, which
// must not be taken for that they are gone.
func (m *Minter) Place() string {
	q := url.Values{}
	for _, name := range slices.Concat(m.shape.needs, m.shape.scope) {
		if v := m.params[name]; v != "" {
			q.Set(name, v)
		}
	}
	if len(q) == 0 {
		return m.base.String()
	}
	return m.base.String() + "?" + q.Encode()
}

// Address is where the management API of a service is. A service whose base URL
// its owner has replaced has none, unless its owner has named that too: keys
// that the live service makes would go to somebody else.
func Address(e *catalog.Entry) (*url.URL, error) {
	if e.Minting == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnsupported, e.ID)
	}
	if o := e.Owner.Minting; e.Owner.BaseURL != "" && (o == nil || o.URL == "") {
		return nil, fmt.Errorf("%w: %s is reached at another URL than the catalogue's, so that of its management API is needed too", ErrSetup, e.ID)
	}
	if u := e.MintingURL(); u != nil && u.Host != "" {
		return u, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, e.ID)
}

// segment reports whether s can stand in a path as it is.
func segment(s string) bool {
	return s != "" && len(s) <= 256 && s != "." && s != ".." &&
		strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:") == ""
}

// name reports whether s can be a Want's name.
func name(s string) bool {
	return s != "" && len(s) <= MaxName && s[0] >= 'a' && s[0] <= 'z' && s[len(s)-1] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Caps says what the service can be told.
func (m *Minter) Caps() Caps {
	c := m.shape.caps
	c.Windows = slices.Clone(c.Windows)
	return c
}

// Mint makes a key. After an error the key may be there all the same, unless
// Made says no: List finds it by its name.
func (m *Minter) Mint(ctx context.Context, management secret.Value, w Want) (Key, error) {
	if !name(w.Name) {
		return Key{}, none{fmt.Errorf("%w: a key's name is 1 to %d of a-z, 0-9 and -", ErrSetup, MaxName)}
	}
	if w.Limit > 0 && !slices.Contains(m.shape.caps.Windows, w.Per) {
		w.Limit = 0
	}
	if !m.shape.caps.Expiry {
		w.Expires = time.Time{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k, err := m.shape.mint(ctx, m, management, w)
	if err != nil {
		k.Secret.Clear()
		return Key{}, err
	}
	k.Limited, k.Expiring = w.Limit > 0 && !k.unlimited, !w.Expires.IsZero() && !k.unending
	return k, nil
}

// none is an error of a request that has made no key.
type none struct{ error }

func (n none) Unwrap() error { return n.error }

// Made reports whether a Mint that ended with err may have made a key.
func Made(err error) bool {
	_, no := errors.AsType[none](err)
	return !no
}

// Revoke deletes a key. One that is gone already is as good.
func (m *Minter) Revoke(ctx context.Context, management secret.Value, id string) error {
	if !m.shape.caps.Delete {
		return ErrUnsupported
	}
	if !segment(id) {
		return fmt.Errorf("%w: that is not the id of a key", ErrAnswer)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	gone, err := m.shape.revoke(ctx, m, management, id)
	if err != nil || !gone || !m.shape.caps.List {
		return err
	}
	// It says that there is no such key, or no such path.
	all, err := m.shape.list(ctx, m, management)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(l Listed) bool { return l.ID == id }) {
		return fmt.Errorf("%w: a key is not deleted and listed still", ErrAnswer)
	}
	return nil
}

// List returns the keys whose names begin with prefix.
func (m *Minter) List(ctx context.Context, management secret.Value, prefix string) ([]Listed, error) {
	if !m.shape.caps.List {
		return nil, ErrUnsupported
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := m.shape.list(ctx, m, management)
	return slices.DeleteFunc(all, func(l Listed) bool { return !strings.HasPrefix(l.Name, prefix) }), err
}

// Check asks the service whether it knows the management key, with the cheapest
// request that only such a key can make.
func (m *Minter) Check(ctx context.Context, management secret.Value) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return m.shape.check(ctx, m, management)
}
