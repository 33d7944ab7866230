package chrome

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

func text(s string) recipe.Act { return recipe.Act{Type: secret.FromString(s)} }

// A field as frameworks make it: its value is what their state says, and state
// changes by trusted events alone.
const controlled = `<input id=in><p id=out>-</p><script>
	let state = ''; const f = document.getElementById('in');
	const desc = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
	Object.defineProperty(f, 'value', {get() { return desc.get.call(this) }, set(v) { desc.set.call(this, v) }});
	f.addEventListener('input', e => { if (e.isTrusted) state = desc.get.call(f); });
	f.addEventListener('blur', () => { out.textContent = state; });
	setInterval(() => { if (desc.get.call(f) !== state) desc.set.call(f, state) }, 5);
	</script><button id=other>other</button>`

func TestTyping(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/controlled", controlled)
	s.page(shop+"/plain", `<input id=in value="old text"><textarea id=area>old lines</textarea><div id=edit contenteditable>old <b>words</b></div>
		<input id=mail type=email value=a@b.example><input id=number type=number value=3><input id=pass type=password value=x><input id=ro readonly value=r><input id=dis disabled><input id=max maxlength=3>
		<p id=keys></p><script>document.getElementById('pass').onkeydown = e => keys.textContent += e.key</script>`)
	s.page(shop+"/split", `<div id=row></div><p id=out></p><script>for (let i = 0; i < 6; i++) { const f = document.createElement('input'); f.maxLength = 1; f.id = 'c' + i; f.style.width = '20px';
		f.oninput = () => { if (f.value && f.nextSibling) f.nextSibling.focus(); out.textContent = [...row.children].map(x => x.value).join('') }; row.append(f) }</script>`)
	r := launch(t, s)

	r.open(shop + "/controlled")
	r.do("#in", text("typed by keys"))
	r.click("#other")
	if got := r.read("#out"); got != "typed by keys" {
		t.Errorf("the framework has %q", got)
	}

	r.open(shop + "/plain")
	for css, in := range map[string]string{
		"#in": "Grüße, 世界 ☃ $%&/()=?`´'\"\\<>|", "#area": "one line", "#edit": "new words", "#mail": "me+x@shop.example", "#number": "42", "#pass": "Pa55 w0rd!",
	} {
		r.do(css, text(in))
		if got := r.read(css); got != in {
			t.Errorf("%s holds %q, want %q", css, got, in)
		}
	}
	if got := r.read("#keys"); got != "Pa55 w0rd!" && got != "Shift"+"Pa55 w0rd!" {
		t.Logf("keys: %q", got)
	}
	r.do("#max", text("abcdef"))
	if got := r.read("#max"); got != "abc" {
		t.Errorf("a field of three characters holds %q", got)
	}
	for _, css := range []string{"#ro", "#dis"} {
		if err := r.Do(t.Context(), r.see(css).ID, text("x")); !errors.Is(err, recipe.ErrStale) {
			t.Errorf("typing into %s: %v", css, err)
		}
	}
	err := r.Do(t.Context(), r.see("#in").ID, text("line\ncanary-word"))
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("typing a control character: %v", err)
	}

	r.open(shop + "/split")
	for i, c := range "123456" {
		r.do("#c"+string(rune('0'+i)), text(string(c)))
	}
	if got := r.read("#out"); got != "123456" {
		t.Errorf("the split fields hold %q", got)
	}
	// Or all at once, as a page of this kind hands them on.
	r.open(shop + "/split")
	r.do("#c0", text("654321"))
	if got := r.read("#out"); got != "654321" {
		t.Errorf("the split fields hold %q", got)
	}
}

func TestChoosing(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<select id=sel><option value=0>Choose<option value=de>  German
		<option value=fr>French<option disabled>None</select><p id=out>-</p><script>sel.onchange = e => out.textContent = sel.value</script>
		<style>.box{position:absolute;opacity:0;width:0;height:0}.clip{position:absolute;clip:rect(0 0 0 0);width:1px;height:1px;overflow:hidden}.pic{display:inline-block;width:20px;height:20px;background:#888}</style>
		<label><input type=checkbox id=styled class=box><span class=pic></span> I agree to <a href="/terms" id=terms>the terms and all that belongs to them in every detail</a></label>
		<p><input type=checkbox id=clipped class=clip><label for=clipped>Other</label></p>
		<p><input type=checkbox id=gone style="display:none"><label for=gone>Third</label></p>
		<p><input type=checkbox id=bare></p><p><input type=checkbox id=lost class=box></p><div id=sw role=switch tabindex=0 aria-checked=false onclick="this.setAttribute('aria-checked', this.getAttribute('aria-checked') != 'true')">switch</div>`)
	s.page(shop+"/terms", `<p>terms`)
	r := launch(t, s)
	r.open(shop + "/")
	r.do("#sel", recipe.Act{Choose: "German"})
	if got := r.read("#out"); got != "de" {
		t.Errorf("the page heard of %q", got)
	}
	for _, option := range []string{"Spanish", "None", "de"} {
		if err := r.Do(t.Context(), r.see("#sel").ID, recipe.Act{Choose: option}); !errors.Is(err, recipe.ErrStale) {
			t.Errorf("choosing %q: %v", option, err)
		}
	}
	for _, css := range []string{"#clipped", "#gone", "#bare", "#sw", "#styled"} {
		for range 2 { // ticking twice is ticking once
			r.do(css, recipe.Act{Tick: true})
			if !r.see(css).Checked {
				t.Errorf("%s is not ticked", css)
			}
		}
	}
	v, err := r.Look(t.Context(), []string{"#lost"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range v.Elements {
		if len(e.CSS) > 0 {
			t.Errorf("a box that nobody sees is in the view: %+v", e)
		}
	}
}

func TestSinglePageApplication(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<div id=root><button id=go onclick="history.pushState({},'','/step/2?x=1#frag'); root.innerHTML='<p id=two>Two</p><button id=back onclick=history.back()>back</button>'">go</button></div><script>onpopstate=()=>root.innerHTML='<p id=one>One'</script>`)
	r := launch(t, s)
	r.open(shop + "/")
	old := r.see("#go")
	r.click("#go")
	if got := r.read("#two"); got != "Two" {
		t.Error(got)
	}
	if v, err := r.Look(t.Context(), nil); err != nil || v.URL != "https://"+shop+"/step/2?x=1" || v.Loading {
		t.Errorf("%q, loading %v, %v", v.URL, v.Loading, err)
	}
	if err := r.Do(t.Context(), old.ID, recipe.Act{Click: true}); !errors.Is(err, recipe.ErrStale) {
		t.Errorf("a click on what was replaced: %v", err)
	}
	r.click("#back")
	if got := r.read("#one"); got != "One" {
		t.Error(got)
	}
}

func TestReadReturnsValueOrText(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<input id=i value=" a&quot;\u0041 "><textarea id=a>x
y</textarea><code id=c>sk-<b>fake</b>-0001</code><p id=e></p><p id=u>Ünï 🎉</p><select id=s><option>Eins<option selected>Zwei</select>`)
	r := launch(t, s)
	r.open(shop + "/")
	for css, want := range map[string]string{"#i": `a"\u0041`, "#a": "x\ny", "#c": "sk-fake-0001", "#u": "Ünï 🎉", "#s": "Zwei"} {
		if got := r.read(css); got != want {
			t.Errorf("%s reads %q, want %q", css, got, want)
		}
	}
}

func TestServiceWorkersAreBypassed(t *testing.T) {
	s := newSite(t)
	s.handle(shop+"/sw.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write([]byte(`oninstall=()=>skipWaiting(); onactivate=e=>e.waitUntil(clients.claim()); onfetch=e=>e.respondWith(new Response('<p id=p>worker',{headers:{'Content-Type':'text/html'}}))`))
	})
	s.page(shop+"/", `<p id=p>server</p><p id=ready>-</p><script>navigator.serviceWorker.register('/sw.js').then(()=>navigator.serviceWorker.ready).then(()=>ready.textContent='ready').catch(e=>ready.textContent='refused')</script><a id=go target=_blank href="/again">go</a>`)
	s.page(shop+"/again", `<p id=again>server</p>`)
	r := launch(t, s)
	r.open(shop + "/")
	r.until("the worker", func(v recipe.View) bool {
		for _, e := range v.Elements {
			if e.Text == "ready" || e.Text == "refused" {
				return true
			}
		}
		return false
	})
	r.open(shop + "/")
	if got := r.read("#p"); got != "server" {
		t.Errorf("the page comes from the %s", got)
	}
	// A window is followed all the same.
	r.click("#go")
	if got := r.read("#again"); got != "server" {
		t.Errorf("the window's page comes from the %s", got)
	}
}
