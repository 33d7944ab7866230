package local

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/signer"
)

func TestOneAtATime(t *testing.T) {
	w := newWorld(t)
	if h, err := Open(w.options()); !errors.Is(err, ErrRunning) {
		t.Fatalf("%v %v", h, err)
	}
	// The first one does not mind.
	w.store("openrouter", routerKey(1))
	w.close()
	w.open()
	if w.revealed("openrouter") != routerKey(1) {
		t.Error("another key")
	}
}

// TestOpenFails: what cannot be opened leaves nothing behind that would keep
// it from being opened once it is mended.
func TestOpenFails(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.agent("coder")
	w.lend("coder", "openrouter", book.Terms{})
	w.close()
	p := w.options().Paths
	for path, want := range map[string]error{
		filepath.Join(p.Broker(), "agents", "coder.json"):            book.ErrCorrupt,
		filepath.Join(p.Broker(), "grants", "coder@openrouter.json"): book.ErrCorrupt,
		filepath.Join(p.Config, "settings.json"):                     ErrConfig,
		filepath.Join(p.Config, "services", "x.yaml"):                ErrConfig,
	} {
		whole, err := os.ReadFile(path)
		fresh := errors.Is(err, os.ErrNotExist)
		if err != nil && !fresh {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{ half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := Open(w.options()); !errors.Is(err, want) || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s: %v %v", path, h, err)
		}
		if fresh {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, whole, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The roots of somebody else open no log.
	o := w.options()
	o.Roots = signer.NewRoots()
	if h, err := Open(o); err == nil {
		_ = h.Close(t.Context())
		t.Error("opened with the roots of somebody else")
	}
	w.open()
	if w.revealed("openrouter") != routerKey(1) || len(w.Grants()) != 1 {
		t.Error("something is lost")
	}
}

// TestPort: the port that agents were told is the port that they find.
func TestPort(t *testing.T) {
	w := newWorld(t)
	port := w.addr.(*net.TCPAddr).Port
	for range 2 {
		w.close()
		w.open()
		if got := w.addr.(*net.TCPAddr).Port; got != port {
			t.Fatalf("port %d, then %d", port, got)
		}
	}
	w.close()
	ln, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := Open(w.options()); !errors.Is(err, ErrPort) {
		t.Fatalf("%v %v", h, err)
	}
	// Another by name only, which is then the one to remember.
	o := w.options()
	o.Port = freePort(t)
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(context.Background()); err != nil {
		t.Error(err)
	}
	_ = ln.Close()
	w.open()
	if got := w.addr.(*net.TCPAddr).Port; got != o.Port {
		t.Errorf("port %d was asked for, and then there is %d", o.Port, got)
	}
	w.close()
	for _, odd := range []string{"", "0", "80 81"} {
		if err := os.WriteFile(w.options().Paths.Port(), []byte(odd), 0o600); err != nil {
			t.Fatal(err)
		}
		w.open()
		data, err := os.ReadFile(w.paths.Port())
		if got := w.addr.(*net.TCPAddr).Port; err != nil || got == 0 || strings.TrimSpace(string(data)) != strconv.Itoa(got) {
			t.Errorf("%q: port %d, remembered %q, %v", odd, got, data, err)
		}
		w.close()
	}
	w.open()
}

// TestPrivate: directories that somebody made with their umask are closed, and
// all files are the owner's alone.
func TestPrivate(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.agent("coder")
	w.close()
	p := w.options().Paths
	for _, dir := range []string{p.Config, p.Data, p.State} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.open()
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what goes away while it is looked at
		}
		if err != nil || path == w.dir {
			return err
		}
		fi, err := d.Info()
		if err == nil && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, fi.Mode())
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCloseTwice also counts for a Host of which Open has failed half-way.
func TestCloseTwice(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.Host.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := w.Reveal(ctx, serviceOf(t, "openrouter")); err == nil {
		t.Error("revealed after Close")
	}
	w.Host = nil
}

func TestPaths(t *testing.T) {
	long := "/" + strings.Repeat("x", 120)
	for _, c := range []struct {
		what string
		env  map[string]string
		want Paths
		err  string
	}{
		{what: "a home of its own", env: map[string]string{"AGENTKEYS_HOME": "/a", "HOME": "/h", "XDG_DATA_HOME": "/d"},
			want: Paths{Config: "/a/config", Data: "/a/data", State: "/a/state", Run: "/a/run"}},
		{what: "a relative home of its own", env: map[string]string{"AGENTKEYS_HOME": "a", "HOME": "/h"}, err: "not an absolute path"},
		{what: "the user's home", env: map[string]string{"HOME": "/h"}, want: Paths{
			Config: "/h/.config/agentkeys", Data: "/h/.local/share/agentkeys", State: "/h/.local/state/agentkeys", Run: "/h/.local/state/agentkeys/run",
		}},
		{what: "XDG", env: map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
			want: Paths{Config: "/c/agentkeys", Data: "/d/agentkeys", State: "/s/agentkeys", Run: "/r/agentkeys"}},
		{what: "relative XDG, which is ignored", env: map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_RUNTIME_DIR": "r"}, want: Paths{
			Config: "/h/.config/agentkeys", Data: "/h/.local/share/agentkeys", State: "/h/.local/state/agentkeys", Run: "/h/.local/state/agentkeys/run",
		}},
		{what: "nothing", env: nil, err: "HOME"},
		{what: "a relative home", env: map[string]string{"HOME": "h"}, err: "HOME"},
		{what: "XDG without a home", env: map[string]string{"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "/s"},
			want: Paths{Config: "/c/agentkeys", Data: "/d/agentkeys", State: "/s/agentkeys", Run: "/s/agentkeys/run"}},
	} {
		got, err := PathsFrom(func(name string) string { return c.env[name] })
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v %v", c.what, got, err)
		}
	}
	// Sockets have short names, whatever the home, and none is another's.
	seen := map[string]bool{}
	for _, home := range []string{long, long + "y", long + "/z"} {
		p, err := PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": home}[name] })
		if err != nil || len(p.Control()) > 103 || len(p.AgentSockets())+len("/")+32+len(".sock") > 103 || seen[p.Run] {
			t.Errorf("%s: %s %v", home, p.Control(), err)
		}
		if !strings.Contains(p.Run, "-"+strconv.Itoa(os.Getuid())+"-") || p.Data != home+"/data" {
			t.Errorf("%s: %+v", home, p)
		}
		again, _ := PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": home}[name] })
		if again != p {
			t.Errorf("%+v, then %+v", p, again)
		}
		seen[p.Run] = true
	}
}
