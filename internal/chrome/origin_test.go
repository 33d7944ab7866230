package chrome

import (
	"errors"
	"testing"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// A frame that another host's page has led to an empty document, and that its
// neighbour fills, is that host's, whatever it is a part of.
func TestEmptyDocumentsOfOthers(t *testing.T) {
	s := newSite(t)
	s.page(evil+"/fills", `<script>setInterval(() => { for (let i = 0; i < parent.frames.length; i++) try {
		const w = parent.frames[i]; if (w !== self && w.location.href.startsWith('about:') && !w.document.querySelector('#loot'))
			w.document.body.innerHTML = '<label>Password <input id=loot type=password></label>' } catch {} }, 20)</script>`)
	s.page(evil+"/blank", `<script>onload = () => location = 'about:blank'</script>`)
	s.page(evil+"/nested", `<script>onload = () => location = 'about:blank#x'</script>`)
	// The page's own empty frames are its own.
	s.page(shop+"/own", `<iframe id=own></iframe><script>own.contentDocument.body.innerHTML = '<label>Password <input id=loot type=password></label>'</script>`)
	s.page(shop+"/srcdoc", `<iframe srcdoc="<label>Password <input id=loot type=password></label>"></iframe>`)
	s.page(shop+"/sandbox", `<iframe sandbox srcdoc="<label>Password <input id=loot type=password></label>"></iframe>`)
	// An address that is none is not that of the page around it.
	s.page(evil+"/odd", `<label>Password <input id=loot type=password></label><script>history.replaceState(null, '', '/%zz')</script>`)
	for _, path := range []string{"/blank", "/nested", "/odd"} {
		s.page(shop+path, `<iframe src="https://`+evil+`/fills"></iframe><iframe src="https://`+evil+path+`" width=300></iframe>`)
	}
	r := launch(t, s)
	r.proxy.listed = func(string) bool { return true }
	for path, ours := range map[string]bool{"/blank": false, "/nested": false, "/odd": false, "/sandbox": false, "/own": true, "/srcdoc": true} {
		r.open(shop + path)
		e := r.see("#loot")
		if (e.URL == "" || host(e.URL) == shop) != ours {
			t.Errorf("%s: a field of %q", path, e.URL)
		}
		err := r.Do(t.Context(), e.ID, text("canary"))
		if ours && err != nil || !ours && !errors.Is(err, recipe.ErrOffHost) {
			t.Errorf("%s: typing: %v", path, err)
		}
	}
}
