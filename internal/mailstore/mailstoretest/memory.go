package mailstoretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Memory is a Store, and a Watcher, without a disk. The zero value is ready.
// It copies a message by reference, as no message ever changes.
type Memory struct {
	mu       sync.Mutex
	objects  map[string]object
	serial   int
	watchers map[chan struct{}]agentkeys.Wallet
	reads    int
	fetched  int64
}

var _ interface {
	Store
	mailstore.Watcher
} = (*Memory)(nil)

type object struct {
	data []byte
	v    mailstore.Version
	at   time.Time
}

// InMemory is the World of a Memory.
func InMemory(*testing.T) World {
	m := new(Memory)
	return World{
		Store:   m,
		Objects: func(testing.TB) map[string][]byte { return m.Objects() },
		Plant:   func(_ testing.TB, key string, data []byte) { m.Plant(key, data) },
	}
}

// Objects returns all there is, by key. Nobody may write to it.
func (m *Memory) Objects() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]byte{}
	for key, o := range m.objects {
		all[key] = o.data
	}
	return all
}

// Plant stores data, which nobody may change from now on, under any key.
func (m *Memory) Plant(key string, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, data)
}

// Clear removes everything whose key begins with prefix.
func (m *Memory) Clear(prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.objects, func(key string, _ object) bool { return strings.HasPrefix(key, prefix) })
}

// Reads returns how many reads there were, and of how many bytes.
func (m *Memory) Reads() (n int, fetched int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads, m.fetched
}

func (m *Memory) set(key string, data []byte) {
	if m.objects == nil {
		m.objects = map[string]object{}
	}
	m.serial++
	m.objects[key] = object{data, mailstore.Version(strconv.Itoa(m.serial)), time.Now()}
}

// at returns a message of inbound/, which must be at v unless that is "".
func (m *Memory) at(id agentkeys.MessageID, v mailstore.Version) (object, error) {
	o, ok := m.objects[arrivedAt(id)]
	switch {
	case !ok:
		return object{}, mailstore.ErrGone
	case v != "" && o.v != v:
		return object{}, mailstore.ErrChanged
	}
	return o, nil
}

func (m *Memory) copy(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, key string, w agentkeys.Wallet) (bool, error) {
	if v == "" {
		return false, mailstore.ErrInvalid
	}
	if err := begin(ctx, id); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.at(id, v)
	if err != nil {
		return false, err
	}
	if _, ok := m.objects[key]; ok {
		return false, nil
	}
	m.set(key, o.data)
	for c, of := range m.watchers {
		if of == w {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
	return true, nil
}

// Read implements mailstore.Arrived.
func (m *Memory) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	if off < 0 || n < 1 {
		return mailstore.Part{}, mailstore.ErrInvalid
	}
	if err := begin(ctx, id); err != nil {
		return mailstore.Part{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, err := m.at(id, v)
	if err != nil {
		return mailstore.Part{}, err
	}
	size := int64(len(o.data))
	off = min(off, size)
	n = min(n, size-off)
	m.reads++
	m.fetched += n
	return mailstore.Part{Data: bytes.Clone(o.data[off : off+n]), Size: size, Version: o.v}, nil
}

// Place implements mailstore.Arrived.
func (m *Memory) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (bool, error) {
	if w.IsZero() {
		return false, mailstore.ErrInvalid
	}
	return m.copy(ctx, id, v, placedAt(w, id), w)
}

// Refuse implements mailstore.Arrived.
func (m *Memory) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (bool, error) {
	if !mailstore.ValidReason(reason) {
		return false, mailstore.ErrInvalid
	}
	return m.copy(ctx, id, v, refusedAt(reason, id), agentkeys.Wallet{})
}

// Remove implements mailstore.Arrived.
func (m *Memory) Remove(ctx context.Context, id agentkeys.MessageID) error {
	if err := begin(ctx, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, arrivedAt(id))
	return nil
}

// Write implements mailstore.Spool.
func (m *Memory) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	if size < 0 {
		return mailstore.ErrInvalid
	}
	if err := begin(ctx, id); err != nil {
		return err
	}
	if size > mailstore.MaxMessage {
		return mailstore.ErrTooLarge
	}
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(data)) != size {
		err = errors.New("the message is not as long as was said")
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[arrivedAt(id)]; ok {
		return mailstore.ErrExists
	}
	m.set(arrivedAt(id), data)
	return nil
}

// Waiting implements mailstore.Spool.
func (m *Memory) Waiting(ctx context.Context, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	return m.list(ctx, "inbound/", after, limit)
}

// List implements mailstore.Inbox.
func (m *Memory) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	if w.IsZero() {
		return mailstore.Page{}, mailstore.ErrInvalid
	}
	return m.list(ctx, "bots/"+w.String()+"/inbound/", after, limit)
}

func (m *Memory) list(ctx context.Context, prefix string, after agentkeys.MessageID, limit int) (page mailstore.Page, err error) {
	if limit < 1 || limit > mailstore.MaxPage {
		return page, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return page, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.objects)) {
		name, ok := strings.CutPrefix(key, prefix)
		id, err := agentkeys.ParseMessageID(name)
		if !ok || err != nil || name <= after.String() {
			continue
		}
		if len(page.Items) == limit {
			page.More = true
			break
		}
		o := m.objects[key]
		page.Items = append(page.Items, mailstore.Item{ID: id, Size: int64(len(o.data)), At: o.at})
	}
	return page, nil
}

// Fetch implements mailstore.Inbox.
func (m *Memory) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if w.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	if err := begin(ctx, id); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[placedAt(w, id)]
	switch {
	case !ok:
		return nil, mailstore.ErrGone
	case int64(len(o.data)) > limit:
		return nil, mailstore.ErrTooLarge
	}
	return bytes.Clone(o.data), nil
}

// Watch implements mailstore.Watcher.
func (m *Memory) Watch(ctx context.Context, w agentkeys.Wallet) (<-chan struct{}, error) {
	if w.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watchers == nil {
		m.watchers = map[chan struct{}]agentkeys.Wallet{}
	}
	m.watchers[c] = w
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
		close(c)
	})
	return c, nil
}

func begin(ctx context.Context, id agentkeys.MessageID) error {
	if id.IsZero() {
		return mailstore.ErrInvalid
	}
	return ctx.Err()
}
