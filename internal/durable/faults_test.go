package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
)

var (
	oldText = strings.Repeat("old ", 3000)
	newText = strings.Repeat("new! ", 4000)
)

func TestMain(m *testing.M) {
	durabletest.Main(m, map[string]durabletest.Op{
		"write":  func(dir string) error { return durable.WriteFile(filepath.Join(dir, "f"), []byte(newText)) },
		"create": func(dir string) error { return durable.CreateFile(filepath.Join(dir, "f"), []byte(newText)) },
		"taken": func(dir string) error {
			err := durable.CreateFile(filepath.Join(dir, "f"), []byte(newText))
			if errors.Is(err, fs.ErrExist) {
				return durabletest.Ack("exists")
			}
			return err
		},
		"remove": func(dir string) error { return durable.Remove(filepath.Join(dir, "f")) },
		"absent": func(dir string) error {
			err := durable.Remove(filepath.Join(dir, "f"))
			if errors.Is(err, fs.ErrNotExist) {
				return durabletest.Ack("gone")
			}
			return err
		},
		"mkdir": func(dir string) error { return durable.MkdirAll(filepath.Join(dir, "a", "b")) },
		"sweep": func(dir string) error { return durable.Sweep(dir) },
		"lock": func(dir string) error {
			_, err := durable.Lock(filepath.Join(dir, "lock"))
			return err
		},
		"race":       race,
		"hold":       hold,
		"any umask":  underUmask,
		"write hard": writeForever,
	})
}

func nothing(*testing.T, string) {}

func withOld(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(oldText), 0o600); err != nil {
		t.Fatal(err)
	}
}

func withLeftovers(t *testing.T, dir string) {
	t.Helper()
	withOld(t, dir)
	for _, name := range []string{".tmp-1", ".tmp-2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryCall: whatever call fails or is the last, f is what it was or what
// it was to become, and nil means the latter.
func TestEveryCall(t *testing.T) {
	for _, c := range []struct {
		op      string
		prepare func(*testing.T, string)
		may     []string // what f may be, "" for not there
		done    string   // what it is after success
		// ignored calls may fail without harm.
		ignored []string
	}{
		// os.Rename looks at its target for the sake of an error message.
		{"write", withOld, []string{oldText, newText}, newText, []string{"newfstatat"}},
		{"write", nothing, []string{"", newText}, newText, []string{"newfstatat"}},
		// What is left of the second name, Sweep removes.
		{"create", nothing, []string{"", newText}, newText, []string{"unlinkat"}},
		{"taken", withOld, []string{oldText}, oldText, []string{"unlinkat"}},
		{"remove", withOld, []string{"", oldText}, "", nil},
		// Then os.Remove asks a second time, in case it is a directory.
		{"absent", nothing, []string{""}, "", []string{"unlinkat"}},
		{"sweep", withLeftovers, []string{oldText}, oldText, []string{"close"}},
		{"lock", nothing, []string{""}, "", nil},
	} {
		name := c.op
		if c.may[0] != "" {
			name += " over another"
		}
		t.Run(name, func(t *testing.T) {
			durabletest.Each(t, c.op, c.prepare, func(t *testing.T, r durabletest.Run) {
				harmless := false
				for _, call := range c.ignored {
					harmless = harmless || r.Name == call
				}
				if r.Err == nil && !harmless {
					t.Errorf("success, although %s(%s failed", r.Name, r.Args)
				}
				if r.Errno != "" && r.Err != nil && !strings.Contains(r.Err.Error(), message[r.Errno]) {
					t.Errorf("%v does not say %q", r.Err, message[r.Errno])
				}
				left := durabletest.Snapshot(t, r.Dir)
				if got := left["f"]; r.Err == nil && got != c.done || !contains(c.may, got) {
					t.Errorf("%v, and f is %.20q", r.Err, got)
				}
				// A failure cleans up after itself, if it can.
				for name := range left {
					temp := strings.HasPrefix(name, ".tmp-")
					if !temp && name != "f" && name != "lock" || temp && r.Errno != "" && r.Name != "unlinkat" && c.op != "sweep" {
						t.Errorf("%v, and %s is left", r.Err, name)
					}
				}
				if err := durable.Sweep(r.Dir); err != nil {
					t.Fatal(err)
				}
				for name := range durabletest.Snapshot(t, r.Dir) {
					if name != "f" && name != "lock" {
						t.Errorf("%s survives a sweep", name)
					}
				}
				if c.op == "lock" {
					again(t, filepath.Join(r.Dir, "lock"))
				}
			})
		})
	}
}

var message = map[string]string{"EIO": "input/output error", "ENOSPC": "no space left on device"}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// again takes a lock whose last holder, if there was one, is dead.
func again(t *testing.T, path string) {
	t.Helper()
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestMkdirAllEveryCall: a directory is not there, or is a directory, and if
// making it failed, the next attempt starts over rather than to believe that
// the disk has it.
func TestMkdirAllEveryCall(t *testing.T) {
	durabletest.Each(t, "mkdir", nothing, func(t *testing.T, r durabletest.Run) {
		// To look whether a directory is there may fail: then it is made.
		if r.Err == nil && r.Name != "newfstatat" {
			t.Errorf("success, although %s(%s failed", r.Name, r.Args)
		}
		left := durabletest.Names(durabletest.Snapshot(t, r.Dir))
		got := strings.Join(left, " ")
		if got != "" && got != "a/" && got != "a/ a/b/" || r.Err == nil && got != "a/ a/b/" {
			t.Errorf("%v, and there is %q", r.Err, got)
		}
		if r.Errno != "" && r.Err != nil && len(left) > 0 && (r.Name == "fsync" || r.Name == "close") && strings.HasSuffix(got, "b/") {
			t.Errorf("%v, and a/b is left", r.Err)
		}
		if err := durable.MkdirAll(filepath.Join(r.Dir, "a", "b")); err != nil {
			t.Errorf("the next attempt: %v", err)
		}
	})
}

// TestOrder: a step that is missing cannot be made to fail.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		op      string
		prepare func(*testing.T, string)
		want    string
	}{
		{"write", withOld, "openat write fsync close renameat openat fsync close"},
		{"create", nothing, "openat write fsync close linkat unlinkat openat fsync close"},
		{"remove", withOld, "unlinkat openat fsync close"},
		{"absent", nothing, "unlinkat unlinkat openat fsync close"},
		{"mkdir", nothing, "mkdirat openat fsync close mkdirat openat fsync close"},
	} {
		var got []string
		for _, call := range durabletest.Calls(t, c.op, c.prepare) {
			if call.Name != "newfstatat" && !strings.HasPrefix(call.Name, "fchmod") {
				got = append(got, call.Name)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s calls %s\nwant %s", c.op, s, c.want)
		}
	}
}
