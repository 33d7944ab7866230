package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/durable"
)

// ErrConfig says that a file of the user's configuration is unusable.
var ErrConfig = errors.New("unusable configuration file")

// services is the catalogue as this user sees it: the embedded entries, those
// the user added, and the user's settings on top of both.
type services struct {
	paths Paths

	mu       sync.RWMutex
	added    map[agentkeys.Service]*catalog.Entry
	settings map[agentkeys.Service]catalog.Settings
	merged   map[agentkeys.Service]*catalog.Entry // entries already looked up
}

// openServices reads the user's files and makes the directory they live in.
func openServices(p Paths) (*services, error) {
	if err := durable.MkdirAll(p.Services()); err != nil {
		return nil, err
	}
	if err := durable.Sweep(p.Services()); err != nil {
		return nil, err
	}
	return readServices(p)
}

// readServices reads the user's files and changes nothing.
func readServices(p Paths) (*services, error) {
	s := &services{
		paths:    p,
		added:    map[agentkeys.Service]*catalog.Entry{},
		settings: map[agentkeys.Service]catalog.Settings{},
		merged:   map[agentkeys.Service]*catalog.Entry{},
	}
	files, err := os.ReadDir(p.Services())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range files {
		id, isYAML := strings.CutSuffix(f.Name(), ".yaml")
		if !isYAML {
			continue
		}
		path := filepath.Join(p.Services(), f.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		e, err := catalog.Parse(path, data)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if e.ID.String() != id {
			return nil, fmt.Errorf("%w: %s describes the service %s", ErrConfig, path, e.ID)
		}
		s.added[e.ID] = e
	}
	data, err := os.ReadFile(p.Settings())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	var raw map[agentkeys.Service]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, p.Settings(), err)
	}
	for id, text := range raw {
		if s.settings[id], err = catalog.ParseSettings(text); err != nil {
			return nil, fmt.Errorf("%w: %s: %s: %w", ErrConfig, p.Settings(), id, err)
		}
	}
	return s, nil
}

// entry returns a service as it is in force.
func (s *services) entry(id agentkeys.Service) (*catalog.Entry, error) {
	s.mu.RLock()
	e := s.merged[id]
	s.mu.RUnlock()
	if e != nil {
		return e, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current(id)
}

// current is entry for who holds mu.
func (s *services) current(id agentkeys.Service) (*catalog.Entry, error) {
	if e := s.merged[id]; e != nil {
		return e, nil
	}
	e, err := s.base(id)
	if err != nil {
		return nil, err
	}
	if set, ok := s.settings[id]; ok {
		if e, err = e.With(set); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrConfig, s.paths.Settings(), err)
		}
	}
	s.merged[id] = e
	return e, nil
}

func (s *services) base(id agentkeys.Service) (*catalog.Entry, error) {
	if e := s.added[id]; e != nil {
		return e, nil
	}
	return catalog.Lookup(id)
}

// consent is asked before a service changes: old is nil if there was none,
// next if there will be none. Its error stops the change.
type consent func(old, next *catalog.Entry) error

// ask asks for consent to what id is about to become.
func (s *services) ask(id agentkeys.Service, next *catalog.Entry, ok consent) error {
	old, err := s.current(id)
	if errors.Is(err, catalog.ErrUnknown) {
		old, err = nil, nil
	}
	if err != nil {
		return err
	}
	return ok(old, next)
}

// add keeps a service file of the user's. It replaces an earlier one of the
// same id, and stands before an embedded one.
func (s *services) add(name string, data []byte, ok consent) (*catalog.Entry, error) {
	e, err := catalog.Parse(name, data)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := e
	if set, has := s.settings[e.ID]; has {
		if next, err = e.With(set); err != nil {
			return nil, err
		}
	}
	if err := s.ask(e.ID, next, ok); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(s.paths.Services(), e.ID.String()+".yaml"), data); err != nil {
		return nil, err
	}
	s.added[e.ID], s.merged[e.ID] = e, next
	return next, nil
}

// remove takes back an added service and the settings of any service.
func (s *services) remove(id agentkeys.Service, ok consent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, added := s.added[id]
	_, set := s.settings[id]
	if !added && !set {
		return fmt.Errorf("%w: %s is as it was shipped", catalog.ErrUnknown, id)
	}
	next, err := catalog.Lookup(id)
	if err != nil && !errors.Is(err, catalog.ErrUnknown) {
		return err
	}
	if err := s.ask(id, next, ok); err != nil {
		return err
	}
	if set {
		next := s.cloneSettings()
		delete(next, id)
		if err := s.save(next); err != nil {
			return err
		}
	}
	if added {
		if err := durable.Remove(filepath.Join(s.paths.Services(), id.String()+".yaml")); err != nil {
			return err
		}
		delete(s.added, id)
	}
	delete(s.merged, id)
	return nil
}

// set replaces the settings of a service by what change makes of them.
func (s *services) set(id agentkeys.Service, change func(*catalog.Settings), ok consent) (*catalog.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.base(id)
	if err != nil {
		return nil, err
	}
	set := s.settings[id]
	change(&set)
	if e, err = e.With(set); err != nil {
		return nil, err
	}
	if err := s.ask(id, e, ok); err != nil {
		return nil, err
	}
	next := s.cloneSettings()
	next[id] = set
	if err := s.save(next); err != nil {
		return nil, err
	}
	s.merged[id] = e
	return e, nil
}

func (s *services) cloneSettings() map[agentkeys.Service]catalog.Settings {
	next := make(map[agentkeys.Service]catalog.Settings, len(s.settings)+1)
	for k, v := range s.settings {
		next[k] = v
	}
	return next
}

func (s *services) save(next map[agentkeys.Service]catalog.Settings) error {
	data, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.WriteFile(s.paths.Settings(), append(data, '\n')); err != nil {
		return err
	}
	s.settings = next
	return nil
}

// ids returns every service there is, in order.
func (s *services) ids() []agentkeys.Service {
	ids := catalog.IDs()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id := range s.added {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b agentkeys.Service) int { return strings.Compare(a.String(), b.String()) })
	return ids
}
