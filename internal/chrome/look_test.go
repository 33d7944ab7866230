package chrome

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

// Elements with an id beginning with y are in the view, and others are not.
const sights = `<style>.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip:rect(0,0,0,0)}</style>
<h1 id=y-heading>Welcome</h1>
<p id=y-text>Some <b>bold</b> text</p>
<button id=y-button>Press</button><button id=y-svg aria-label="Close it"><svg width=10 height=10></svg></button>
<a id=y-link href=#x>Link</a><div id=y-role role=button tabindex=0>Role</div>
<button id=n-display style="display:none">x</button><div style="display:none"><button id=n-in-display>x</button></div>
<button id=n-visibility style="visibility:hidden">x</button><button id=n-opacity style="opacity:0">x</button>
<div style="opacity:0"><input id=n-in-opacity></div><button id=n-size style="width:0;height:0;padding:0;border:0;overflow:hidden">x</button>
<button id=n-left style="position:absolute;left:-9999px">x</button><button id=n-top style="position:absolute;top:-500px">x</button>
<button id=n-fixed style="position:fixed;left:110vw">x</button><span id=n-sr class=sr>screen reader</span>
<button id=n-clip-path style="clip-path:inset(50%)">x</button><button id=n-scale style="transform:scale(0)">x</button>
<div style="height:0;overflow:hidden"><button id=n-in-collapsed>x</button></div><input id=n-type type=hidden value=x>
<div hidden><p id=n-hidden>x</p></div><template><p id=n-template>x</p></template><details><summary id=y-summary>More</summary><p id=n-details>x</p></details>
<div style="height:50px;overflow:auto"><div style="height:100px"></div><button id=y-in-scroller>Scroll to me</button></div>
<div style="height:3000px"></div><button id=y-below>Below the fold</button>`

func TestLookSeesWhatAPersonSees(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", sights)
	r := launch(t, s)
	r.open(shop + "/?q=1#frag")
	v, err := r.Look(t.Context(), []string{"[id^=y]", "[id^=n]", "][", "#y-below"})
	if err != nil {
		t.Fatal(err)
	}
	if v.URL != "https://"+shop+"/?q=1" || v.Status != 200 || v.Loading {
		t.Errorf("the view is of %q, status %d, loading %v", v.URL, v.Status, v.Loading)
	}
	yes := 0
	for _, e := range v.Elements {
		for _, c := range e.CSS {
			switch c {
			case 0:
				yes++
			case 1, 2:
				t.Errorf("in the view is %+v", e)
			}
		}
	}
	if want := strings.Count(sights, "id=y-"); yes != want {
		t.Errorf("%d of %d elements are in the view: %+v", yes, want, v.Elements)
	}
	for _, want := range []struct{ role, name string }{{"button", "Close it"}, {"button", "Role"}, {"link", "Link"}, {"heading", "Welcome"}} {
		found := false
		for _, e := range v.Elements {
			found = found || e.Role == want.role && e.Name == want.name
		}
		if !found {
			t.Errorf("no %s %q in the view", want.role, want.name)
		}
	}
}

func TestElements(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<label for=mail>Mail <i>address</i></label><input id=mail name=email type=email maxlength=40>
		<label>Name<input id=name value="typed before"></label><input id=ph placeholder="Your code" maxlength=1>
		<input type=checkbox id=on checked><input type=checkbox id=off><div id=aria role=switch aria-checked=true tabindex=0>S</div>
		<button id=dis disabled>D</button><fieldset disabled><button id=set>F</button></fieldset><button id=ad aria-disabled=true>A</button><div inert><button id=in>I</button></div>
		<select id=sel name=lang><option value="">Choose<option>German<option>French</select>
		<div contenteditable id=edit>draft text</div><p id=around>before <textarea id=ta>typed area</textarea> after</p>
		<input type=submit id=send value="Send it">`)
	r := launch(t, s)
	r.open(shop + "/")
	for css, check := range map[string]func(recipe.Element) bool{
		"#mail": func(e recipe.Element) bool {
			return e.Label == "Mail address" && e.Name == "Mail address" && e.Empty && e.MaxLength == 40 && e.Group == "email" && e.Type == "email" && e.Tag == "input" && e.Role == "textbox"
		},
		"#name": func(e recipe.Element) bool { return !e.Empty && e.Name == "Name" && e.Text == "" && e.MaxLength == 0 },
		"#ph":   func(e recipe.Element) bool { return e.Name == "Your code" && e.MaxLength == 1 && e.Empty },
		"#on":   func(e recipe.Element) bool { return e.Checked && e.Role == "checkbox" },
		"#off":  func(e recipe.Element) bool { return !e.Checked },
		"#aria": func(e recipe.Element) bool { return e.Checked && e.Role == "switch" },
		"#dis":  func(e recipe.Element) bool { return e.Disabled && e.Text == "D" },
		"#set":  func(e recipe.Element) bool { return e.Disabled },
		"#ad":   func(e recipe.Element) bool { return e.Disabled },
		"#in":   func(e recipe.Element) bool { return e.Disabled },
		"#sel": func(e recipe.Element) bool {
			return e.Role == "combobox" && e.Empty && e.Text == "" && e.Group == "lang"
		},
		"#edit":   func(e recipe.Element) bool { return !e.Empty && e.Text == "" },
		"#around": func(e recipe.Element) bool { return e.Text == "before after" },
		"#send":   func(e recipe.Element) bool { return e.Name == "Send it" && e.Text == "Send it" && e.Type == "submit" },
	} {
		if e := r.see(css); !check(e) {
			t.Errorf("%s: %+v", css, e)
		}
	}
}

// The value of a field shows nowhere in a view, however names are computed.
func TestViewsHoldNoValues(t *testing.T) {
	s := newSite(t)
	const canary = "canary-not-a-password-4711"
	fields := []string{
		`<input id=f type=password>`, `<input id=f>`, `<textarea id=f></textarea>`, `<div id=f contenteditable role=textbox>x</div>`,
		`<label>Say <input id=f> times</label>`, `<button>Say <input id=f></button>`, `<div role=button tabindex=0>Say <input id=f> more</div>`,
		`<label for=c>Flash <input id=f> times</label><input type=checkbox id=c>`, `<span id=n>Name <input id=f></span><button aria-labelledby=n>b</button>`,
		`<button aria-labelledby=f>b</button><input id=f>`, `<div tabindex=0>Outer <p id=f contenteditable>x</p></div>`, `<h1>Say <textarea id=f></textarea></h1>`,
	}
	r := launch(t, s)
	for i, html := range fields {
		s.page(shop+"/", html)
		r.open(shop + "/")
		r.do("#f", recipe.Act{Type: secret.FromString(canary)})
		if got := r.read("#f"); got != canary {
			t.Errorf("%d: the field holds %q", i, got)
		}
		v, err := r.Look(t.Context(), []string{"*"})
		if err != nil {
			t.Fatal(err)
		}
		if all := fmt.Sprintf("%+v", v); strings.Contains(all, "canary") {
			t.Errorf("%s: %s", html, all)
		}
	}
	if strings.Contains(r.logs.String(), "canary") {
		t.Error("the value is in the log")
	}
}

func TestCovered(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<button id=under style="position:absolute;left:10px;top:10px;width:100px">under</button><div id=lid style="position:absolute;left:0;top:0;width:200px;height:60px;background:#fff"></div>
		<button id=free style="margin-top:100px"><span>free <b style="pointer-events:none">x</b></span></button><div style="position:relative"><label id=l for=i style="position:absolute">over</label><input id=i style="width:40px"></div>`)
	r := launch(t, s)
	r.open(shop + "/")
	under := r.see("#under")
	if !under.Covered {
		t.Error("a covered button counts as free")
	}
	for _, css := range []string{"#free", "#free b", "#i", "#l"} {
		if e := r.see(css); e.Covered {
			t.Errorf("%s counts as covered", css)
		}
	}
	if err := r.Do(t.Context(), under.ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrStale) {
		t.Errorf("a click on a covered button: %v", err)
	}
	if err := r.Do(t.Context(), under.ID, recipe.Act{Type: secret.FromString("x")}); !errors.Is(err, recipe.ErrStale) {
		t.Errorf("typing into a covered button: %v", err)
	}
	for _, id := range []recipe.ElementID{"", "x", "#1", "1#1", recipe.ElementID(strings.Split(string(under.ID), "#")[0] + "#999")} {
		if err := r.Do(t.Context(), id, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrStale) {
			t.Errorf("a click on %q: %v", id, err)
		}
	}
	free := r.see("#free")
	r.open(shop + "/")
	if err := r.Do(t.Context(), free.ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrStale) {
		t.Errorf("a click on an element of the last page: %v", err)
	}
	if _, err := r.Read(t.Context(), free.ID); !errors.Is(err, recipe.ErrStale) {
		t.Errorf("reading an element of the last page: %v", err)
	}
}

// A modal that comes between Look and Do keeps the click from what is below.
func TestLateModal(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<button id=go onclick="this.textContent='clicked'">go</button><script>window.cover=()=>{}</script>
		<button id=arm onclick="document.body.insertAdjacentHTML('beforeend','<div id=modal role=dialog style=position:fixed;inset:0;background:#fff><button id=close onclick=this.parentNode.remove()>Close</button></div>')">arm</button>`)
	r := launch(t, s)
	r.open(shop + "/")
	before := r.see("#go")
	r.click("#arm")
	if err := r.Do(t.Context(), before.ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrStale) {
		t.Fatalf("a click below a modal: %v", err)
	}
	if e := r.see("#go"); !e.Covered || e.ID != before.ID {
		t.Errorf("the button below the modal: %+v", e)
	}
	r.click("#close")
	r.click("#go")
	if got := r.read("#go"); got != "clicked" {
		t.Error(got)
	}
}

func TestShadowRoots(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<x-form></x-form><p id=out>-</p><script>customElements.define('x-form', class extends HTMLElement { connectedCallback() {
		const r = this.attachShadow({mode:'open'}); r.innerHTML = '<label for=in>Inside</label><input id=in><x-deep></x-deep>'; } });
		customElements.define('x-deep', class extends HTMLElement { connectedCallback() { const r = this.attachShadow({mode:'open'});
		r.innerHTML = '<button id=deep><slot></slot>Deep</button>'; r.querySelector('button').onclick = () => out.textContent = 'deep ' + document.querySelector('x-form').shadowRoot.querySelector('#in').value } })</script>`)
	r := launch(t, s)
	r.open(shop + "/")
	if e := r.see("#in"); e.Covered || e.Label != "Inside" {
		t.Errorf("%+v", e)
	}
	r.do("#in", recipe.Act{Type: secret.FromString("text")})
	r.click("#deep")
	if got := r.read("#out"); got != "deep text" {
		t.Error(got)
	}
}

func TestFrames(t *testing.T) {
	s := newSite(t)
	inner := `<style>body{margin:20px}</style><input id=in><button id=b onclick="out.textContent='got '+document.getElementById('in').value">b</button><p id=out>-</p>`
	s.page(shop+"/inner", inner)
	s.page(login+"/inner", inner+`<iframe src="https://`+shop+`/leaf" width=150 height=60></iframe>`)
	s.page(shop+"/leaf", `<button id=leaf onclick="this.textContent='leaf clicked'">leaf</button>`)
	r := launch(t, s)
	for name, frame := range map[string]string{
		"same host":                  `<iframe src="/inner?secret=1#x" style="border:5px solid;padding:7px" width=300 height=200></iframe>`,
		"same host in a closed root": `<div id=host></div><script>document.getElementById('host').attachShadow({mode:'closed'}).innerHTML='<iframe src="/inner?secret=1" width=300 height=200></iframe>'</script>`,
		"listed host":                `<iframe src="https://` + login + `/inner?secret=1" style="border:5px solid" width=300 height=200></iframe>`,
		"srcdoc":                     `<iframe srcdoc="` + strings.ReplaceAll(inner, `"`, "&quot;") + `" width=300 height=200></iframe>`,
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			s.page(shop+"/", `<iframe style="display:none" src="/inner"></iframe><iframe style="width:0;height:0;border:0" src="/inner"></iframe><p>text</p><div style="height:1500px"></div>`+frame)
			r.open(shop + "/")
			r.do("#in", recipe.Act{Type: secret.FromString("words")})
			r.click("#b")
			r.until("the answer of the frame", func(v recipe.View) bool {
				for _, e := range v.Elements {
					if e.Text == "got words" {
						if strings.Contains(e.URL, "?") || name == "listed host" && e.URL != "https://"+login+"/inner" || name == "same host" && e.URL != "https://"+shop+"/inner" {
							t.Errorf("the element is of %q", e.URL)
						}
						return true
					}
				}
				return false
			})
			if name == "listed host" {
				r.click("#leaf")
				r.until("the innermost frame", func(v recipe.View) bool {
					for _, e := range v.Elements {
						if e.Text == "leaf clicked" {
							return len(v.Frames) == 2
						}
					}
					return false
				})
			}
		})
	}
}

func TestFramesOfOthers(t *testing.T) {
	s := newSite(t)
	s.page(evil+"/check", `<p id=bot>I am human</p><button id=botb>x</button>`)
	s.page(shop+"/", `<p>text</p><iframe src="https://`+evil+`/check?k=1" width=300 height=80></iframe><iframe src="https://`+evil+`/hidden" style="visibility:hidden"></iframe>`)
	// Nothing but listed hosts is behind the stand-in.
	r := launch(t, s)
	restore := r.Reach([]string{evil})
	r.open(shop + "/")
	e := r.see("#botb")
	restore()
	v, err := r.Look(t.Context(), []string{"#botb"})
	if err != nil || len(v.Frames) != 1 || v.Frames[0] != "https://"+evil+"/check" {
		t.Errorf("the frames are %q, %v", v.Frames, err)
	}
	if err := r.Do(t.Context(), e.ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrOffHost) {
		t.Errorf("a click in a frame of another host: %v", err)
	}
	if _, err := r.Read(t.Context(), e.ID); !errors.Is(err, recipe.ErrOffHost) {
		t.Errorf("reading in a frame of another host: %v", err)
	}
}

func TestLooksAreBounded(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", strings.Repeat("<p>"+strings.Repeat("wörds ", 300)+"</p>", 3000))
	r := launch(t, s)
	r.open(shop + "/")
	v, err := r.Look(t.Context(), []string{"p"})
	if err != nil || len(v.Elements) != maxElements {
		t.Fatalf("%d elements, %v", len(v.Elements), err)
	}
	for _, e := range v.Elements {
		if len(e.Text) > 512 || len(e.Name) > 256 {
			t.Fatalf("%d bytes of text, %d of name", len(e.Text), len(e.Name))
		}
	}
	s.page(shop+"/frames", `<script>for (let i = 0; i < 66; i++) { const f = document.createElement('iframe'); f.height = 30; f.srcdoc = '<p>inner'; document.body.append(f) }
		onload = () => document.body.insertAdjacentHTML('afterbegin', '<p id=all>all')</script>`)
	r.open(shop + "/frames")
	r.see("#all")
	if v, err = r.Look(t.Context(), nil); err != nil || len(v.Elements) != maxFrames {
		t.Fatalf("%d elements of %d frames, %v", len(v.Elements), maxFrames, err)
	}
}

// An answer that says it is a bot check does so for its own document alone.
func TestAnswersThatAreBotChecks(t *testing.T) {
	s := newSite(t)
	s.handle(shop+"/check", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("CF-Mitigated", "challenge")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<p id=p>Just a moment<script>history.pushState(0, '', '/moved')</script>")
	})
	s.page(shop+"/", `<p id=p>Home</p><iframe src=/check></iframe><script>fetch('/check')</script>`)
	r := launch(t, s)
	for _, path := range []string{"/", "/check", "/"} {
		r.open(shop + path)
		r.see("#p")
		if v, err := r.Look(t.Context(), nil); err != nil || (v.Check != "") != (path == "/check") {
			t.Errorf("%s is %q, %v", path, v.Check, err)
		}
	}
}

func TestLoading(t *testing.T) {
	s := newSite(t)
	release := make(chan struct{})
	s.page(shop+"/", `<a id=go href="/slow">go</a>`)
	s.handle(shop+"/slow", func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = fmt.Fprint(w, "<p id=slow>Slow")
	})
	r := launch(t, s)
	r.open(shop + "/")
	r.click("#go")
	r.until("a page on its way", func(v recipe.View) bool { return v.Loading })
	close(release)
	if got := r.read("#slow"); got != "Slow" {
		t.Error(got)
	}
	r.until("a page that is there", func(v recipe.View) bool { return !v.Loading })
}

// TestLookCost logs what a look costs. It judges nothing: the machine is shared.
func TestLookCost(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", strings.Repeat(`<div class=a><div class=b><label>L <input name=n></label><button>Do <i>it</i></button><a href=/x>See <span>more</span></a></div></div>`, 60))
	r := launch(t, s)
	r.open(shop + "/")
	var n int
	begin := time.Now()
	const times = 20
	for range times {
		v, err := r.Look(t.Context(), []string{"input", "button", ".nothing"})
		if err != nil {
			t.Fatal(err)
		}
		n = len(v.Elements)
	}
	t.Logf("%d elements: %v each", n, time.Since(begin)/times)
}
