package sites

import (
	"fmt"
	"slices"
	"time"
)

// Key is a key that a Site gave out, without its secret.
type Key struct {
	ID, Name, Account, Masked string
	Live                      bool
}

type key struct {
	Key
	secret digest
	made   time.Time
}

// Keys returns every key there ever was, oldest first.
func (s *Site) Keys() (list []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		list = append(list, k.Key)
	}
	return list
}

// KeyLabel returns the ID of a live key, "" for anything else. It fits
// testsrv.Options.Keyring.
func (s *Site) KeyLabel(secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Live && k.secret == digestOf(secret) {
			return k.ID
		}
	}
	return ""
}

// Kill has a key count no more, as the site's owner would.
func (s *Site) Kill(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.ID == id {
			k.Live = false
		}
	}
}

// make makes a key, whose secret is nowhere but in what it returns.
func (s *Site) make(account, name string) (secret string, k Key) {
	secret = s.plan.newKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	made := &key{Key: Key{
		ID: fmt.Sprintf("key-%d", len(s.keys)+1), Name: name, Account: account, Live: true,
		Masked: secret[:min(12, len(secret)/3)] + "..." + secret[len(secret)-4:],
	}, secret: digestOf(secret), made: s.opts.Now()}
	s.keys = append(s.keys, made)
	return secret, made.Key
}

// keysOf returns the live keys of an account, newest first.
func (s *Site) keysOf(account string) (list []Key) {
	for _, k := range s.Keys() {
		if k.Live && k.Account == account {
			list = append(list, k)
		}
	}
	slices.Reverse(list)
	return list
}

// remove deletes a key of an account, and reports whether there was one.
func (s *Site) remove(account, id string) bool {
	if !slices.ContainsFunc(s.keysOf(account), func(k Key) bool { return k.ID == id }) {
		return false
	}
	s.Kill(id)
	return true
}
