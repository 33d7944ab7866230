package audit

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrStopped says that an earlier write failed, and that this Log takes
	// nothing more. Closing it and opening it anew finds out what the disk has.
	ErrStopped = errors.New("the audit log has stopped")
	// ErrClosed says that the Log was closed.
	ErrClosed = errors.New("the audit log is closed")
	// ErrTooLarge says that an entry has more than MaxEntry bytes.
	ErrTooLarge = errors.New("audit entry is too large")
	// ErrTime says that an entry's time has no RFC 3339 form.
	ErrTime = errors.New("audit entry has a time outside the years 0 to 9999")
	// ErrRange says that an entry is beyond the end of the log.
	ErrRange = errors.New("no such audit entry")
	// ErrCheckpoint says that bytes are not a checkpoint signed by the key.
	ErrCheckpoint = errors.New("not a checkpoint signed by this log's key")
	// ErrProof says that a proof is malformed or does not prove.
	ErrProof = errors.New("invalid proof")
	// ErrCorrupt is wrapped by every *CorruptError.
	ErrCorrupt = errors.New("the audit log is damaged")
)

// Kind is what is wrong with a log.
type Kind string

// The kinds there are.
const (
	Edited    Kind = "edited"    // an entry is not the one that was logged
	Reordered Kind = "reordered" // an entry stands where another was logged
	Cut       Kind = "cut"       // entries are gone from a bundle or from the end
	Missing   Kind = "missing"   // a file is gone
	Malformed Kind = "malformed" // an entry or a file is not of its form
	BadTile   Kind = "tile"      // a hash tile does not fit what is below it
	BadRoot   Kind = "root"      // everything fits, but not what was signed
	BadSig    Kind = "signature" // the checkpoint is not signed by the key
	Fork      Kind = "fork"      // an earlier checkpoint was signed for another past
	Rollback  Kind = "rollback"  // the log is shorter than an earlier checkpoint says
	BadFrame  Kind = "journal"   // the journal lost or changed a durable entry
)

// CorruptError says what is wrong with a log, and where it begins.
type CorruptError struct {
	Kind Kind
	// Index is the first bad entry, counted from 0, if Count is 1. If Count is
	// greater it is among the Count entries from Index on, and the log itself
	// cannot tell which. If Count is 0, no entry is to blame.
	Index, Count int64
	// Level is that of the tile at fault: 0 and up for hashes, -1 elsewhere.
	Level  int
	Detail string
}

func (e *CorruptError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v (%s): ", ErrCorrupt, e.Kind)
	switch {
	case e.Count == 1:
		fmt.Fprintf(&b, "first bad entry %d: ", e.Index)
	case e.Count > 1:
		fmt.Fprintf(&b, "first bad entry in %d to %d: ", e.Index, e.Index+e.Count-1)
	}
	if e.Level >= 0 {
		fmt.Fprintf(&b, "level %d: ", e.Level)
	}
	return b.String() + e.Detail
}

// Unwrap returns ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// corrupt makes a CorruptError that names one entry.
func corrupt(k Kind, index int64, format string, args ...any) *CorruptError {
	return &CorruptError{Kind: k, Index: index, Count: 1, Level: -1, Detail: fmt.Sprintf(format, args...)}
}

// among makes e name a range of entries.
func (e *CorruptError) among(count int64) *CorruptError {
	e.Count = count
	return e
}

// at makes e name a level.
func (e *CorruptError) at(level int) *CorruptError {
	e.Level = level
	return e
}
