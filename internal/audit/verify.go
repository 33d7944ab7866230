package audit

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions say what to hold a log to.
type VerifyOptions struct {
	Verifier note.Verifier
	// Known are earlier checkpoints of the log, kept where its writer could
	// not change them: from ParseCheckpoint, or an anchored size and root. The
	// more there are, the closer a rewritten past is bounded.
	Known []Checkpoint
	// Progress, if set, is called after every bundle.
	Progress func(done, total int64)
}

// Report is what Verify found.
type Report struct {
	Head    Checkpoint // what the log claims; its signature is good
	Checked int64      // entries that were found good, from the first on
	// Uncovered is how many good entries follow the checkpoint: a moment's
	// worth while the log is being written, or after a crash.
	Uncovered int64
	// Torn says that the journal ends in a write that was cut short, which
	// nobody was promised. NoJournal says that there is none, as in what a
	// log serves to others.
	Torn, NoJournal bool
}

// Verify reads a whole log, offline, and checks every entry, every hash, the
// signature and the journal. What is wrong with the log is a *CorruptError
// that names the first bad entry; any other error means that it could not be
// read. It changes nothing, takes no lock, and may run beside a writer.
// Its memory does not grow with the log.
func Verify(dir string, opts VerifyOptions) (Report, error) {
	head, err := readCheckpoint(dir, opts.Verifier)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return Report{}, err
		}
		return Report{}, &CorruptError{Kind: Missing, Level: -1, Detail: "the checkpoint is not there"}
	} else if err != nil {
		return Report{}, err
	}
	w := &walk{r: &Reader{dir: dir, head: head}, known: slices.Clone(opts.Known), rep: Report{Head: head}}
	slices.SortFunc(w.known, func(a, b Checkpoint) int { return int(min(max(a.Size-b.Size, -1), 1)) })
	for n := int64(0); n*tileWidth < head.Size; n++ {
		if err := w.bundle(n); err != nil {
			return w.rep, err
		}
		if opts.Progress != nil {
			opts.Progress(w.rep.Checked, head.Size)
		}
	}
	if err := w.end(); err != nil {
		return w.rep, err
	}
	return w.rep, w.journal()
}
