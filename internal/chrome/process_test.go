package chrome

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
)

// children returns the processes of a browser that live, with their arguments.
func children(t *testing.T, profile string) map[int]string {
	t.Helper()
	out := map[int]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if bytes.Contains(args, []byte(profile)) || bytes.Contains(env, []byte("HOME="+profile+"\x00")) {
			out[pid] = strings.ReplaceAll(string(args), "\x00", " ")
		}
	}
	return out
}

func status(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func TestSandbox(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	t.Setenv("AGENTKEYS_CANARY_SECRET", "canary-of-the-environment")
	s := newSite(t)
	s.page(shop+"/", `<p id=p>x`)
	r := launch(t, s)
	r.open(shop + "/")
	all := children(t, r.profile.dir)
	renderers := 0
	for pid, args := range all {
		if strings.Contains(args, "no-sandbox") && !strings.Contains(args, "--type=utility") && !strings.Contains(args, "--no-zygote-sandbox") {
			t.Errorf("process %d runs without a sandbox: %s", pid, args)
		}
		for _, id := range strings.Fields(status(t, pid, "Uid")) {
			if id == "0" {
				t.Errorf("process %d is root: %s", pid, args)
			}
			if os.Getuid() == 0 && id != strconv.Itoa(nobody) {
				t.Errorf("process %d is of user %s", pid, id)
			}
		}
		if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); bytes.Contains(env, []byte("canary-of-the-environment")) {
			t.Errorf("process %d has our environment", pid)
		}
		if strings.Contains(args, r.proxy.secret) {
			t.Errorf("process %d has the proxy's secret in its arguments", pid)
		}
		if strings.Contains(args, "--type=renderer") {
			renderers++
			// It shuts itself in once it has started, and a spare one may be
			// starting, or ending.
			got := status(t, pid, "Seccomp")
			for end := time.Now().Add(time.Minute); got == "0" && time.Now().Before(end); got = status(t, pid, "Seccomp") {
				time.Sleep(10 * time.Millisecond)
			}
			if got != "2" && got != "" {
				t.Errorf("renderer %d has seccomp %q", pid, got)
			}
		}
	}
	if renderers == 0 {
		t.Errorf("no renderer among %v", all)
	}
	if i, err := os.Stat(r.profile.dir); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("the profile is %v, %v", i.Mode(), err)
	}
}

// What is typed is nowhere on the disk, and nothing of the run stays.
func TestNothingStays(t *testing.T) {
	const canary = "canary-passw0rd-9921"
	s := newSite(t)
	s.page(shop+"/", `<form method=post action=/in><input id=u name=user autocomplete=username><input id=p name=password type=password autocomplete=current-password><button id=b>Log in</button></form>`)
	s.page(shop+"/in", `<p id=in>in`)
	r := launch(t, s)
	r.open(shop + "/")
	r.do("#u", text("user-"+canary))
	r.do("#p", text(canary))
	r.click("#b")
	r.read("#in")
	dir := r.profile.dir
	search := func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if b, err := os.ReadFile(path); err == nil && (bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte(r.proxy.secret))) {
					t.Errorf("%s holds a secret", path)
				}
			}
			return nil
		})
	}
	search()
	in, err := cdp.Call(t.Context(), r.root, target.GetTargetInfo, target.GetTargetInfoParams{TargetID: r.tab.id})
	if err != nil {
		t.Fatal(err)
	}
	all, err := cdp.Call(t.Context(), r.root, target.GetBrowserContexts, cdp.Empty{})
	if err != nil || in.TargetInfo.BrowserContextID == all.DefaultBrowserContextID {
		t.Errorf("the tab is the profile's own: its cookies go to the disk (%v)", err)
	}
	if strings.Contains(r.logs.String(), canary) {
		t.Error("the log holds the password")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := filepath.Glob(dir + "*"); len(entries) > 0 {
		t.Errorf("after Close there are %q", entries)
	}
	gone(t, dir)
}

// gone waits until no process of a browser lives.
func gone(t *testing.T, profile string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if len(children(t, profile)) == 0 {
			return
		}
	}
	t.Errorf("still there are %v", children(t, profile))
}

// TestChild is no test: it is the process that TestKilled kills.
func TestChild(t *testing.T) {
	dir := os.Getenv("CHROME_TEST_CHILD")
	if dir == "" {
		t.Skip("run by TestKilled")
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Launch(context.Background(), Options{Hosts: []string{shop}, Site: netip.MustParseAddrPort(os.Getenv("CHROME_TEST_SITE")), CAPEM: ca, Dir: filepath.Join(dir, "browser")})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Page().Open(context.Background(), "https://"+shop+"/"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("profile", b.profile.dir)
	_, _ = io.Copy(io.Discard, os.Stdin)
	select {}
}

func TestKilled(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p>x`)
	dir := filepath.Dir(passableDir(t))
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), s.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "CHROME_TEST_CHILD="+dir, "CHROME_TEST_SITE="+s.addr.String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	profile := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "profile "); ok {
			profile = rest
			break
		}
	}
	if profile == "" {
		t.Fatal("the child started no browser")
	}
	// While it lives, another run sweeps nothing of it.
	r := launch(t, s, func(o *Options) { o.Dir = filepath.Join(dir, "browser") })
	if _, err := os.Stat(profile); err != nil {
		t.Errorf("the profile of a live run was swept: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if len(children(t, profile)) == 0 {
		t.Fatal("the child's browser does not run")
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone(t, profile)
	if _, err := os.Stat(profile); err != nil {
		t.Fatalf("who removed the profile? %v", err)
	}
	launch(t, s, func(o *Options) { o.Dir = filepath.Join(dir, "browser") })
	if _, err := os.Stat(profile); !os.IsNotExist(err) {
		t.Errorf("the next run did not sweep: %v", err)
	}
}

func TestLaunchErrors(t *testing.T) {
	s := newSite(t)
	good := Options{Hosts: []string{shop}, Dir: t.TempDir()}
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
	}{
		"no host":                {func(o *Options) { o.Hosts = nil }, ErrStart},
		"no directory":           {func(o *Options) { o.Dir = "" }, ErrStart},
		"no such program":        {func(o *Options) { o.Path = "/nonexistent/chromium" }, ErrStart},
		"another program":        {func(o *Options) { o.Path = "/bin/true" }, ErrStart},
		"certificate for nobody": {func(o *Options) { o.CAPEM = s.ca }, ErrStart},
		"no certificate":         {func(o *Options) { o.Site, o.CAPEM = s.addr, []byte("none") }, ErrStart},
		"no display":             {func(o *Options) { o.Headed = true }, ErrNoDisplay},
		"attach to nothing":      {func(o *Options) { o.Attach = "http://127.0.0.1:1" }, ErrAttach},
		"attach elsewhere":       {func(o *Options) { o.Attach = "http://192.0.2.1:9222" }, ErrAttach},
		"attach to a name":       {func(o *Options) { o.Attach = "http://localhost:9222" }, ErrAttach},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DISPLAY", "")
			t.Setenv("WAYLAND_DISPLAY", "")
			o := good
			c.change(&o)
			b, err := Launch(t.Context(), o)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if b != nil {
				_ = b.Close()
			}
		})
	}
	if left, _ := filepath.Glob(good.Dir + "/run-*"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Find(); runtime.GOOS == "linux" && (!errors.Is(err, ErrNoBrowser) || !strings.Contains(err.Error(), "install")) {
		t.Errorf("Find without a browser: %v", err)
	}
}
