package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/litentry/agentkeys/internal/durable"
)

// The journal is a directory of segments, each named by the 19 digits of the
// index of its first entry. One begins where the one before it ends, and only
// the last is written. A segment goes when full tiles hold all its entries.
//
// Names that durable.Sweep clears away after a crash:
const (
	newSegment   = ".tmp-new"
	spareSegment = ".tmp-spare"
)

// journal makes entries durable. The blocks of a segment are written with
// zeros before they are used, and used again: a write to them then changes no
// metadata, and fdatasync has but the data to wait for, which can halve its
// time. Space that is only reserved, as by fallocate, does not do that.
//
// append, fits and rotate belong to the one writer.
type journal struct {
	dir  string
	size int64 // of a fresh segment

	f    *os.File
	off  int64 // end of the last frame
	room int64 // bytes f has allocated

	mu       sync.Mutex
	segments []int64  // all there are, in order: the last is f
	spare    *os.File // zeroed, or a former segment; nil if there is none yet
}

func segmentName(first int64) string { return fmt.Sprintf("%019d", first) }

// startJournal begins a journal whose first segment starts with the sealed
// frames, and replaces all that dir had. Even a segment that could be
// continued is replaced: what an earlier run could not sync may be in the page
// cache alone, and only bytes written anew are sure to be written at all.
func startJournal(dir string, size int64, h journalHeader, frames []byte) (_ *journal, err error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := durable.Sweep(dir); err != nil {
		return nil, err
	}
	old, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	f, err := zeroed(filepath.Join(dir, newSegment), size)
	if err != nil {
		return nil, err
	}
	j := &journal{dir: dir, size: size, f: f, room: size}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if err := j.append(append(h.append(nil), frames...)); err != nil {
		return nil, err
	}
	if err := j.name(f, newSegment, h.first); err != nil {
		return nil, err
	}
	// The new segment holds what the old ones do. That they are gone must be
	// durable before it grows: of two that overlap, the later is believed.
	for _, first := range old {
		if first != h.first {
			if err := os.Remove(filepath.Join(dir, segmentName(first))); err != nil {
				return nil, err
			}
		}
	}
	return j, durable.SyncDir(dir)
}

// name gives a file that is durable its name as a segment.
func (j *journal) name(f *os.File, from string, first int64) error {
	// Its size is metadata, which fdatasync covers only as far as reading the
	// data back needs.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(j.dir, from), filepath.Join(j.dir, segmentName(first))); err != nil {
		return err
	}
	if err := durable.SyncDir(j.dir); err != nil {
		return err
	}
	j.segments = append(j.segments, first)
	return nil
}

// append writes b behind all that is there and returns when it is durable. The
// disk may have to write again the sector in which the last batch ended, with
// the same bytes: that it does so whole or not at all is taken for granted.
func (j *journal) append(b []byte) error {
	if _, err := j.f.WriteAt(b, j.off); err != nil {
		return err
	}
	if err := fdatasync(j.f); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	j.off += int64(len(b))
	j.room = max(j.room, j.off)
	return nil
}

// fits reports whether n more bytes stay within what is allocated. The first
// batch in a segment always does: the segment grows.
func (j *journal) fits(n int) bool {
	return j.off+int64(n) <= j.room || j.off == journalHeaderSize
}

// rotate goes on in a new segment, which begins with frames.
//
// Frames that a spare still holds from its former life have lower indexes
// than any it will hold, and are passed over for that.
func (j *journal) rotate(h journalHeader, frames []byte) error {
	if err := j.prepare(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	fi, err := j.spare.Stat()
	if err != nil {
		return err
	}
	n := &journal{f: j.spare, room: fi.Size()}
	if err := n.append(append(h.append(nil), frames...)); err != nil {
		return err
	}
	if err := j.name(n.f, spareSegment, h.first); err != nil {
		return err
	}
	_ = j.f.Close()
	j.f, j.off, j.room, j.spare = n.f, n.off, n.room, nil
	return nil
}

// prepare sees to it that there is a spare.
func (j *journal) prepare() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.spare != nil {
		return nil
	}
	f, err := zeroed(filepath.Join(j.dir, spareSegment), j.size)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	j.spare = f
	return nil
}

// retire lets go of the segments that hold nothing from index first on, and
// keeps one for its space.
func (j *journal) retire(first int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segments) < 2 || j.segments[1] > first {
		return nil
	}
	for len(j.segments) > 1 && j.segments[1] <= first {
		path := filepath.Join(j.dir, segmentName(j.segments[0]))
		if j.spare != nil {
			if err := os.Remove(path); err != nil {
				return err
			}
		} else {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			if err := os.Rename(path, filepath.Join(j.dir, spareSegment)); err != nil {
				_ = f.Close()
				return err
			}
			j.spare = f
		}
		j.segments = j.segments[1:]
	}
	// Before its space is used again the old name must be gone for good.
	return durable.SyncDir(j.dir)
}

// close lets go of the files. A spare is not kept: it would be zeroed again.
func (j *journal) close() {
	_ = j.f.Close()
	if j.spare != nil {
		_ = j.spare.Close()
		_ = os.Remove(filepath.Join(j.dir, spareSegment))
	}
}

// zeroed makes a file of size zero bytes.
func zeroed(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, min(size, 256<<10))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}
