package chrome

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// TestOpenIsNotOvertaken: the page that is left learns by itself that something
// has happened, and would go on to another. What was asked for is there all the
// same, and was asked for once.
func TestOpenIsNotOvertaken(t *testing.T) {
	s := newSite(t)
	var in atomic.Bool
	s.page(shop+"/wait", `<p id=wait>Wait<script>const ask = async () => {
  (await (await fetch("/state")).text()) === "in" ? location.assign("/else") : setTimeout(ask, 50);
}; ask()</script>`)
	s.handle(shop+"/state", func(w http.ResponseWriter, _ *http.Request) {
		if in.Load() {
			_, _ = fmt.Fprint(w, "in")
		}
	})
	s.handle(shop+"/once", func(w http.ResponseWriter, r *http.Request) {
		in.Store(true)
		http.Redirect(w, r, "/home", http.StatusSeeOther)
	})
	s.handle(shop+"/home", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Second) // the page that is left asks twenty times
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, "<p id=home>Home")
	})
	s.page(shop+"/else", `<p id=else>Else`)
	r := launch(t, s)
	r.open(shop + "/wait")
	r.see("#wait")
	r.open(shop + "/once")
	if got := r.read("#home"); got != "Home" {
		t.Error(got)
	}
	n := 0
	for _, v := range s.visited(shop) {
		if v == "GET "+shop+"/once" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was asked for %d times", n)
	}
}

// TestAttachToStandIn: a stand-in cannot be forced on a browser that runs
// already. Where that browser finds somebody else under the name, nothing more
// is done there.
func TestAttachToStandIn(t *testing.T) {
	s, other := newSite(t), newSite(t)
	s.page(shop+"/", `<input id=in>`)
	own := ownBrowser(t, s)
	right := launch(t, s, func(o *Options) { o.Attach, o.Dir = own, "" })
	right.open(shop + "/")
	right.do("#in", text("words"))
	wrong := launch(t, s, func(o *Options) { o.Attach, o.Dir, o.Site = own, "", other.addr })
	if err := wrong.Open(t.Context(), "https://"+shop+"/"); !errors.Is(err, recipe.ErrOffHost) {
		t.Errorf("opened: %v", err)
	}
	wrong.until("nobody's page", func(v recipe.View) bool { return v.URL == "about:blank" })
}
