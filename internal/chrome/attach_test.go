package chrome

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// ownBrowser starts a browser as a user would, with DevTools on a port.
func ownBrowser(t *testing.T, s *site) string {
	t.Helper()
	path, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	pins, err := pins(Options{Site: s.addr, CAPEM: s.ca})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProfile(passableDir(t))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--user-data-dir="+p.dir, "--remote-debugging-port=0", "--no-first-run", "--disable-gpu",
		"--host-resolver-rules=MAP * "+s.addr.String(), "--ignore-certificate-errors-spki-list="+strings.Join(pins, ","), "https://"+shop+"/own")
	cmd.Env = []string{"HOME=" + p.dir, "PATH=/usr/bin:/bin", "TMPDIR=" + p.dir}
	cmd.SysProcAttr = attributes()
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_ = p.remove()
	})
	for range 1000 {
		if b, err := os.ReadFile(filepath.Join(p.dir, "DevToolsActivePort")); err == nil && strings.Contains(string(b), "\n") {
			port, _, _ := strings.Cut(string(b), "\n")
			return "http://127.0.0.1:" + port
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the user's browser does not start")
	return ""
}

func TestAttach(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/own", `<p id=own>the user's own tab`)
	s.page(shop+"/", `<label for=in>Mail address</label><input id=in><button id=go aria-label="Go on" onclick="out.textContent=document.getElementById('in').value">x</button><p id=out>-</p>
		<a id=evil href="https://`+evil+`/">evil</a><button id=pop onclick="window.open('https://`+evil+`/pop')">pop</button><button id=next onclick="window.open('/next')">next</button>`)
	s.page(shop+"/next", `<p id=two>Two`)
	s.page(evil+"/", `caught`)
	own := ownBrowser(t, s)
	r := launch(t, s, func(o *Options) { o.Attach, o.Site, o.CAPEM, o.Dir = own, s.addr, nil, "" }, func(o *Options) { o.Site = Options{}.Site })
	tabs := func() (list []string) {
		t.Helper()
		all, err := cdp.Call(t.Context(), r.root, target.GetTargets, target.GetTargetsParams{})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range all.TargetInfos {
			if i.Type == "page" {
				list = append(list, i.URL)
			}
		}
		slices.Sort(list)
		return list
	}
	r.open(shop + "/")
	if e := r.see("#in"); e.Role != "textbox" || e.Name != "Mail address" || e.Label != "Mail address" {
		t.Errorf("%+v", e)
	}
	if e := r.see("#go"); e.Role != "button" || e.Name != "Go on" {
		t.Errorf("%+v", e)
	}
	r.do("#in", text("words"))
	r.click("#go")
	if got := r.read("#out"); got != "words" {
		t.Error(got)
	}
	r.click("#evil")
	r.stopped(recipe.ErrOffHost)
	r.click("#pop")
	r.stopped(recipe.ErrOffHost)
	// A tab that is closed goes a moment later.
	tabsAre := func(want ...string) {
		t.Helper()
		got := tabs()
		for end := time.Now().Add(time.Minute); !slices.Equal(got, want) && time.Now().Before(end); got = tabs() {
			time.Sleep(20 * time.Millisecond)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the tabs are %q, want %q", got, want)
		}
	}
	tabsAre("https://"+shop+"/", "https://"+shop+"/own")
	r.click("#next")
	if got := r.read("#two"); got != "Two" {
		t.Error(got)
	}
	if v := s.visited(evil); len(v) > 0 {
		t.Errorf("the other host was asked for %q", v)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	again := launch(t, s, func(o *Options) { o.Attach, o.CAPEM, o.Dir = own, nil, ""; o.Site = Options{}.Site })
	r.Browser = again.Browser
	tabsAre("about:blank", "https://"+shop+"/own")
}

func TestAttachChecksWhoAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"no browser": "hello", "elsewhere": `{"webSocketDebuggerUrl":"ws://192.0.2.1:9222/devtools/browser/x"}`, "secure": `{"webSocketDebuggerUrl":"wss://127.0.0.1/x"}`, "none": `{}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		if _, err := Launch(t.Context(), Options{Hosts: []string{shop}, Attach: srv.URL}); !errors.Is(err, ErrAttach) {
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
}
