// Package audit owns the append-only log: every operation is an entry, durable
// before anything is released on its strength, and covered by a signed
// checkpoint soon after. It implements grant.Recorder. It depends on
// internal/durable, internal/grant and golang.org/x/mod/sumdb, and must never
// import envelope or vault: what keeps the record cannot decrypt.
//
// A log is one directory. What the C2SP specifications name is laid out as
// they say, so that any static file server makes it a public log; the rest is
// private to the one process that writes it:
//
//	checkpoint                 c2sp.org/tlog-checkpoint, Ed25519
//	tile/<L>/<N>[.p/<W>]       c2sp.org/tlog-tiles
//	tile/entries/<N>[.p/<W>]   c2sp.org/tlog-tiles
//	journal/                   entries that are not in full bundles yet
//	lock
//
// To copy a log while it is being written, copy checkpoint first: everything
// it promises is there already.
//
// Laws:
//   - Record returns nil only after fdatasync did.
//   - Only durable entries are signed, and a signed tree is never followed by
//     a smaller or a different one.
//   - A write that failed stops the writer for good: what the disk holds
//     after a failed sync is not known, and is looked at anew by Open.
//   - The journal lets go of an entry only after a full tile has it.
package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
)

var _ grant.Recorder = (*Log)(nil)

// Names in a log's directory.
const (
	checkpointName = "checkpoint"
	journalName    = "journal"
	lockName       = "lock"
)

// Options say how a log is kept.
type Options struct {
	// Signer signs checkpoints; its name is the origin of the log. Verifier is
	// of the same key and checks what earlier runs signed.
	Signer   note.Signer
	Verifier note.Verifier
	// Now stamps events that carry no time. Nil is time.Now.
	Now func() time.Time
	// CheckpointEvery is how long a durable entry waits at most for a
	// checkpoint to be begun. Zero is a second.
	CheckpointEvery time.Duration
	// JournalSize is how many bytes are allocated for a segment of the
	// journal. There are up to four when the log is busy, and up to twice as
	// many bytes wait in memory for their tiles. Zero is 8 MiB.
	JournalSize int64
}

// Log is an open log. Its methods may be called from many goroutines.
type Log struct {
	dir  string
	opts Options

	// mu guards the queue. It is held for the time of a memory copy, never
	// for that of a system call.
	mu     sync.Mutex
	next   *batch
	free   []*buffers
	err    error // why there will be no more entries
	closed bool

	journal *journal // belongs to the batch whose turn it is
	tail    tail

	// pub guards the tree above the leaves and the last checkpoint. Who holds
	// a turn may take it; who holds it must not wait for a turn.
	pub    sync.Mutex
	tree   tree
	signed atomic.Pointer[Checkpoint]
	dirs   map[string]bool // known to exist
	// recovering says that the last run may have left tiles that are about to
	// be written again.
	recovering bool

	noted, dirty, full chan struct{}
	quit, gone         chan struct{}
	unlock             func()
}

// Open opens the log in dir, or begins one. A log that does not hold what was
// signed for it is a *CorruptError and is not touched. A log open elsewhere
// is durable.ErrLocked.
func Open(dir string, opts Options) (_ *Log, err error) {
	if opts.Signer == nil || opts.Verifier == nil || opts.Signer.Name() != opts.Verifier.Name() ||
		opts.Signer.KeyHash() != opts.Verifier.KeyHash() {
		return nil, errors.New("a log needs a signer and a verifier of the same key")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.CheckpointEvery <= 0 {
		opts.CheckpointEvery = time.Second
	}
	if opts.JournalSize <= 0 {
		opts.JournalSize = 8 << 20
	}
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	l := &Log{
		dir: dir, opts: opts, unlock: unlock, dirs: map[string]bool{},
		noted: make(chan struct{}, 1), dirty: make(chan struct{}, 1), full: make(chan struct{}, 1),
		quit: make(chan struct{}), gone: make(chan struct{}),
	}
	if err := l.recover(); err != nil {
		if l.journal != nil {
			l.journal.close()
		}
		unlock()
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	turn := make(chan struct{})
	close(turn)
	l.next = l.newBatch(l.tail.size, turn)
	go l.background()
	return l, nil
}

// Size is the number of durable entries.
func (l *Log) Size() int64 {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	return l.tail.size
}

// Head is the last published checkpoint.
func (l *Log) Head() Checkpoint { return *l.signed.Load() }

// Err is why the log stopped, nil while it runs.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close writes what is queued, publishes a last checkpoint and lets go of the
// directory. Its error means that some noted entry may be lost, or that the
// last checkpoint is not published; recorded entries are safe in any case.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	err := l.sync()
	close(l.quit)
	<-l.gone
	if err == nil {
		_, err = l.publish(true)
	}
	l.tail.close()
	l.journal.close()
	l.unlock()
	return err
}
