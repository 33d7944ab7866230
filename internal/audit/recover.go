package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// recover finds out what the directory holds, checks it against what was
// signed, and makes it ready to be appended to. It reads the right edge and
// the journal only, so its cost does not grow with the log. Nothing is
// changed before all is checked.
func (l *Log) recover() error {
	l.recovering = true
	defer func() { l.recovering = false }()
	var full []tile
	head, err := readCheckpoint(l.dir, l.opts.Verifier)
	if errors.Is(err, fs.ErrNotExist) {
		if err := l.checkNew(); err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else {
		l.signed.Store(&head)
		if full, err = l.restore(head); err != nil {
			return err
		}
	}
	// Full bundles first, so that the new journal need not carry them, and
	// the new journal before it is signed for.
	if l.signed.Load() != nil {
		if err := l.put(full); err != nil {
			return err
		}
		if _, err := l.publish(false); err != nil {
			return err
		}
	}
	part := l.tail.part()
	var frames []byte
	for i, e := range allEntries(part.entries) {
		frames = appendFrame(frames, part.first()+int64(i), part.first()+int64(i), e)
	}
	sealFrames(frames)
	if l.journal, err = startJournal(filepath.Join(l.dir, journalName), l.opts.JournalSize, journalHeader{part.first(), l.tail.size}, frames); err != nil {
		return err
	}
	if _, err := l.publish(true); err != nil {
		return err
	}
	return l.tidy(l.tail.size)
}

// checkNew makes sure that a directory without a checkpoint never had one: a
// log publishes its first before it takes an entry.
func (l *Log) checkNew() error {
	gone := &CorruptError{Kind: Missing, Level: -1, Detail: "there are entries but no checkpoint"}
	if has, err := exists(l.dir, "tile"); err != nil {
		return err
	} else if has {
		return gone
	}
	dir := filepath.Join(l.dir, journalName)
	segments, err := listSegments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segments) == 0 {
		return nil
	} else if err != nil {
		return err
	}
	_, err = readJournal(dir, 0, func(int64, []byte) error { return gone })
	return err
}

// restore builds the tail and the tree from the journal and the tiles.
// It returns the tiles that the last run may not have come to write.
func (l *Log) restore(head Checkpoint) (full []tile, err error) {
	dir := filepath.Join(l.dir, journalName)
	segments, err := listSegments(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(segments) == 0 {
		return nil, corrupt(Missing, head.Size, "the journal is gone, and any entry from this one on with it")
	} else if err != nil {
		return nil, err
	}
	// What the journal does not begin with is in full bundles. Start at the
	// earlier of those and of the last signed one.
	r := &Reader{dir: l.dir, head: head}
	begin := (segments[0] + tileWidth - 1) / tileWidth
	start := min(begin, head.Size/tileWidth)
	if err := l.tree.load(r, start*tileWidth); err != nil {
		return nil, l.blame(err)
	}
	for n := start; n < begin; n++ {
		leaves, err := r.fullBundle(n)
		if err != nil {
			return nil, err
		}
		if err := l.checkSigned(&l.tree, n, leaves); err != nil {
			return nil, err
		}
		full = append(full, l.tree.push(leaves)...)
	}
	l.tail.size, l.tail.last.n = begin*tileWidth, begin
	st, err := readJournal(dir, head.Size, func(index int64, e []byte) error {
		if index >= l.tail.size {
			leaf := leafHash(e)
			l.tail.put(appendPrefixed(nil, e), leaf[:])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if want := max(head.Size, begin*tileWidth); st.end < want {
		return nil, corrupt(Cut, st.end, "the journal ends here, and there were %d entries", want)
	}
	if err := l.checkEnd(st.end); err != nil {
		return nil, err
	}
	ahead := l.tree.clone()
	ready, part := l.tail.state()
	for _, b := range ready {
		if err := l.checkSigned(ahead, b.n, b.leaves); err != nil {
			return nil, err
		}
		ahead.push(b.leaves)
	}
	return full, l.checkSigned(ahead, part.n, part.leaves)
}

// checkSigned compares the tree with what was signed, if that ends in bundle
// n, whose leaves these are.
func (l *Log) checkSigned(t *tree, n int64, leaves []byte) error {
	head := l.signed.Load()
	if head.Size/tileWidth != n {
		return nil
	}
	root, err := t.root(leaves[:head.Size%tileWidth*tlog.HashSize])
	if err == nil && root != head.Root {
		err = &CorruptError{Kind: BadRoot, Count: head.Size, Level: -1,
			Detail: "the tree is not the one that was signed"}
	}
	if err != nil {
		return l.blame(err)
	}
	return nil
}

// blame looks for the first bad entry by reading the whole log. Where it finds
// none, err stands.
func (l *Log) blame(err error) error {
	_, found := Verify(l.dir, VerifyOptions{Verifier: l.opts.Verifier})
	if errors.Is(found, ErrCorrupt) {
		return found
	}
	return err
}

// checkEnd makes sure that no bundle goes beyond the end of the journal: it
// would have been written from entries that the journal has lost.
func (l *Log) checkEnd(end int64) error {
	n := end / tileWidth
	cut := corrupt(Cut, end, "the journal ends here, and bundle %d does not", n)
	if has, err := exists(l.dir, tilePath(entriesLevel, n, tileWidth)); err != nil {
		return err
	} else if has {
		return cut
	}
	partial, err := os.ReadDir(filepath.Dir(filepath.Join(l.dir, tilePath(entriesLevel, n, 1))))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, p := range partial {
		if w, err := strconv.ParseInt(p.Name(), 10, 64); err == nil && w > end%tileWidth {
			return cut
		}
	}
	return nil
}

// allEntries is splitBundle for what this process has in memory.
func allEntries(b []byte) [][]byte {
	entries, rest := splitBundle(b)
	if len(rest) > 0 {
		panic(fmt.Sprintf("audit: %d stray bytes in a bundle", len(rest)))
	}
	return entries
}
