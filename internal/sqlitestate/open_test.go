package sqlitestate

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
)

func TestExposed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "broker.db")
	shut(t, open(t, path))
	refused := func(want error, words ...string) {
		t.Helper()
		s, err := Open(path, time.Now)
		if err == nil {
			shut(t, s)
			t.Fatal("opened")
		}
		if want != nil && !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	for _, mode := range []os.FileMode{0o710, 0o701, 0o750, 0o777} {
		chmod(t, dir, mode)
		refused(ErrExposed, "chmod 700", dir)
	}
	chmod(t, dir, 0o700)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o602, 0o666} {
		chmod(t, path, mode)
		refused(ErrExposed, "chmod 600", path)
	}
	chmod(t, path, 0o600)
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".moved", path); err != nil {
		t.Fatal(err)
	}
	refused(nil, "not a plain file")
}

// TestRights: every file is for the user alone, whatever the umask.
func TestRights(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "too")
	s := open(t, filepath.Join(dir, "broker.db"))
	if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{item(1)}}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 4 { // the file, its log, its index, the lock
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", e.Name(), fi.Mode(), err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if fi, err := os.Stat(d); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v, %v", d, fi.Mode(), err)
		}
	}
}

// TestInUse: a second process, or a second State of this one, is told so.
func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	s := open(t, path)
	for range 2 {
		if _, err := Open(path, time.Now); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %v", err, ErrInUse)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the first is hurt: %v", err)
	}
	shut(t, s)
	shut(t, open(t, path))
}

func TestNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	s := open(t, path)
	if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{item(1)}}); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	edit(t, path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	for range 2 {
		_, err := Open(path, time.Now)
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %v", err, ErrNewer)
		}
	}
	edit(t, path, `DELETE FROM goose_db_version WHERE version_id = 99`)
	s = open(t, path)
	if _, err := s.Get(t.Context(), item(1).Key); err != nil {
		t.Error(err)
	}
}

func TestForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	shut(t, open(t, path))
	text := []byte(strings.Repeat("no database\n", 1000))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(path, time.Now); err == nil {
		shut(t, s)
		t.Fatal("opened what is no database")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
		t.Errorf("it was written to: %v", err)
	}
}

// TestOddPath: a path is a path, not an address with options.
func TestOddPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%3F?mode=memory#x", "c&d=e.db")
	s := open(t, path)
	if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{item(1)}}); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := open(t, path).Get(t.Context(), item(1).Key); err != nil {
		t.Error(err)
	}
}

// TestGroup: changes that share a commit fail or are made each on its own.
func TestGroup(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state", "broker.db"))
	// While the first is held up, the others gather behind it, and among them
	// one that must not be made.
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.hand(t.Context(), 0, func(*writer) error {
			close(held)
			<-release
			return nil
		})
	})
	<-held
	errs := make([]error, 40)
	for i := range errs {
		w := item(i / 2) // each by two, so that one of them conflicts
		wg.Go(func() {
			_, errs[i] = s.Apply(t.Context(), broker.Change{Writes: []broker.Write{w}, Events: []broker.NewEvent{{Topic: "made"}}})
		})
	}
	close(release)
	wg.Wait()
	for i := 0; i < len(errs); i += 2 {
		if (errs[i] == nil) == (errs[i+1] == nil) || !errors.Is(errors.Join(errs[i], errs[i+1]), broker.ErrConflict) {
			t.Errorf("item %d: %v and %v", i/2, errs[i], errs[i+1])
		}
	}
	if last, err := s.Last(t.Context()); err != nil || last != int64(len(errs)/2) {
		t.Errorf("%d events, %v", last, err)
	}
}

// TestHeld: a tool that holds the file makes changes fail, and stops nothing.
func TestHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	s := open(t, path)
	if err := s.hand(t.Context(), 0, func(w *writer) error { return w.exec("PRAGMA busy_timeout = 1") }); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, text := range []string{"BEGIN IMMEDIATE", "COMMIT"} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
		_, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{item(1)}})
		if (err == nil) != (text == "COMMIT") || errors.Is(err, ErrStopped) {
			t.Errorf("after %s: %v", text, err)
		}
	}
}

var _ broker.State = (*State)(nil)

func BenchmarkApply(b *testing.B) {
	statetest.BenchmarkApply(b, open(b, filepath.Join(b.TempDir(), "state", "broker.db")))
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}
