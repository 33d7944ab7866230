package chrome

import (
	"bytes"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

const secrets = `<p id=t1>Your key is sk-or-v1-0123456789abcdef now</p><p id=t2>Code: 482913</p><p id=t3>12 34 56</p><p id=t4><span>9</span><span>8</span><span>7</span><span>6</span></p>
	<p id=t5><b>sk-or-</b><i>abcdefghijklmnop</i></p><input id=f1 value=canary1><textarea id=f2>canary2</textarea><div id=f3 contenteditable>canary3</div><select id=f4><option>canary4</select>
	<p id=plain>Welcome to the shop</p><style>#drawn::after{content:"sk-0123456789abcdefgh"}</style><p id=drawn>drawn </p>`

func TestShotBlanks(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", secrets+`<iframe src="https://`+login+`/in" width=400 height=200></iframe><x-y></x-y><script>document.querySelector('x-y').attachShadow({mode:'open'}).innerHTML='<p>shadow-key-0123456789</p><input value=canary5>'</script>`)
	s.page(login+"/in", `<p>frame-key-0123456789</p><input value=canary6>`)
	r := launch(t, s)
	r.open(shop + "/")
	r.until("the frame", func(v recipe.View) bool { return len(v.Frames) == 1 && strings.Contains(viewText(v), "frame-key") })
	before, err := r.Look(t.Context(), []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	// What is looked at while the picture is made is what is in the picture.
	frames := r.tab.frames
	copies := map[string]frame{}
	for id, f := range frames {
		copies[string(id)] = *f
	}
	for range 2 {
		shot, err := r.Shot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(shot)); err != nil {
			t.Errorf("it is no PNG: %v", err)
		}
	}
	after, err := r.Look(t.Context(), []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(after)
	if !bytes.Equal(a, b) {
		t.Errorf("the page is not as it was:\n%s\n%s", a, b)
	}
	for _, f := range copies {
		if f.world == "" {
			continue
		}
		var done struct{ Count int }
		if err := r.tab.ask(t.Context(), f, &done, "mask"); err != nil || done.Count == 0 {
			t.Fatalf("masked %d, %v", done.Count, err)
		}
	}
	v, err := r.Look(t.Context(), []string{"input, textarea, select, [contenteditable], #drawn"})
	if err != nil {
		t.Fatal(err)
	}
	shown := viewText(v)
	for _, secret := range []string{"sk-or", "0123456789", "482913", "12 34 56", "9876", "abcdefghijklmnop", "canary", "shadow-key", "frame-key"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q shows in %s", secret, shown)
		}
	}
	if !strings.Contains(shown, "Welcome to the shop") {
		t.Errorf("plain text is blanked: %s", shown)
	}
	for _, e := range v.Elements {
		if len(e.CSS) > 0 {
			t.Errorf("a field shows: %+v", e)
		}
	}
}

// What no script sees is not in the picture: here it is red.
func TestShotLeavesOutClosedRoots(t *testing.T) {
	const red = `<b style="display:block;width:90px;height:90px;background:#f00">x</b>`
	s := newSite(t)
	s.page(shop+"/", `<p id=p>plain</p><x-a></x-a><x-b></x-b><iframe src="https://`+login+`/in"></iframe><iframe srcdoc="<x-a></x-a><script>parent.fill(document)</script>"></iframe><script>
		function fill(d) { d.querySelector('x-a').attachShadow({mode: 'closed'}).innerHTML = '`+red+`' }
		fill(document);
		const b = document.querySelector('x-b').attachShadow({mode: 'open'});
		b.innerHTML = '<x-c></x-c>';
		b.firstChild.attachShadow({mode: 'closed'}).innerHTML = '<x-d></x-d>`+red+`'</script>`)
	s.page(login+"/in", `<p id=in>in</p><x-a></x-a><script>document.querySelector('x-a').attachShadow({mode: 'closed'}).innerHTML = '`+red+`'</script>`)
	r := launch(t, s)
	r.open(shop + "/")
	r.see("#in")
	shot, err := r.Shot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	n, size := 0, picture.Bounds()
	for x := range size.Dx() {
		for y := range size.Dy() {
			if r, g, b, _ := picture.At(x, y).RGBA(); r>>8 > 200 && g>>8 < 60 && b>>8 < 60 {
				n++
			}
		}
	}
	if n > 0 {
		t.Errorf("%d pixels show what is in a closed root", n)
	}
}

func viewText(v recipe.View) string {
	var b strings.Builder
	for _, e := range v.Elements {
		b.WriteString(e.Text + "|" + e.Name + "\n")
	}
	return b.String()
}

func TestRecordAndReplay(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<script src=/app.js></script><form method=post action=/in><input id=p name=password type=password><button id=b>Go</button></form>`)
	s.handle(shop+"/app.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `addEventListener('DOMContentLoaded', () => fetch('/api').then(r => r.json()).then(j => document.body.insertAdjacentHTML('beforeend', '<p id=api>' + j.word + '</p>')))`)
	})
	s.handle(shop+"/api", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"word":"from the api"}`)
	})
	s.handle(shop+"/in", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "canary-session-1", Secure: true, Path: "/"})
		http.Redirect(w, r, "https://"+login+"/home", http.StatusSeeOther)
	})
	s.page(login+"/home", `<p id=home>Home</p>`)
	play := func(r *run) {
		t.Helper()
		r.open(shop + "/")
		if got := r.read("#api"); got != "from the api" {
			t.Errorf("the api says %q", got)
		}
		r.do("#p", text("canary-password-1"))
		r.click("#b")
		if got := r.read("#home"); got != "Home" {
			t.Error(got)
		}
	}
	rec := har.NewRecorder(har.Options{Creator: har.Creator{Name: "test", Version: "1"}})
	r := launch(t, s, func(o *Options) { o.Record = rec })
	play(r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := rec.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "canary") {
		t.Errorf("the recording holds a secret: %s", out.String())
	}
	archive, err := har.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.visits, s.pages = nil, nil
	s.mu.Unlock()
	r = launch(t, s, func(o *Options) { o.Replay = archive })
	play(r)
	if err := r.Open(t.Context(), "https://"+shop+"/elsewhere"); err == nil {
		t.Error("what was not recorded loads")
	}
	if len(s.visits) > 0 || len(r.Contacted()) > 0 {
		t.Errorf("visited %q, contacted %q", s.visits, r.Contacted())
	}
}
