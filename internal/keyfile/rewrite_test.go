package keyfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func file(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, MaxFile)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func alone(t *testing.T, dir string) {
	t.Helper()
	if all, _ := os.ReadDir(dir); len(all) > 1 {
		t.Errorf("%d files are left", len(all))
	}
}

func TestReplace(t *testing.T) {
	text := "\xef\xbb\xbf# top\r\n\r\nA=1\n  export  B=\"two\nlines\"  # why\nC='x' # y\n\tD=e\nE=f"
	path := file(t, text, 0o640)
	if os.Getuid() == 0 {
		if err := os.Chown(path, 12345, 23456); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, path)
	items, err := Parse(Dotenv, f.Data)
	if err != nil {
		t.Fatal(err)
	}
	var patches []Patch
	for _, it := range items {
		if it.Name != "A" && it.Name != "D" {
			patches = append(it.Without(), patches...)
		}
	}
	if err := f.Rewrite(patches); err != nil {
		t.Fatal(err)
	}
	want := "\xef\xbb\xbf# top\r\n\r\nA=1\n  # export  B=(kept by agentkeys)  # why\n# C=(kept by agentkeys) # y\n\tD=e\n# E=(kept by agentkeys)"
	got, _ := os.ReadFile(path)
	if string(got) != want || string(f.Data) != want {
		t.Errorf("%q", got)
	}
	fi, _ := os.Stat(path)
	st := fi.Sys().(*syscall.Stat_t)
	if fi.Mode().Perm() != 0o640 || os.Getuid() == 0 && (st.Uid != 12345 || st.Gid != 23456) {
		t.Errorf("%v, %d:%d", fi.Mode(), st.Uid, st.Gid)
	}
	alone(t, filepath.Dir(path))
	// Again: nothing is there to take out.
	if again, err := Parse(Dotenv, got); err != nil || show(again) != "3 A=1\n6 D=e" {
		t.Errorf("%v\n%s", err, show(again))
	}
}

func TestReplaceRefused(t *testing.T) {
	path := file(t, "A=1\n", 0o600)
	f := open(t, path)
	patch := []Patch{{From: 2, To: 3, Text: "x"}}
	if err := os.WriteFile(path, []byte("A=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Rewrite(patch); !errors.Is(err, ErrChanged) {
		t.Errorf("changed: %v", err)
	}
	f = open(t, path)
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if err := f.Rewrite(patch); !errors.Is(err, ErrKind) {
		t.Errorf("another name: %v", err)
	}
	if err := f.Rewrite([]Patch{{From: 0, To: 3}, {From: 2, To: 4}}); !errors.Is(err, ErrKind) {
		t.Errorf("patches that meet: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "A=2\n" {
		t.Errorf("%q", got)
	}
}

// A link keeps being one, and what it leads to is rewritten.
func TestReplaceLink(t *testing.T) {
	path := file(t, "A=1\n", 0o600)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := open(t, link).Rewrite([]Patch{{From: 2, To: 3, Text: "x"}}); err != nil {
		t.Fatal(err)
	}
	fi, _ := os.Lstat(link)
	if got, _ := os.ReadFile(path); string(got) != "A=x\n" || fi.Mode().Type() != os.ModeSymlink {
		t.Errorf("%q, %v", got, fi.Mode())
	}
}

func TestShred(t *testing.T) {
	text := strings.Repeat("A="+routerKey()+"\n", 3)
	path := file(t, text, 0o600)
	other := filepath.Join(t.TempDir(), "another name")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if err := f.Shred(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	left, err := os.ReadFile(other)
	if err != nil || len(left) != len(text) {
		t.Fatalf("%v, %d bytes", err, len(left))
	}
	for at := 0; at+8 <= len(text); at++ {
		if bytes.Contains(left, []byte(text[at:at+8])) {
			t.Fatal("some of the text is still on the disk")
		}
	}
	if bytes.Count(left, []byte{0}) > len(left)/4 {
		t.Error("it was overwritten with zeros, which a file system may not write")
	}

	path = file(t, text, 0o600)
	f = open(t, path)
	if err := os.WriteFile(path, []byte("B=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Shred(); !errors.Is(err, ErrChanged) {
		t.Errorf("changed: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "B=2\n" {
		t.Errorf("%q", got)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, os.DevNull} {
		if _, err := Open(path, MaxFile); !errors.Is(err, ErrKind) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Open(file(t, "12345", 0o600), 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	if open(t, file(t, "", 0o600)).Exposed() || !open(t, file(t, "", 0o644)).Exposed() || !open(t, file(t, "", 0o620)).Exposed() {
		t.Error("who else may read it is not told")
	}
}
