package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/litentry/agentkeys/internal/durable"
)

// putAtOnce is how many files are synced at a time. File systems with a
// journal let syncs that come together share a commit.
const putAtOnce = 8

// put writes tiles. All are durable when it returns nil; a tile has its name
// only when it is whole. One that an earlier run left must be the same: a
// tile never changes.
//
// It does for many files what durable.CreateFile does for one, but all their
// data is on its way to the disk before the first sync waits for it, and a
// directory is synced once. Tiles are most of what the log costs when it is
// busy, and this halves it. That names are not taken with a link, which would
// refuse one that is there, rests on the lock: nobody else writes here.
func (l *Log) put(tiles []tile) (err error) {
	var (
		files []*os.File
		names []string
		dirs  = map[string]bool{}
	)
	defer func() {
		for i, f := range files {
			_ = f.Close()
			if err != nil && names[i] != "" {
				_ = os.Remove(f.Name())
			}
		}
	}()
	for _, t := range tiles {
		path := filepath.Join(l.dir, t.path())
		dir := filepath.Dir(path)
		if !l.dirs[dir] {
			if err := durable.MkdirAll(dir); err != nil {
				return err
			}
			l.dirs[dir] = true
		}
		dirs[dir] = true
		if l.recovering {
			if there, err := sameTile(path, t); err != nil {
				return err
			} else if there {
				// Its bytes were durable before it had this name, but the
				// last run may have ended before the name was.
				continue
			}
		}
		f, err := os.OpenFile(filepath.Join(dir, ".tmp-"+filepath.Base(path)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		files, names = append(files, f), append(names, path)
		if _, err := f.Write(t.data); err != nil {
			return err
		}
		startWriting(f)
	}
	if err := atOnce(len(files), func(i int) error { return files[i].Sync() }); err != nil {
		return err
	}
	for i, f := range files {
		if err := os.Rename(f.Name(), names[i]); err != nil {
			return err
		}
		names[i] = ""
	}
	list := make([]string, 0, len(dirs))
	for d := range dirs {
		list = append(list, d)
	}
	return atOnce(len(list), func(i int) error { return durable.SyncDir(list[i]) })
}

// sameTile reports whether t is there.
func sameTile(path string, t tile) (bool, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	have, err := readFile(path, maxBundle)
	if err != nil {
		return false, err
	}
	if fi.Size() != int64(len(t.data)) || !bytes.Equal(have, t.data) {
		return false, corrupt(BadTile, t.n*tileWidth, "%s is there already and differs", t.path()).at(t.level).among(int64(t.w))
	}
	return true, nil
}

// atOnce calls fn for 0 to n-1, a few at a time, and returns all errors.
func atOnce(n int, fn func(i int) error) error {
	var (
		wg   sync.WaitGroup
		errs = make([]error, n)
		work = make(chan int, n)
	)
	for i := range n {
		work <- i
	}
	close(work)
	for range min(n, putAtOnce) {
		wg.Go(func() {
			for i := range work {
				errs[i] = fn(i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("writing tiles: %w", err)
	}
	return nil
}
