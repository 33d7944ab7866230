package token

import (
	"cmp"
	"crypto"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Keys are the public keys of one issuer, by kid. A kid is looked up and
// nothing else: it is never a path or an address.
type Keys interface {
	Key(kid string) (alg Alg, pub crypto.PublicKey, ok bool)
}

// timed are Keys that know until when each may be believed.
type timed interface {
	keyAt(kid string, now time.Time) (alg Alg, pub crypto.PublicKey, ok bool)
}

// Ring is an immutable set of keys. Which of them signs, and which are
// published, follows from the time alone, so that all replicas that have the
// same keys agree without talking to each other.
type Ring struct {
	keys []ringKey // by alg, then SignsFrom, then kid
	kids map[string]int
}

type ringKey struct {
	*key
	until time.Time // the first moment at which it is not published; zero: none yet
}

// NewRing makes a Ring. A key whose successor signs stays published for
// longest and the leeway of verifiers more; longest is at least MasterLife, the
// longest life of any token here.
func NewRing(keys []Key, longest time.Duration) (*Ring, error) {
	if longest < MasterLife {
		return nil, fmt.Errorf("%w: retired keys stay published for %v at least, the longest life of a token", ErrKey, MasterLife)
	}
	r := &Ring{kids: map[string]int{}}
	for _, k := range keys {
		if k.p == nil {
			return nil, fmt.Errorf("%w: none", ErrKey)
		}
		r.keys = append(r.keys, ringKey{key: k.p})
	}
	slices.SortFunc(r.keys, func(a, b ringKey) int {
		return cmp.Or(cmp.Compare(a.alg, b.alg), a.from.Compare(b.from), cmp.Compare(a.kid, b.kid))
	})
	for i := range r.keys {
		k := &r.keys[i]
		if _, ok := r.kids[k.kid]; ok {
			return nil, fmt.Errorf("%w: %s is there twice", ErrKey, k.kid)
		}
		r.kids[k.kid] = i
		if i+1 < len(r.keys) && r.keys[i+1].alg == k.alg {
			k.until = r.keys[i+1].from.Add(longest + Leeway)
		}
	}
	return r, nil
}

func (k *ringKey) published(now time.Time) bool { return k.until.IsZero() || now.Before(k.until) }

// Algs returns the algorithms for which a key signs at now, in order.
func (r *Ring) Algs(now time.Time) []Alg {
	var algs []Alg
	for _, a := range []Alg{ES256, RS256} {
		if r.signing(a, now) != nil {
			algs = append(algs, a)
		}
	}
	return algs
}

// Signing returns the kid of the key that signs at now, or false.
func (r *Ring) Signing(alg Alg, now time.Time) (kid string, ok bool) {
	k := r.signing(alg, now)
	if k == nil {
		return "", false
	}
	return k.kid, true
}

// Published returns the kids of the JWKS at now, in its order.
func (r *Ring) Published(now time.Time) []string {
	var kids []string
	if r == nil {
		return nil
	}
	for i := range r.keys {
		if r.keys[i].published(now) {
			kids = append(kids, r.keys[i].kid)
		}
	}
	return kids
}

// Retired returns the kids that are published no more at now: for each
// algorithm the oldest first.
func (r *Ring) Retired(now time.Time) []string {
	var kids []string
	if r == nil {
		return nil
	}
	for i := range r.keys {
		if !r.keys[i].published(now) {
			kids = append(kids, r.keys[i].kid)
		}
	}
	return kids
}

// signing returns the newest key of alg that has begun to sign. Nothing
// follows it that has begun, so it is published.
func (r *Ring) signing(alg Alg, now time.Time) *key {
	if r == nil {
		return nil
	}
	for i := len(r.keys) - 1; i >= 0; i-- {
		if k := &r.keys[i]; k.alg == alg && !k.from.After(now) {
			if !k.published(now) {
				return nil
			}
			return k.key
		}
	}
	return nil
}

// Key implements Keys: a key that was ever published. A Verifier asks for the
// moment too, and believes only a key that is published then.
func (r *Ring) Key(kid string) (Alg, crypto.PublicKey, bool) {
	if r == nil {
		return "", nil, false
	}
	i, ok := r.kids[kid]
	if !ok {
		return "", nil, false
	}
	return r.keys[i].alg, r.keys[i].pub, true
}

func (r *Ring) keyAt(kid string, now time.Time) (Alg, crypto.PublicKey, bool) {
	alg, pub, ok := r.Key(kid)
	if !ok || !r.keys[r.kids[kid]].published(now) {
		return "", nil, false
	}
	return alg, pub, true
}

// JWKS returns the published keys at now as an RFC 7517 set, the same bytes for
// the same keys and the same moment.
func (r *Ring) JWKS(now time.Time) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	if r != nil {
		for i := range r.keys {
			if k := &r.keys[i]; k.published(now) {
				set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.pub, KeyID: k.kid, Algorithm: string(k.alg), Use: "sig"})
			}
		}
	}
	return json.Marshal(set)
}
