package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// journal checks the journal against the tiles, and counts what it has beyond
// the checkpoint. Beside a writer, a segment can go while it is read, or its
// space be used again: what is found wrong then is looked at once more.
func (w *walk) journal() error {
	dir := filepath.Join(w.r.dir, journalName)
	for try := 0; ; try++ {
		segments, err := listSegments(dir)
		if errors.Is(err, fs.ErrNotExist) {
			w.rep.NoJournal = true
			return nil
		} else if err != nil {
			return err
		}
		if err = w.readJournal(dir, segments); err == nil {
			return nil
		}
		if now, lerr := listSegments(dir); lerr != nil || slices.Equal(now, segments) || try == 10 {
			return err
		}
	}
}

func (w *walk) readJournal(dir string, segments []int64) error {
	head := w.r.head.Size
	// Bundles that are full since the checkpoint.
	for n := head / tileWidth; len(segments) > 0 && n < (segments[0]+tileWidth-1)/tileWidth; n++ {
		leaves, err := w.r.fullBundle(n)
		if err != nil {
			return err
		}
		if n == head/tileWidth && !bytes.HasPrefix(leaves, w.leaves) {
			return corrupt(BadTile, n*tileWidth, "%s is not what it was at the checkpoint", tilePath(0, n, tileWidth)).at(0).among(tileWidth)
		}
	}
	var stored []byte
	st, err := readJournal(dir, head, func(i int64, e []byte) (err error) {
		if i < head && (stored == nil || i%tileWidth == 0) {
			if stored, err = w.r.tile(0, i/tileWidth); err != nil {
				return err
			}
		}
		leaf := leafHash(e)
		if i < head && !bytes.Equal(leaf[:], stored[i%tileWidth*tlog.HashSize:][:tlog.HashSize]) {
			return corrupt(BadFrame, i, "the journal has another entry than the log")
		}
		if _, err := decode(i, e); err != nil {
			return corrupt(Malformed, i, "%v", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if st.end < head {
		return corrupt(Cut, st.end, "the journal ends here, and %d entries were signed", head)
	}
	w.rep.Torn, w.rep.Uncovered = st.torn, st.end-head
	return nil
}
