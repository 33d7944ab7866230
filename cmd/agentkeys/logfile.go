package main

import (
	"io"
	"os"
	"sync"
)

// boundedLog is the background process's log, which it has as its standard
// error: an agent that is refused in a loop must not fill its owner's disk.
// What grows beyond the limit is moved into path.1, in the place of what was
// there, and the file is emptied rather than replaced, because a panic, and
// who follows the log, have it open.
type boundedLog struct {
	path  string
	limit int64

	mu   sync.Mutex
	f    *os.File // opened to append
	size int64
}

func newBoundedLog(f *os.File, path string, limit int64) *boundedLog {
	l := &boundedLog{path: path, limit: limit, f: f}
	if fi, err := f.Stat(); err == nil {
		l.size = fi.Size()
	}
	return l
}

// Write implements io.Writer.
func (l *boundedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(b)) > l.limit {
		l.keep()
		// Also where it could not be kept: a full disk is no reason to fill it.
		if err := os.Truncate(l.path, 0); err != nil {
			return 0, err
		}
		l.size = 0
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *boundedLog) keep() {
	from, err := os.Open(l.path)
	if err != nil {
		return
	}
	defer from.Close()
	to, err := os.OpenFile(l.path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	defer to.Close()
	_, _ = io.Copy(to, from)
}
