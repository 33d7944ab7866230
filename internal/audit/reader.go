package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads a log's directory as of one checkpoint, whether or not a Log
// has it open. What it returns is not checked against the checkpoint, except
// by proofs; Verify checks everything. It may be used from many goroutines.
type Reader struct {
	dir   string
	head  Checkpoint
	cache tileCache
}

// OpenReader opens a directory at its present checkpoint, which must be
// signed by v.
func OpenReader(dir string, v note.Verifier) (*Reader, error) {
	head, err := readCheckpoint(dir, v)
	if err != nil {
		return nil, err
	}
	return &Reader{dir: dir, head: head}, nil
}

// Head is the checkpoint that the Reader reads at.
func (r *Reader) Head() Checkpoint { return r.head }

// Replay calls fn for every entry from index from to the checkpoint.
func (r *Reader) Replay(from int64, fn func(Entry) error) error {
	return replay(from, r.head.Size, r.bundle, fn)
}

// readCheckpoint reads a directory's checkpoint. One that v did not sign is a
// *CorruptError.
func readCheckpoint(dir string, v note.Verifier) (Checkpoint, error) {
	b, err := readFile(filepath.Join(dir, checkpointName), maxCheckpoint+1)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(b, v)
	if err != nil {
		return Checkpoint{}, &CorruptError{Kind: BadSig, Level: -1, Detail: err.Error()}
	}
	return c, nil
}

// maxBundle is how long a bundle can be.
const maxBundle = tileWidth * (2 + MaxEntry)

// bundle returns bundle n, which may go on beyond the checkpoint.
func (r *Reader) bundle(n int64) ([]byte, error) {
	b, _, err := r.file(entriesLevel, n, maxBundle)
	return b, err
}

// tile returns the hashes of a tile, as many as the checkpoint has there.
func (r *Reader) tile(level int, n int64) ([]byte, error) {
	w := tileWidthAt(level, n, r.head.Size)
	b, wide, err := r.file(level, n, tileWidth*tlog.HashSize)
	if err != nil {
		return nil, err
	}
	if len(b) != w*tlog.HashSize && !(wide && len(b) == tileWidth*tlog.HashSize) {
		return nil, r.spoilt(Malformed, level, n, "has %d bytes", len(b))
	}
	return b[:w*tlog.HashSize], nil
}

// file reads a tile or a bundle at the width it has at the checkpoint. A
// partial one gives way to the full one as the log grows: that is then read,
// and said to be at least as wide.
func (r *Reader) file(level int, n int64, limit int64) (b []byte, wide bool, err error) {
	w := tileWidthAt(level, n, r.head.Size)
	if w == 0 {
		return nil, false, ErrRange
	}
	b, err = readFile(filepath.Join(r.dir, tilePath(level, n, w)), limit)
	if errors.Is(err, fs.ErrNotExist) && w < tileWidth {
		wide = true
		b, err = readFile(filepath.Join(r.dir, tilePath(level, n, tileWidth)), limit)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = r.spoilt(Missing, level, n, "is not there")
	case errors.Is(err, errTooLong):
		err = r.spoilt(Malformed, level, n, "is too long")
	}
	return b, wide, err
}

// spoilt blames all entries under a tile.
func (r *Reader) spoilt(k Kind, level int, n int64, format string, args ...any) *CorruptError {
	w := tileWidthAt(level, n, r.head.Size)
	span := int64(1) << (tileHeight * max(level, 0))
	e := corrupt(k, n*tileWidth*span, "%s %s", tilePath(level, n, w), fmt.Sprintf(format, args...))
	return e.among(min(int64(w)*span, r.head.Size-e.Index)).at(level)
}

// fullBundle returns the leaf hashes of a full bundle that may be beyond the
// checkpoint, computed from its entries and compared with its tile.
func (r *Reader) fullBundle(n int64) ([]byte, error) {
	at := &Reader{dir: r.dir, head: Checkpoint{Size: (n + 1) * tileWidth}}
	data, err := at.bundle(n)
	if err != nil {
		return nil, err
	}
	tile, err := at.tile(0, n)
	if err != nil {
		return nil, err
	}
	c := checkBundle(data, tile)
	if c.bad >= 0 {
		return nil, classify(r, n, c, tile)
	}
	if c.left > 0 {
		return nil, corrupt(Malformed, at.head.Size-1, "%d bytes follow it in its bundle", c.left).at(entriesLevel)
	}
	return c.leaves, nil
}

var errTooLong = errors.New("file is too long")

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("%w: %s", errTooLong, path)
	}
	b := make([]byte, fi.Size())
	n, err := io.ReadFull(f, b)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// exists reports whether dir has name.
func exists(dir, name string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
