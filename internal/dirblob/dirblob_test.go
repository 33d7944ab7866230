package dirblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// memDir is a directory for what is not about the disk: syncing takes its time
// there, and more when others write.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dirblob-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func open(t testing.TB) *Dir {
	t.Helper()
	return openAt(t, filepath.Join(memDir(t), "store"))
}

func openAt(t testing.TB, dir string) *Dir {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t testing.TB, d *Dir, k vault.Key, data string, c vault.Condition) vault.Version {
	t.Helper()
	v, err := d.Put(t.Context(), k, []byte(data), c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var (
	key    = vaulttest.Key(1, "openrouter")
	prefix = vault.CredentialPrefix(vaulttest.Wallet(1))
)

func (t *tree) at(name string) string { return filepath.Join(t.root, filepath.FromSlash(name)) }

func TestConformance(t *testing.T) {
	vaulttest.Conformance(t, func(t *testing.T) vault.Blobs {
		return openAt(t, filepath.Join(t.TempDir(), "store"))
	})
}

func TestMarksConformance(t *testing.T) {
	vaulttest.MarksConformance(t, func(t *testing.T) vault.Marks {
		m, err := OpenMarks(filepath.Join(memDir(t), "marks"))
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}

// TestTwoInstances runs the conformance suite's contention over two Dirs of one
// directory, which share no memory: the lock file is all they have.
func TestTwoInstances(t *testing.T) {
	vaulttest.Conformance(t, func(t *testing.T) vault.Blobs {
		a := open(t)
		b, err := Open(a.t.root)
		if err != nil {
			t.Fatal(err)
		}
		return &alternating{Blobs: a, other: b}
	})
}

// alternating sends every second call elsewhere.
type alternating struct {
	vault.Blobs
	other vault.Blobs
	turn  syncCounter
}

func (a *alternating) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	if a.turn.odd() {
		return a.other.Get(ctx, k)
	}
	return a.Blobs.Get(ctx, k)
}

func (a *alternating) Put(ctx context.Context, k vault.Key, b []byte, c vault.Condition) (vault.Version, error) {
	if a.turn.odd() {
		return a.other.Put(ctx, k, b, c)
	}
	return a.Blobs.Put(ctx, k, b, c)
}

func (a *alternating) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if a.turn.odd() {
		return a.other.Delete(ctx, k, v)
	}
	return a.Blobs.Delete(ctx, k, v)
}

func TestModesAndPlaces(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	d := open(t)
	put(t, d, key, "x", vault.Create())
	m, err := OpenMarks(filepath.Join(memDir(t), "marks"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Raise(t.Context(), key, vault.Mark{Revision: 1}); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, root := range []string{d.t.root, m.t.root} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = fs.ModeDir | 0o700
			} else {
				files = append(files, strings.TrimPrefix(path, root))
			}
			if fi.Mode() != want {
				t.Errorf("%s is %v, want %v", path, fi.Mode(), want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w := vaulttest.Wallet(1).String()
	want := "[/.lock /bots/" + w + "/credentials/openrouter.enc /.lock /" + w + "/openrouter.mark]"
	if fmt.Sprint(files) != want {
		t.Errorf("files %v, want %v", files, want)
	}
}

func TestExposed(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{0o750, 0o705, 0o701, 0o770, 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, durable.ErrExposed) || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("%v: %v", mode, err)
		}
		if _, err := OpenMarks(dir); !errors.Is(err, durable.ErrExposed) {
			t.Errorf("%v: %v", mode, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file was opened as a store")
	}
}

// TestForeign puts what is no plain file or directory in each place.
func TestForeign(t *testing.T) {
	w := "bots/" + vaulttest.Wallet(1).String()
	for _, place := range []string{"bots", w, w + "/credentials", key.String()} {
		for _, kind := range []string{"link to the same", "dangling link", "pipe", "other"} {
			t.Run(place+", "+kind, func(t *testing.T) {
				d := open(t)
				v := put(t, d, key, "x", vault.Create())
				path, moved := d.t.at(place), filepath.Join(filepath.Dir(d.t.root), "moved")
				if err := os.Rename(path, moved); err != nil {
					t.Fatal(err)
				}
				var err error
				switch kind {
				case "link to the same":
					err = os.Symlink(moved, path)
				case "dangling link":
					err = os.Symlink(moved+"x", path)
				case "pipe":
					err = syscall.Mkfifo(path, 0o600)
				case "other": // a file for a directory, a directory for a file
					if place == key.String() {
						err = os.Mkdir(path, 0o700)
					} else {
						err = os.WriteFile(path, nil, 0o600)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = d.Get(t.Context(), key)
				foreign(t, "get", err)
				_, err = d.Put(t.Context(), key, []byte("y"), vault.Replace(v))
				foreign(t, "replace", err)
				_, err = d.Put(t.Context(), key, []byte("y"), vault.Create())
				foreign(t, "create", err)
				foreign(t, "delete", d.Delete(t.Context(), key, v))
				page, err := d.List(t.Context(), prefix, vault.Key{}, 10)
				if place != key.String() {
					foreign(t, "list", err)
				} else if len(page.Items) != 1 || err != nil {
					t.Errorf("%v, %v: not to be noticed", page, err)
				}
				if _, err := Open(d.t.root); err != nil {
					t.Errorf("open: %v", err)
				}
			})
		}
	}
	d := open(t)
	if err := os.Remove(d.t.at(lockName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", d.t.at(lockName)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Get(t.Context(), key); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("the lock is a link: %v", err)
	}
}

func foreign(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrForeign) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestListLeavesOutOtherNames(t *testing.T) {
	d := open(t)
	put(t, d, key, "x", vault.Create())
	dir := filepath.Dir(d.t.at(key.String()))
	for _, name := range []string{"README", ".tmp-123", "OPENROUTER.enc", "a.enc.bak", ".enc", "a b.enc"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	page, err := d.List(t.Context(), prefix, vault.Key{}, 10)
	if err != nil || len(page.Items) != 1 || page.Items[0].Key != key {
		t.Errorf("%v %v", page, err)
	}
}

func TestTooLargeCanBeDeleted(t *testing.T) {
	d := open(t)
	put(t, d, key, "x", vault.Create())
	if err := os.WriteFile(d.t.at(key.String()), make([]byte, vault.MaxBlob+1), 0o600); err != nil {
		t.Fatal(err)
	}
	data, v, err := d.Get(t.Context(), key)
	if !errors.Is(err, vault.ErrSize) || data != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), key, v); err != nil {
		t.Error(err)
	}
}

func TestSweep(t *testing.T) {
	d := open(t)
	put(t, d, key, "x", vault.Create())
	left := []string{d.t.at(".tmp-1"), filepath.Join(filepath.Dir(d.t.at(key.String())), ".tmp-2")}
	for _, p := range left {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(d.t.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range left {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", p)
		}
	}
	if data, _, err := again.Get(t.Context(), key); err != nil || !bytes.Equal(data, []byte("x")) {
		t.Errorf("%q %v", data, err)
	}
}

func TestLockGivesUpWithItsContext(t *testing.T) {
	a := open(t)
	b, err := Open(a.t.root)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := a.t.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]*Dir{"in the same Dir": a, "in another": b} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, _, err = d.Get(ctx, key)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting %s: %v", what, err)
		}
		cancel()
	}
	unlock()
	for _, d := range []*Dir{a, b} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, _, err := d.Get(ctx, key); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("after the lock was freed: %v", err)
		}
		cancel()
	}
}
