// Package catalog owns what is known about each service whose key can be kept:
// where its API is, how a request carries the key, which paths may be lent,
// what a key looks like, how to ask the service whether one is good, and where
// an answer says what it cost. Each service is one YAML file; README.md is the
// reference of the format.
//
// The package is pure: no network, no clock, no file system but the embedded
// one. Nothing is parsed or compiled before it is asked for. It must never
// hold a secret: what it checks it does not keep, and it echoes no input.
//
// A fact that is not known is Unknown, which is neither "no" nor absent, and
// whatever is Unknown denies.
package catalog

import (
	"embed"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/litentry/agentkeys"
)

//go:embed *.yaml
var files embed.FS

// ErrUnknown says that the catalogue has no such service. The message carries
// the nearest name there is, and never the name that was asked for: a person
// may have pasted a key.
var ErrUnknown = errors.New("no such service in the catalogue")

var parsed sync.Map // agentkeys.Service → func() (*Entry, error)

// Lookup returns the entry of a service. It parses that service's file only,
// once. The entry is shared: do not change it.
func Lookup(s agentkeys.Service) (*Entry, error) {
	if f, ok := parsed.Load(s); ok {
		return f.(func() (*Entry, error))()
	}
	name := s.String() + ".yaml"
	data, err := files.ReadFile(name)
	if s.IsZero() || err != nil {
		if near, ok := Nearest(s.String()); ok {
			return nil, fmt.Errorf("%w; did you mean %s?", ErrUnknown, near)
		}
		return nil, ErrUnknown
	}
	f, _ := parsed.LoadOrStore(s, sync.OnceValues(func() (*Entry, error) {
		e, d, _ := parse(name, data)
		if d.err != nil {
			return nil, d.err
		}
		return e, nil
	}))
	return f.(func() (*Entry, error))()
}

// IDs returns every service of the catalogue, sorted. It parses nothing.
func IDs() []agentkeys.Service {
	dir, err := files.ReadDir(".")
	if err != nil {
		return nil // an embedded directory cannot fail
	}
	ids := make([]agentkeys.Service, 0, len(dir))
	for _, f := range dir {
		id, err := agentkeys.ParseService(strings.TrimSuffix(f.Name(), ".yaml"))
		if err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// All returns every entry, sorted by id.
func All() ([]*Entry, error) {
	ids := IDs()
	all := make([]*Entry, 0, len(ids))
	for _, id := range ids {
		e, err := Lookup(id)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
