package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestBoundedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.log")
	f, err := openLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("of an earlier run\n"); err != nil {
		t.Fatal(err)
	}
	const limit = 1000
	l := newBoundedLog(f, path, limit)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 500 {
				if _, err := fmt.Fprintf(l, "line %d of %d\n", n, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := []byte("the last line\n")
	if _, err := l.Write(last); err != nil {
		t.Fatal(err)
	}
	now, err1 := os.ReadFile(path)
	before, err2 := os.ReadFile(path + ".1")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if len(now) > limit || len(before) > limit || len(before) < limit*9/10 {
		t.Errorf("%d and %d bytes, where %d is the limit", len(now), len(before), limit)
	}
	if !bytes.HasSuffix(now, last) || bytes.IndexByte(now, 0) >= 0 || !bytes.HasPrefix(now, []byte("line ")) || !bytes.HasSuffix(before, []byte("\n")) {
		t.Errorf("not whole lines:\n%s\n%s", before, now)
	}
}
