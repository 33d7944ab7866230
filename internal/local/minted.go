package local

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
)

// MintedState is what has become of a key that was made at a service. One that
// is gone is not remembered.
type MintedState string

// The states there are.
const (
	MintedMaking   MintedState = "minting"  // asked for: nobody knows whether it is there
	MintedLive     MintedState = "live"     // it is there, and wanted
	MintedDeleting MintedState = "deleting" // it is to be deleted at the service
	// MintedUnknown is that of a key whose file cannot be read: nothing is done
	// about it, and it may be alive.
	MintedUnknown MintedState = "unknown"
)

// MintedKey is what is remembered of a key until it is gone at the service. It
// is on disk before the service is asked for the key.
type MintedKey struct {
	Name    string            `json:"name"` // by which the service lists it
	ID      string            `json:"id,omitempty"`
	Service agentkeys.Service `json:"service,omitzero"`
	Agent   agentkeys.Agent   `json:"agent,omitzero"` // zero: the master's own
	// Grant is what it was made for: a grant's id, ownGrant for the master's own,
	// "" if that is not settled yet.
	Grant string      `json:"grant,omitempty"`
	State MintedState `json:"state"`
	// At is the management API that made it, and the account or project there.
	// Another one could only say that it knows no such key.
	At      string       `json:"at"`
	Created time.Time    `json:"created"`
	Limit   grant.Money  `json:"limit_nusd,omitempty"` // what the service itself enforces
	Per     grant.Window `json:"per,omitempty"`
	Expires time.Time    `json:"expires,omitzero"` // likewise

	NotBefore time.Time `json:"not_before,omitzero"` // of a deletion
	Tries     int       `json:"tries,omitempty"`     // at deleting it
	Next      time.Time `json:"next,omitzero"`       // when that is tried again
	Error     string    `json:"error,omitempty"`     // why it was not done
}

const ownGrant = "own"

// minted is the memory of keys made at services. Each is a file of its own.
type minted struct {
	dir     string
	reaping sync.Mutex // one look at all of them at a time
	wake    chan struct{}
	turning sync.Mutex // one rotation of a service's key at a time

	unread []MintedKey // whose files could not be read when this process began

	mu   sync.Mutex
	keys map[string]MintedKey
	held map[string]bool // somebody is at work on it
	// seen is with which revision of what is stored a key of the master's own was
	// compared, and found to be that; 0: it is to be compared.
	seen   map[string]uint64
	looked time.Time            // when those revisions were looked at
	later  map[string]time.Time // when one is compared again that could not be
}

// openMinted reads what an earlier process has left. A file that cannot be read
// stays where it is: it stands for a key that may be alive.
func (h *Host) openMinted() error {
	m := &h.minted
	m.dir, m.wake = h.paths.Minted(), make(chan struct{}, 1)
	m.keys, m.held, m.seen = map[string]MintedKey{}, map[string]bool{}, map[string]uint64{}
	m.later = map[string]time.Time{}
	if err := durable.MkdirAll(m.dir); err != nil {
		return err
	}
	if err := durable.Sweep(m.dir); err != nil {
		return err
	}
	files, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		data, err := os.ReadFile(filepath.Join(m.dir, f.Name()))
		if err != nil {
			return err
		}
		var k MintedKey
		if json.Unmarshal(data, &k) != nil || k.Name != name || k.Service.IsZero() || k.State == "" {
			path := filepath.Join(m.dir, f.Name())
			h.log.Error("the memory of a minted key cannot be read: the key may be alive at the service", "path", path)
			m.unread = append(m.unread, MintedKey{Name: name, State: MintedUnknown, Error: path + " cannot be read"})
			continue
		}
		m.keys[name] = k
	}
	return nil
}

func (m *minted) file(name string) string { return filepath.Join(m.dir, name+".json") }

// put keeps k, durably.
func (m *minted) put(k MintedKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.write(k)
}

// write is put for who holds mu.
func (m *minted) write(k MintedKey) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(m.file(k.Name), append(data, '\n')); err != nil {
		return err
	}
	m.keys[k.Name] = k
	return nil
}

// update changes what is kept, also where it cannot be written: the next process
// then comes to the same by itself.
func (m *minted) update(name string, change func(*MintedKey)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[name]
	if !ok {
		return nil
	}
	change(&k)
	err := m.write(k)
	m.keys[name] = k
	return err
}

// drop forgets a key that is gone.
func (m *minted) drop(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := durable.Remove(m.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(m.keys, name)
	delete(m.seen, name)
	delete(m.later, name)
	return nil
}

// putOff reports whether a key is not to be compared yet.
func (m *minted) putOff(name string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ahead(now, m.later[name], lookEvery)
}

// saw notes that a key was found to be the revision that is stored.
func (m *minted) saw(name string, revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen[name] = revision
}

// hold keeps others from working on a key; false if somebody does.
func (m *minted) hold(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[name] {
		return false
	}
	m.held[name] = true
	return true
}

func (m *minted) release(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, name)
}

func (m *minted) get(name string) (MintedKey, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[name]
	return k, ok
}

// where returns the keys that want says yes to, oldest first.
func (m *minted) where(want func(MintedKey) bool) []MintedKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []MintedKey{}
	for _, k := range m.keys {
		if want(k) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b MintedKey) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// of is what was made for one agent, or for the master if that is zero.
func (m *minted) of(a agentkeys.Agent, svc agentkeys.Service) []MintedKey {
	return m.where(func(k MintedKey) bool { return k.Agent == a && k.Service == svc && k.State == MintedLive })
}

// poke has the keys looked at now.
func (m *minted) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
