package dirblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/litentry/agentkeys/internal/vault"
)

// Marks is a vault.Marks over a directory, one small file for each credential:
// <wallet>/<service>.mark. Several goroutines and processes may use one
// directory. It must not lie below the objects it guards: who puts those back
// from a copy should not put the marks back with them.
type Marks struct{ t *tree }

// OpenMarks opens root, making it if need be. It fails with durable.ErrExposed if other
// users have rights on it.
func OpenMarks(root string) (*Marks, error) {
	t, err := openTree(root)
	if err != nil {
		return nil, err
	}
	return &Marks{t}, nil
}

// Get implements vault.Marks.
func (m *Marks) Get(ctx context.Context, k vault.Key) (vault.Mark, error) {
	return m.Raise(ctx, k, vault.Mark{})
}

// Raise implements vault.Marks.
func (m *Marks) Raise(ctx context.Context, k vault.Key, r vault.Mark) (vault.Mark, error) {
	if k.IsZero() {
		return vault.Mark{}, vault.ErrInvalid
	}
	unlock, err := m.t.lock(ctx)
	if err != nil {
		return vault.Mark{}, err
	}
	defer unlock()
	name := k.Wallet().String() + "/" + k.Service().String() + ".mark"
	now, err := m.read(name)
	if err != nil {
		return vault.Mark{}, err
	}
	next := now.Merge(r)
	if next == now {
		return now, nil
	}
	if err := m.t.put(name, []byte(formatMark(next))); err != nil {
		return vault.Mark{}, err
	}
	return next, nil
}

func (m *Marks) read(name string) (vault.Mark, error) {
	b, err := m.t.read(name, 256)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vault.Mark{}, nil
	case errors.Is(err, vault.ErrSize):
		return vault.Mark{}, fmt.Errorf("%w: %s", vault.ErrMark, name)
	case err != nil:
		return vault.Mark{}, err
	}
	mark, err := parseMark(string(b))
	if err != nil {
		return vault.Mark{}, fmt.Errorf("%w: %s", err, name)
	}
	return mark, nil
}

// markFormat is the whole of a mark file: a version, and three decimal numbers.
const markFormat = "agentkeys mark 1\nrevision %d\nremoving %d\nremoved %d\n"

func formatMark(m vault.Mark) string {
	return fmt.Sprintf(markFormat, m.Revision, m.Removing, m.Removed)
}

func parseMark(s string) (vault.Mark, error) {
	var m vault.Mark
	_, err := fmt.Sscanf(s, markFormat, &m.Revision, &m.Removing, &m.Removed)
	// Scanning is lenient; what it read has one spelling.
	if err != nil || formatMark(m) != s {
		return vault.Mark{}, vault.ErrMark
	}
	return m, nil
}
