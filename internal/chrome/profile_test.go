package chrome

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestNoWayForOthers: root's browser is another user, and finds a place that it
// can get to, whatever is shut.
func TestNoWayForOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the browser runs as the user who runs this")
	}
	shut, err := os.MkdirTemp("/tmp", "shut-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shut) })
	if passable(filepath.Join(shut, "below")) {
		t.Fatal("the directory is not shut")
	}
	t.Setenv("TMPDIR", shut)
	s := newSite(t)
	s.page(shop+"/", `<p id=p>x`)
	r := launch(t, s, func(o *Options) { o.Dir = filepath.Join(shut, "browser") })
	r.open(shop + "/")
	r.see("#p")
}

// TestTakenName: somebody else has the name of the directory that is next.
func TestTakenName(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("nobody looks for another directory")
	}
	shut, temp := t.TempDir(), filepath.Dir(passableDir(t))
	if err := os.Chmod(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	taken := filepath.Join(temp, "agentkeys-browser")
	for name, take := range map[string]func() error{
		"somebody's": func() error { return errors.Join(os.Mkdir(taken, 0o755), os.Lchown(taken, nobody, nobody)) },
		"a link":     func() error { return os.Symlink(shut, taken) },
		"a file":     func() error { return os.WriteFile(taken, nil, 0o600) },
	} {
		if err := take(); err != nil {
			t.Fatal(err)
		}
		p, err := newProfile(filepath.Join(shut, "browser"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if filepath.Dir(p.dir) == taken {
			t.Errorf("%s: the profile is there", name)
		}
		if err := errors.Join(p.remove(), os.RemoveAll(taken)); err != nil {
			t.Fatal(err)
		}
	}
}
