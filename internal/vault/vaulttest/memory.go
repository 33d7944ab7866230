// Package vaulttest owns the exam that every vault.Blobs takes, stores in
// memory that pass it, and a way to make any store fail at a chosen step. It
// is for tests only, and depends on vault and the standard library.
package vaulttest

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/litentry/agentkeys/internal/vault"
)

// Memory is a vault.Blobs without a disk. The zero value is ready.
type Memory struct {
	mu      sync.Mutex
	objects map[vault.Key]object
	serial  int
}

type object struct {
	data []byte
	v    vault.Version
}

// Get implements vault.Blobs.
func (m *Memory) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	if err := begin(ctx, k); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[k]
	switch {
	case !ok:
		return nil, "", vault.ErrNotFound
	case len(o.data) > vault.MaxBlob:
		return nil, o.v, vault.ErrSize
	}
	return bytes.Clone(o.data), o.v, nil
}

// Put implements vault.Blobs.
func (m *Memory) Put(ctx context.Context, k vault.Key, data []byte, c vault.Condition) (vault.Version, error) {
	if err := begin(ctx, k); err != nil {
		return "", err
	}
	create, v, err := c.Match()
	if err != nil {
		return "", err
	}
	if len(data) > vault.MaxBlob {
		return "", vault.ErrSize
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o, ok := m.objects[k]; ok == create || ok && o.v != v {
		return "", vault.ErrConflict
	}
	return m.set(k, data), nil
}

// Set puts any object there, whatever was and whatever size, as the operator
// of a store could. nil removes it.
func (m *Memory) Set(k vault.Key, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if data == nil {
		delete(m.objects, k)
		return
	}
	m.set(k, data)
}

func (m *Memory) set(k vault.Key, data []byte) vault.Version {
	if m.objects == nil {
		m.objects = map[vault.Key]object{}
	}
	m.serial++
	v := vault.Version(strconv.Itoa(m.serial))
	m.objects[k] = object{append([]byte{}, data...), v}
	return v
}

// Delete implements vault.Blobs.
func (m *Memory) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if err := begin(ctx, k); err != nil {
		return err
	}
	if v == "" {
		return vault.ErrInvalid
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[k]
	switch {
	case !ok:
		return vault.ErrNotFound
	case o.v != v:
		return vault.ErrConflict
	}
	delete(m.objects, k)
	return nil
}

// List implements vault.Blobs.
func (m *Memory) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (vault.Page, error) {
	if err := ctx.Err(); err != nil {
		return vault.Page{}, err
	}
	if err := p.Check(after, limit); err != nil {
		return vault.Page{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var page vault.Page
	for k, o := range m.objects {
		if k.Wallet() == p.Wallet() && k.String() > after.String() {
			page.Items = append(page.Items, vault.Item{Key: k, Size: int64(len(o.data))})
		}
	}
	slices.SortFunc(page.Items, func(a, b vault.Item) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	if len(page.Items) > limit {
		page.Items, page.More = page.Items[:limit], true
	}
	return page, nil
}

func begin(ctx context.Context, k vault.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.IsZero() {
		return vault.ErrInvalid
	}
	return nil
}

// MemoryMarks is a vault.Marks without a disk. The zero value is ready.
type MemoryMarks struct {
	mu    sync.Mutex
	marks map[vault.Key]vault.Mark
}

// Get implements vault.Marks.
func (m *MemoryMarks) Get(ctx context.Context, k vault.Key) (vault.Mark, error) {
	return m.Raise(ctx, k, vault.Mark{})
}

// Raise implements vault.Marks.
func (m *MemoryMarks) Raise(ctx context.Context, k vault.Key, r vault.Mark) (vault.Mark, error) {
	if err := begin(ctx, k); err != nil {
		return vault.Mark{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil {
		m.marks = map[vault.Key]vault.Mark{}
	}
	m.marks[k] = m.marks[k].Merge(r)
	return m.marks[k], nil
}
