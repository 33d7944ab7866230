package chrome

import (
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
