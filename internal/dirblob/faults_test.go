package dirblob

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// nothingLeft checks that d holds what it held, and no part of another.
func nothingLeft(t *testing.T, d *Dir, want string) {
	t.Helper()
	data, _, err := d.Get(t.Context(), key)
	if err != nil || string(data) != want {
		t.Errorf("%d bytes, %v, want %q", len(data), err, want)
	}
	err = filepath.Walk(d.t.root, func(path string, _ os.FileInfo, err error) error {
		if strings.Contains(filepath.Base(path), ".tmp-") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFailedWrites(t *testing.T) {
	d := open(t)
	v := put(t, d, key, "old", vault.Create())
	write, remove := d.t.write, d.t.remove
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EACCES} {
		d.t.write = func(string, []byte) error { return errno }
		d.t.remove = func(string) error { return errno }
		if _, err := d.Put(t.Context(), key, []byte("new"), vault.Replace(v)); !errors.Is(err, errno) || errors.Is(err, ErrStopped) {
			t.Errorf("replace: %v, want %v", err, errno)
		}
		if err := d.Delete(t.Context(), key, v); !errors.Is(err, errno) {
			t.Errorf("delete: %v, want %v", err, errno)
		}
		nothingLeft(t, d, "old")
	}
	d.t.write, d.t.remove = write, remove
	v = put(t, d, key, "new", vault.Replace(v))

	// A failed sync is an EIO, and the last thing that this Dir writes.
	d.t.write = func(path string, b []byte) error {
		_ = write(path, b)
		return syscall.EIO
	}
	if _, err := d.Put(t.Context(), key, []byte("newer"), vault.Replace(v)); !errors.Is(err, ErrStopped) || !errors.Is(err, syscall.EIO) {
		t.Errorf("failed sync: %v", err)
	}
	d.t.write = write
	_, v, err := d.Get(t.Context(), key)
	if err != nil {
		t.Errorf("reading after a failed sync: %v", err)
	}
	if _, err := d.Put(t.Context(), key, []byte("x"), vault.Replace(v)); !errors.Is(err, ErrStopped) {
		t.Errorf("writing after a failed sync: %v", err)
	}
	if err := d.Delete(t.Context(), key, v); !errors.Is(err, ErrStopped) {
		t.Errorf("deleting after a failed sync: %v", err)
	}
	again, err := Open(d.t.root)
	if err != nil {
		t.Fatal(err)
	}
	put(t, again, key, "after a restart", vault.Replace(v))
}

// TestFileSizeLimit cuts a write short, in a process of its own.
func TestFileSizeLimit(t *testing.T) {
	child(t, "limited", filepath.Join(memDir(t), "store")).wait(t)
}

// TestDiskFull fills a small file system, which only root can mount.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	defer func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	}()
	d, err := Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenMarks(filepath.Join(dir, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	v := put(t, d, key, "old", vault.Create())
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	full(t, d, m, v, syscall.ENOSPC)
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	put(t, d, key, strings.Repeat("x", vault.MaxBlob), vault.Replace(v))
}

// full writes what there is no room for.
func full(t *testing.T, d *Dir, m *Marks, v vault.Version, want error) {
	t.Helper()
	large := make([]byte, vault.MaxBlob)
	if _, err := d.Put(t.Context(), key, large, vault.Replace(v)); !errors.Is(err, want) {
		t.Errorf("replace: %v", err)
	}
	nothingLeft(t, d, "old")
	other := vaulttest.Key(1, "other")
	if _, err := d.Put(t.Context(), other, large, vault.Create()); !errors.Is(err, want) {
		t.Errorf("create: %v", err)
	}
	nothingLeft(t, d, "old")
	if _, _, err := d.Get(t.Context(), other); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("get what did not fit: %v", err)
	}
	// Not even a mark fits: it must not be half there either.
	fill := make([]byte, 60<<10)
	for len(fill) > 0 {
		if err := os.WriteFile(filepath.Join(filepath.Dir(m.t.root), "fill"), fill, 0o600); err == nil {
			break
		}
		fill = fill[:len(fill)-min(len(fill), 4096)]
	}
	_, err := m.Raise(t.Context(), key, vault.Mark{Revision: 7})
	got, gerr := m.Get(t.Context(), key)
	if gerr != nil || err == nil && got.Revision != 7 || err != nil && got.Revision != 0 {
		t.Errorf("raise: %v; then %v, %v", err, got, gerr)
	}
}

func TestDamagedMark(t *testing.T) {
	m, err := OpenMarks(filepath.Join(memDir(t), "marks"))
	if err != nil {
		t.Fatal(err)
	}
	mark := vault.Mark{Revision: 12, Removing: 3, Removed: 2}
	if _, err := m.Raise(t.Context(), key, mark); err != nil {
		t.Fatal(err)
	}
	path := m.t.at(key.Wallet().String() + "/openrouter.mark")
	whole, err := os.ReadFile(path)
	if err != nil || string(whole) != "agentkeys mark 1\nrevision 12\nremoving 3\nremoved 2\n" {
		t.Fatalf("%q %v", whole, err)
	}
	bad := []string{"", strings.Repeat("x", 300), string(whole) + "\n", strings.ReplaceAll(string(whole), "12", "012"), strings.ReplaceAll(string(whole), "mark 1", "mark 2")}
	for i := range whole[1:] {
		bad = append(bad, string(whole[:i]))
	}
	for _, s := range bad {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := m.Get(t.Context(), key); !errors.Is(err, vault.ErrMark) || got != (vault.Mark{}) {
			t.Errorf("%q: %v %v", s, got, err)
		}
		if _, err := m.Raise(t.Context(), key, vault.Mark{Revision: 99}); !errors.Is(err, vault.ErrMark) {
			t.Errorf("%q was overwritten: %v", s, err)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add(formatMark(vault.Mark{}))
	f.Add(formatMark(vault.Mark{Revision: 1<<64 - 1, Removing: 1, Removed: 1}))
	f.Add("agentkeys mark 1\nrevision +1\nremoving 0\nremoved 0\n")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMark(s)
		if err == nil && formatMark(m) != s || err != nil && (!errors.Is(err, vault.ErrMark) || m != (vault.Mark{})) {
			t.Errorf("%q: %v %v", s, m, err)
		}
	})
}
