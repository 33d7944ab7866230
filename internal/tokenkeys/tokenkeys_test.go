package tokenkeys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

var start = time.Unix(1_800_000_000, 0).UTC()

func rotate(t testing.TB, dir string, alg token.Alg, now time.Time, lead time.Duration) token.Key {
	t.Helper()
	k, err := tokenkeys.Rotate(dir, alg, now, lead)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func load(t testing.TB, dir string) (kids []string) {
	t.Helper()
	keys, err := tokenkeys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		kids = append(kids, k.KID())
	}
	return kids
}

func ring(t testing.TB, dir string) *token.Ring {
	t.Helper()
	keys, err := tokenkeys.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := token.NewRing(keys, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func signs(t testing.TB, dir string, alg token.Alg, now time.Time) string {
	t.Helper()
	kid, _ := ring(t, dir).Signing(alg, now)
	return kid
}

// TestLife: first key, rotation, pruning.
func TestLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "keys")
	if _, err := tokenkeys.Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	const lead = time.Hour
	first := rotate(t, dir, token.ES256, start.Add(time.Millisecond), lead)
	if signs(t, dir, token.ES256, start) != first.KID() {
		t.Error("the first key does not sign at once")
	}
	rs := rotate(t, dir, token.RS256, start, lead)
	if signs(t, dir, token.RS256, start) != rs.KID() {
		t.Error("the first key of another algorithm does not sign at once")
	}
	second := rotate(t, dir, token.ES256, start.Add(time.Millisecond), lead)
	if at := second.SignsFrom(); at.Before(start.Add(lead+time.Millisecond)) || at.After(start.Add(lead+time.Second)) {
		t.Errorf("the second signs from %v", at)
	}
	if !slices.Contains(ring(t, dir).Published(start), second.KID()) {
		t.Error("the second is not published before it signs")
	}
	if signs(t, dir, token.ES256, start.Add(lead)) != first.KID() || signs(t, dir, token.ES256, start.Add(lead+time.Second)) != second.KID() {
		t.Error("not the right one signs")
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, first.KID() + ".key": 0o600, rs.KID() + ".key": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	gone := second.SignsFrom().Add(token.MasterLife + token.Leeway)
	removed, err := tokenkeys.Prune(dir, gone.Add(-time.Second), token.MasterLife)
	if err != nil || removed != nil || len(load(t, dir)) != 3 {
		t.Errorf("pruned too early: %v, %v", removed, err)
	}
	removed, err = tokenkeys.Prune(dir, gone, token.MasterLife)
	if err != nil || !slices.Equal(removed, []string{first.KID()}) || len(load(t, dir)) != 2 {
		t.Errorf("%v, %v", removed, err)
	}
	// Whatever the time, what signs stays.
	if removed, err = tokenkeys.Prune(dir, start.AddDate(100, 0, 0), token.MasterLife); err != nil || removed != nil {
		t.Errorf("%v, %v", removed, err)
	}
	if _, err := tokenkeys.Prune(dir, gone, time.Hour); !errors.Is(err, token.ErrKey) {
		t.Errorf("pruned what may still be needed: %v", err)
	}
	if _, err := tokenkeys.Rotate(dir, token.ES256, start, -1); err == nil {
		t.Error("a negative lead")
	}
	if _, err := tokenkeys.Rotate(dir, "none", start, 0); !errors.Is(err, token.ErrKey) {
		t.Error(err)
	}
}

// TestLoadRefuses: each thing wrong, with the file, and with what to do.
func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  error
		say   string
		spoil func(t *testing.T, dir, key string) error
	}{
		{"directory open to the group", tokenkeys.ErrExposed, "chmod 0700", func(_ *testing.T, dir, _ string) error { return os.Chmod(dir, 0o750) }},
		{"directory open to all", tokenkeys.ErrExposed, "chmod 0700", func(_ *testing.T, dir, _ string) error { return os.Chmod(dir, 0o777) }},
		{"file open to the group", tokenkeys.ErrExposed, "chmod 0600", func(_ *testing.T, _, key string) error { return os.Chmod(key, 0o640) }},
		{"file open to all", tokenkeys.ErrExposed, "chmod 0600", func(_ *testing.T, _, key string) error { return os.Chmod(key, 0o604) }},
		{"file that others may write", tokenkeys.ErrExposed, "chmod 0600", func(_ *testing.T, _, key string) error { return os.Chmod(key, 0o602) }},
		{"executable file", tokenkeys.ErrExposed, "chmod 0600", func(_ *testing.T, _, key string) error { return os.Chmod(key, 0o700) }},
		{"linked file", tokenkeys.ErrExposed, "symbolic link", func(_ *testing.T, dir, key string) error {
			elsewhere := filepath.Join(filepath.Dir(dir), "elsewhere")
			if err := os.Rename(key, elsewhere); err != nil {
				return err
			}
			return os.Symlink(elsewhere, key)
		}},
		{"dangling link", tokenkeys.ErrExposed, "symbolic link", func(_ *testing.T, dir, _ string) error {
			return os.Symlink("nowhere", filepath.Join(dir, strings.Repeat("A", 43)+".key"))
		}},
		{"linked directory", tokenkeys.ErrExposed, "symbolic link", func(_ *testing.T, dir, _ string) error {
			if err := os.Rename(dir, dir+"2"); err != nil {
				return err
			}
			return os.Symlink(dir+"2", dir)
		}},
		{"a file for a directory", tokenkeys.ErrUnknown, "not a directory", func(_ *testing.T, dir, _ string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.WriteFile(dir, nil, 0o600)
		}},
		{"unknown file", tokenkeys.ErrUnknown, "move it", func(_ *testing.T, dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600)
		}},
		{"backup of an editor", tokenkeys.ErrUnknown, "move it", func(_ *testing.T, _, key string) error { return os.Rename(key, key+"~") }},
		{"directory inside", tokenkeys.ErrUnknown, "move it", func(_ *testing.T, dir, _ string) error { return os.Mkdir(filepath.Join(dir, "old"), 0o700) }},
		{"directory for a key", tokenkeys.ErrUnknown, "regular", func(_ *testing.T, dir, _ string) error { return os.Mkdir(filepath.Join(dir, "x.key"), 0o700) }},
		{"pipe for a key", tokenkeys.ErrUnknown, "regular", func(_ *testing.T, dir, _ string) error {
			return syscall.Mkfifo(filepath.Join(dir, "x.key"), 0o600)
		}},
		{"the same key twice", tokenkeys.ErrUnknown, "remove", func(_ *testing.T, dir, key string) error { return os.Link(key, filepath.Join(dir, "copy.key")) }},
		{"another name", tokenkeys.ErrUnknown, "name it", func(_ *testing.T, dir, key string) error { return os.Rename(key, filepath.Join(dir, "main.key")) }},
		{"empty file", token.ErrKey, "restore", func(_ *testing.T, _, key string) error { return os.Truncate(key, 0) }},
		{"cut file", token.ErrKey, "restore", func(_ *testing.T, _, key string) error { return os.Truncate(key, 100) }},
		{"huge file", tokenkeys.ErrUnknown, "too large", func(_ *testing.T, _, key string) error { return os.Truncate(key, 1<<40) }},
		{"PEM", token.ErrKey, "restore", func(_ *testing.T, _, key string) error {
			return os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\n"), 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			key := filepath.Join(dir, rotate(t, dir, token.ES256, start, 0).KID()+".key")
			rotate(t, dir, token.ES256, start, 0)
			h, err := tokenkeys.Hold(dir, token.MasterLife)
			if err != nil {
				t.Fatal(err)
			}
			before := h.Ring()
			if err := c.spoil(t, dir, key); err != nil {
				t.Fatal(err)
			}
			keys, err := tokenkeys.Load(dir)
			if !errors.Is(err, c.want) || keys != nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v, want %v naming %s and saying %q", err, c.want, dir, c.say)
			}
			// Nothing is added to what is not understood.
			if _, err := tokenkeys.Rotate(dir, token.ES256, start, 0); err == nil {
				t.Error("rotated all the same")
			}
			if _, err := tokenkeys.Prune(dir, start.AddDate(1, 0, 0), token.MasterLife); err == nil {
				t.Error("pruned all the same")
			}
			if err := h.Reload(); !errors.Is(err, c.want) || h.Err() == nil || h.Ring() != before {
				t.Errorf("the holder says %v, %v", err, h.Err())
			}
		})
	}
}

// TestOtherOwner: root can give the directory away, and everybody else has one
// that is root's.
func TestOtherOwner(t *testing.T) {
	dir := "/"
	if os.Geteuid() == 0 {
		dir = filepath.Join(t.TempDir(), "keys")
		k := rotate(t, dir, token.ES256, start, 0)
		file := filepath.Join(dir, k.KID()+".key")
		if err := os.Chown(file, 1, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := tokenkeys.Load(dir); !errors.Is(err, tokenkeys.ErrExposed) || !strings.Contains(err.Error(), file) {
			t.Error(err)
		}
		if err := errors.Join(os.Chown(file, 0, 0), os.Chown(dir, 1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tokenkeys.Load(dir); !errors.Is(err, tokenkeys.ErrExposed) || !strings.Contains(err.Error(), "chown") {
		t.Error(err)
	}
}

// TestReadOnly: as systemd and others hand out credentials.
func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k := rotate(t, dir, token.ES256, start, 0)
	if err := errors.Join(os.Chmod(filepath.Join(dir, k.KID()+".key"), 0o400), os.Chmod(dir, 0o500)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	if got := load(t, dir); !slices.Equal(got, []string{k.KID()}) {
		t.Error(got)
	}
}

// TestOneAtATime: whoever changes the directory is alone, and readers need not
// wait.
func TestOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	rotate(t, dir, token.ES256, start, 0)
	unlock, err := durable.Lock(filepath.Join(dir, ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokenkeys.Rotate(dir, token.ES256, start, 0); !errors.Is(err, durable.ErrLocked) {
		t.Error(err)
	}
	if _, err := tokenkeys.Prune(dir, start, token.MasterLife); !errors.Is(err, durable.ErrLocked) {
		t.Error(err)
	}
	load(t, dir)
	unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := load(t, dir)
	for range 4 {
		wg.Go(func() {
			for range 5 {
				k, err := tokenkeys.Rotate(dir, token.ES256, start, time.Hour)
				mu.Lock()
				if err == nil {
					made = append(made, k.KID())
				} else if !errors.Is(err, durable.ErrLocked) {
					t.Error(err)
				}
				mu.Unlock()
				if _, err := tokenkeys.Load(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(made)
	if got := load(t, dir); !slices.Equal(slices.Sorted(slices.Values(got)), made) {
		t.Errorf("%v, want %v", got, made)
	}
}

// TestFull: a key set stays as short as readers want it.
func TestFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	for i := range 48 {
		if _, err := tokenkeys.Rotate(dir, token.ES256, start, time.Duration(i)*time.Minute); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := tokenkeys.Rotate(dir, token.ES256, start, time.Hour); !errors.Is(err, tokenkeys.ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	if h, err := tokenkeys.Hold(dir, token.MasterLife); err != nil {
		t.Error(err)
	} else if set, err := h.Ring().JWKS(start); err != nil {
		t.Error(err)
	} else if _, err := token.ParseJWKS(set); err != nil {
		t.Error(err)
	}
}
