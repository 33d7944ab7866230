package inject

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestForward(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("h2=%v", h2), func(t *testing.T) {
			type seen struct{ proto, host, uri, auth, body, custom, ae, ua, method string }
			got := make(chan seen, 1)
			route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got <- seen{r.Proto, r.Host, r.RequestURI, strings.Join(r.Header["Authorization"], "|"), string(body), r.Header.Get("X-Custom"), r.Header.Get("Accept-Encoding"), r.Header.Get("User-Agent"), r.Method}
				w.Header().Set("X-Answer", "42")
				w.WriteHeader(201)
				_, _ = io.WriteString(w, `{"ok":true}`)
			})
			b := newBackend(route)
			addr := serve(t, b, Options{})
			r := newRequest(t, "POST", "http://"+addr+"/openrouter/chat/completions?a=b&c=%20d", strings.NewReader(`{"model":"x"}`))
			r.Header.Set("X-Custom", "kept")
			r.Header.Set("User-Agent", "agent/1")
			res, body := do(t, r)
			if res.StatusCode != 201 || body != `{"ok":true}` || res.Header.Get("X-Answer") != "42" || res.ContentLength != 11 {
				t.Errorf("answer %v %q", res, body)
			}
			s := <-got
			want := seen{"HTTP/1.1", route.Base.Host, "/api/v1/chat/completions?a=b&c=%20d", "Bearer " + canary, `{"model":"x"}`, "kept", "identity", "agent/1", "POST"}
			if h2 {
				want.proto = "HTTP/2.0"
			}
			if s != want {
				t.Errorf("upstream saw %+v, want %+v", s, want)
			}
			if o := b.outcome(t); o.Status != 201 || o.Reason != "" || o.Unsent {
				t.Errorf("outcome %+v", o)
			}
			if b.lent[0].Path != "/chat/completions" || b.lent[0].Method != "POST" || b.lent[0].ID == "" {
				t.Errorf("lent for %+v", b.lent[0])
			}
		})
	}
}
