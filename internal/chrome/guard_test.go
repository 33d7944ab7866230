package chrome

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

func TestOpenRefuses(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p id=home>Home`)
	r := launch(t, s)
	r.proxy.listed = func(string) bool { return true }
	r.open(shop + "/")
	for url, want := range map[string]error{
		"https://" + evil + "/":               recipe.ErrOffHost,
		"https://" + shop + ":8443/":          recipe.ErrOffHost,
		"https://" + shop + ".evil.example/":  recipe.ErrOffHost,
		"https://127.0.0.1/":                  recipe.ErrOffHost,
		"http://" + shop + "/":                recipe.ErrBlocked,
		"https://" + shop + "@" + evil + "/":  recipe.ErrBlocked,
		"file:///etc/passwd":                  recipe.ErrBlocked,
		"data:text/html,<p>x":                 recipe.ErrBlocked,
		"javascript:document.title":           recipe.ErrBlocked,
		"chrome://version/":                   recipe.ErrBlocked,
		"view-source:https://" + shop + "/":   recipe.ErrBlocked,
		"blob:https://" + shop + "/0":         recipe.ErrBlocked,
		"about:blank":                         recipe.ErrBlocked,
		"filesystem:https://" + shop + "/t/x": recipe.ErrBlocked,
		"":                                    recipe.ErrBlocked,
	} {
		if err := r.Open(t.Context(), url); !errors.Is(err, want) {
			t.Errorf("Open(%q) = %v, want %v", url, err, want)
		}
	}
	if got := r.read("#home"); got != "Home" {
		t.Errorf("the page shows %q afterwards", got)
	}
	if v := s.visited(evil); len(v) > 0 {
		t.Errorf("the other host was asked for %q", v)
	}
}

// Each page tries to lead the tab elsewhere when #go is clicked, or at once.
func TestPagesLeadNowhereElse(t *testing.T) {
	s := newSite(t)
	s.page(evil+"/", `<p id=evil>caught`)
	s.handle(shop+"/302", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+evil+"/?redirected", http.StatusFound)
	})
	s.handle(shop+"/302-first", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+login+"/302-second", http.StatusFound)
	})
	s.handle(login+"/302-second", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+evil+"/", http.StatusSeeOther)
	})
	s.handle(shop+"/307", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+evil+"/", http.StatusTemporaryRedirect)
	})
	s.handle(shop+"/file", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="x.bin"`)
		_, _ = io.WriteString(w, "downloaded")
	})
	s.handle(shop+"/refresh-header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Refresh", "0; url=https://"+evil+"/")
		_, _ = io.WriteString(w, "moved")
	})
	s.page(shop+"/inner-top", `<script>top.location='https://`+evil+`/'</script>`)
	s.page(login+"/inner-top", `<script>top.location='https://`+evil+`/'</script>`)
	s.page(login+"/inner-click", `<style>*{margin:0}</style><a id=go target=_top href="https://`+evil+`/" style="display:block;width:200px;height:200px">go</a>`)

	r := launch(t, s)
	// The guard alone stands here: the proxy would let everything pass.
	r.proxy.listed = func(string) bool { return true }
	for _, c := range []struct {
		name, html string
		click      bool
		want       error
	}{
		{"link", `<a id=go href="https://` + evil + `/">go</a>`, true, recipe.ErrOffHost},
		{"link with ping", `<a id=go href="https://` + evil + `/" ping="https://` + shop + `/ping">go</a>`, true, recipe.ErrOffHost},
		{"http link", `<a id=go href="http://` + shop + `/plain">go</a>`, true, recipe.ErrBlocked},
		{"other port", `<a id=go href="https://` + shop + `:8443/">go</a>`, true, recipe.ErrOffHost},
		{"redirect", `<a id=go href="/302">go</a>`, true, recipe.ErrOffHost},
		{"redirect of a redirect", `<a id=go href="/302-first">go</a>`, true, recipe.ErrOffHost},
		{"meta refresh", `<meta http-equiv=refresh content="0;url=https://` + evil + `/">`, false, recipe.ErrOffHost},
		{"refresh header", `<a id=go href="/refresh-header">go</a>`, true, recipe.ErrOffHost},
		{"location", `<script>location='https://` + evil + `/'</script>`, false, recipe.ErrOffHost},
		{"location later", `<button id=go onclick="setTimeout(()=>location.replace('https://` + evil + `/'),50)">go</button>`, true, recipe.ErrOffHost},
		{"form", `<form method=post action="https://` + evil + `/"><input name=a value=secret><button id=go>go</button></form>`, true, recipe.ErrOffHost},
		{"form by GET", `<form action="https://` + evil + `/"><input name=a value=secret><button id=go>go</button></form>`, true, recipe.ErrOffHost},
		{"form redirected with its body", `<form method=post action="/307"><input name=a value=secret><button id=go>go</button></form>`, true, recipe.ErrOffHost},
		{"form into a frame", `<iframe name=f></iframe><form method=post target=f action="https://` + evil + `/"><input name=a value=secret><button id=go>go</button></form>`, true, recipe.ErrOffHost},
		{"window.open", `<button id=go onclick="window.open('https://` + evil + `/')">go</button>`, true, recipe.ErrOffHost},
		{"window.open, then location", `<button id=go onclick="w=window.open(''); w.location='https://` + evil + `/'">go</button>`, true, recipe.ErrOffHost},
		{"window.open without opener", `<button id=go onclick="window.open('https://` + evil + `/','','noopener')">go</button>`, true, recipe.ErrOffHost},
		{"target=_blank", `<a id=go target=_blank href="https://` + evil + `/">go</a>`, true, recipe.ErrOffHost},
		{"form target=_blank", `<form method=post target=_blank action="https://` + evil + `/"><button id=go>go</button></form>`, true, recipe.ErrOffHost},
		{"posting window on a listed host", `<form method=post target=_blank action="/post"><button id=go>go</button></form>`, true, recipe.ErrBlocked},
		{"top navigation of a frame", `<iframe src="/inner-top"></iframe>`, false, recipe.ErrOffHost},
		{"click in a frame of another site", `<iframe src="https://` + login + `/inner-click" width=300 height=300></iframe>`, true, recipe.ErrOffHost},
		{"download", `<a id=go href="/file">go</a>`, true, recipe.ErrBlocked},
		{"download attribute", `<a id=go download href="/file">go</a>`, true, recipe.ErrBlocked},
		{"download of a blob", `<a id=go download=x>go</a><script>go.href=window.URL.createObjectURL(new Blob(['x']))</script>`, true, recipe.ErrBlocked},
		{"blob document", `<button id=go onclick="location=window.URL.createObjectURL(new Blob(['<p id=evil>caught'],{type:'text/html'}))">go</button>`, true, recipe.ErrBlocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			s.page(shop+"/try", c.html)
			err := r.Open(t.Context(), "https://"+shop+"/try")
			if err != nil && (c.click || !errors.Is(err, c.want)) {
				t.Fatal(err)
			}
			if c.click {
				r.click("#go")
			}
			if err == nil {
				r.stopped(c.want)
			}
			if v := s.visited(evil); len(v) > 0 {
				t.Fatalf("the other host was asked for %q", v)
			}
			// It is said once, and the tab goes on.
			v := r.until("a quiet page", func(v recipe.View) bool { return !v.Loading }, "#evil")
			for _, e := range v.Elements {
				if len(e.CSS) > 0 {
					t.Error("the other page is shown")
				}
			}
		})
	}
}

// What Chromium itself lets no page do leaves the page as it is.
func TestPagesOpenNoScheme(t *testing.T) {
	s := newSite(t)
	r := launch(t, s)
	for name, url := range map[string]string{
		"file": "file:///etc/passwd", "data": "data:text/html,<p id=evil>caught", "chrome": "chrome://version/",
		"view-source": "view-source:https://" + shop + "/", "javascript": "javascript:void(document.title='ran')",
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			s.page(shop+"/try", `<p id=home>Home</p><a id=go href="`+url+`">go</a><button id=js onclick="location=go.href">go</button><button id=pop onclick="window.open(go.href)">go</button>`)
			r.open(shop + "/try")
			for _, css := range []string{"#go", "#js", "#pop"} {
				r.click(css)
				// Whatever came of it has happened before the answer to this.
				v, err := r.Look(t.Context(), nil)
				if err != nil && !errors.Is(err, recipe.ErrBlocked) {
					t.Fatal(err)
				}
				if err == nil && v.URL != "https://"+shop+"/try" {
					t.Fatalf("the tab is at %s", v.URL)
				}
				r.until("a quiet page", func(v recipe.View) bool { return !v.Loading && v.URL == "https://"+shop+"/try" })
			}
		})
	}
}

func TestWindowsOfListedHostsAreFollowed(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/next", `<p id=next>Next`)
	s.page(login+"/next", `<p id=next>Next`)
	r := launch(t, s)
	for name, html := range map[string]string{
		"window.open":  `<button id=go onclick="window.open('/next')">go</button>`,
		"target":       `<a id=go target=_blank href="https://` + login + `/next?a=1#b">go</a>`,
		"late":         `<button id=go onclick="w=window.open('');setTimeout(()=>w.location='https://` + shop + `/next',100)">go</button>`,
		"form by GET":  `<form target=_blank action="/next"><button id=go>go</button></form>`,
		"without ways": `<a id=go target=_blank rel="noopener noreferrer" href="/next">go</a>`,
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			s.page(shop+"/try", html)
			r.open(shop + "/try")
			r.click("#go")
			if got := r.read("#next"); got != "Next" {
				t.Error(got)
			}
		})
	}
}

func TestReach(t *testing.T) {
	s := newSite(t)
	s.page(evil+"/", `<p id=evil>there`)
	r := launch(t, s)
	restore := r.Reach([]string{evil})
	r.open(evil + "/")
	if got := r.read("#evil"); got != "there" {
		t.Error(got)
	}
	restore()
	restore()
	if err := r.Do(t.Context(), r.see("#evil").ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrOffHost) {
		t.Errorf("a click on a host that is not listed any more: %v", err)
	}
	if err := r.Open(t.Context(), "https://"+evil+"/"); !errors.Is(err, recipe.ErrOffHost) {
		t.Errorf("opening a host that is not listed any more: %v", err)
	}
	s.page(shop+"/", `<p>x`)
	r.open(shop + "/")
}

func TestDialogsAreDismissed(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p id=p>no</p><script>alert('x'); p.textContent = confirm('x') + '/' + prompt('x')</script><button onclick="p.textContent += '/' + confirm('y')">b</button>
		<script>onbeforeunload = e => { e.preventDefault(); return 'stay' }</script>`)
	s.page(shop+"/next", `<p id=next>Next`)
	r := launch(t, s)
	r.open(shop + "/")
	if got := r.read("#p"); got != "false/null" {
		t.Errorf("the dialogs were answered %q", got)
	}
	r.click("button")
	if got := r.read("#p"); got != "false/null/false" {
		t.Errorf("the dialogs were answered %q", got)
	}
	r.open(shop + "/next")
	if got := r.read("#next"); got != "Next" {
		t.Error(got)
	}
}

func TestLoadErrors(t *testing.T) {
	s := newSite(t)
	s.handle(shop+"/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s.handle(shop+"/500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) })
	r := launch(t, s)
	if err := r.Open(t.Context(), "https://"+shop+"/cut"); !errors.Is(err, recipe.ErrLoad) {
		t.Errorf("a cut answer: %v", err)
	}
	r.open(shop + "/500")
	if v, err := r.Look(t.Context(), nil); err != nil || v.Status != 500 {
		t.Errorf("a broken page: %+v, %v", v.Status, err)
	}

	// A stand-in without its certificate is not believed.
	r = launch(t, s, func(o *Options) { o.CAPEM = nil })
	s.page(shop+"/", "x")
	err := r.Open(t.Context(), "https://"+shop+"/")
	if !errors.Is(err, recipe.ErrLoad) || !strings.Contains(err.Error(), "cert") {
		t.Errorf("an unknown certificate: %v", err)
	}
	if v := s.visited(shop); fmt.Sprint(v) != "[GET shop.example/cut GET shop.example/500]" && len(v) > 3 {
		t.Errorf("it was asked all the same: %v", v)
	}
}

func TestBrowserGone(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<input id=a>`)
	r := launch(t, s)
	r.open(shop + "/")
	e := r.see("#a")
	r.process.kill()
	if _, err := r.Look(t.Context(), nil); !errors.Is(err, recipe.ErrGone) {
		t.Errorf("Look: %v", err)
	}
	if err := r.Open(t.Context(), "https://"+shop+"/"); !errors.Is(err, recipe.ErrGone) {
		t.Errorf("Open: %v", err)
	}
	if err := r.Do(t.Context(), e.ID, recipe.Act{Type: secret.FromString("x")}); !errors.Is(err, recipe.ErrGone) {
		t.Errorf("Do: %v", err)
	}
	if _, err := r.Read(t.Context(), e.ID); !errors.Is(err, recipe.ErrGone) {
		t.Errorf("Read: %v", err)
	}
	dir := r.profile.dir
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the profile is still there: %v", err)
	}
}
