package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/litentry/agentkeys"
)

// ErrKeyPattern says that what was given does not look like a key of the
// service.
var ErrKeyPattern = errors.New("not a key of this service")

// ErrKeyRefused says that what was given is a key of a kind that must not be
// stored as an ordinary key, because it can do more than use the service.
var ErrKeyRefused = errors.New("a key of a kind that is not stored here")

// Key is what is known about a service's keys.
type Key struct {
	Patterns Fact[[]Pattern]
	// Others says whether there are ordinary keys that match none of Patterns:
	// None or Unknown. Unless it is None, CheckKey lets an unknown shape pass.
	Others State
	// Refuse holds the kinds that CheckKey refuses.
	Refuse      []Pattern
	Placeholder string // what a placeholder starts with, as a key does
	// ShownOnce says that the service shows a key only when it makes it.
	ShownOnce Fact[bool]
	Note      string
}

// Pattern is a regular expression (RE2) for a whole key. It is compiled when
// it is first used.
type Pattern struct {
	Match string // ^…$
	Grade Grade
	// Generic says why the pattern cannot tell this service's keys from
	// others', "" if it can. A generic pattern gives no hints.
	Generic string
	// Reason says why a key of a refused kind is refused.
	Reason string

	compiled func() *regexp.Regexp
}

func newPattern(p Pattern) Pattern {
	p.compiled = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(p.Match) })
	return p
}

func (p Pattern) matches(key []byte) bool { return p.compiled != nil && p.compiled().Match(key) }

func anyMatches(patterns []Pattern, key []byte) (Pattern, bool) {
	for _, p := range patterns {
		if p.matches(key) {
			return p, true
		}
	}
	return Pattern{}, false
}

// marker is what no key has and every placeholder does: whoever finds one in a
// log or a file can tell that it is worthless, and CheckKey refuses to store
// it. No key pattern allows the full stop at that place.
const marker = "agentkeys."

// Placeholder returns what an agent gets in the place of a key: it starts as
// the service's keys do, for the sake of programs that look, and ends in the
// token by which the daemon knows whose it is.
func (e *Entry) Placeholder(token string) string { return e.Key.Placeholder + marker + token }

// maxKey is far above any key there is and below what an envelope can hold.
const maxKey = 16 << 10

// KeyError is why a key was not accepted. It wraps ErrKeyPattern or
// ErrKeyRefused and never holds any part of the key.
type KeyError struct {
	Service agentkeys.Service
	Reason  string
	// Looks is the service whose key it looks like, if it is another one.
	Looks agentkeys.Service
	kind  error
}

func (k *KeyError) Error() string { return fmt.Sprintf("%s: %v: %s", k.Service, k.kind, k.Reason) }

// Unwrap returns ErrKeyPattern or ErrKeyRefused.
func (k *KeyError) Unwrap() error { return k.kind }

// CheckKey reports why key cannot be one of the service's ordinary keys, as
// far as its shape tells. The error is a *KeyError.
func (e *Entry) CheckKey(key []byte) error {
	bad := func(kind error, looks agentkeys.Service, format string, args ...any) error {
		return &KeyError{e.ID, fmt.Sprintf(format, args...), looks, kind}
	}
	var self agentkeys.Service
	switch {
	case len(key) == 0:
		return bad(ErrKeyPattern, self, "it is empty")
	case len(key) > maxKey:
		return bad(ErrKeyPattern, self, "it is longer than %d bytes", maxKey)
	case strings.Contains(string(key), marker):
		return bad(ErrKeyPattern, self, "it is a placeholder of AgentKeys")
	}
	for _, c := range key {
		if c <= ' ' || c >= 0x7f {
			return bad(ErrKeyPattern, self, "it has a space, a control character or a character beyond ASCII")
		}
	}
	if p, ok := anyMatches(e.Key.Refuse, key); ok {
		return bad(ErrKeyRefused, self, "%s", p.Reason)
	}
	if _, ok := anyMatches(e.Key.Patterns.Value, key); ok {
		return nil
	}
	if other := lookalike(e.ID, key); other != nil {
		return bad(ErrKeyPattern, other.ID, "it looks like a key of %s", other.Name)
	}
	if e.Key.Patterns.State == Known && e.Key.Others == None {
		return bad(ErrKeyPattern, self, "%s keys look different", e.Name)
	}
	return nil
}

// lookalike returns the service whose key this is by its shape. It reads the
// whole catalogue, which is for the rare moment when a key is stored.
func lookalike(not agentkeys.Service, key []byte) *Entry {
	all, err := All()
	if err != nil {
		return nil
	}
	for _, e := range all {
		if e.ID == not {
			continue
		}
		for _, list := range [][]Pattern{e.Key.Patterns.Value, e.Key.Refuse} {
			if p, ok := anyMatches(list, key); ok && p.Generic == "" {
				return e
			}
		}
	}
	return nil
}
