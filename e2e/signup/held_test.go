package signup_test

import (
	"strings"
	"testing"
	"time"
)

// makers are the requests by which something comes to be at a service. sampled
// says after which the tests of every day kill: with the answer on its way, or
// with nothing done yet.
var makers = []struct {
	service, request string
	sampled          map[bool]bool
}{
	{"openrouter", "POST /v1/client/sign_ups", nil},
	{"openrouter", "GET /v1/verify", nil},
	{"openrouter", "POST /settings/keys", map[bool]bool{true: true}},
	{"anthropic", "POST /login", nil},
	{"anthropic", "POST /magic-link", map[bool]bool{true: true}},
	{"anthropic", "POST /settings/keys", nil},
	{"groq", "POST /authenticate", map[bool]bool{false: true}},
	{"groq", "POST /keys", nil},
	// A person's browser outlives the command, and asks to the end.
	{"brave-search", "POST /register", nil},
	{"brave-search", "GET /verify", nil},
	{"brave-search", "POST /app/keys", nil},
	{"gemini", "GET /signed-in", nil},
	{"gemini", "POST /apikey", nil},
}

// TestKillHeld kills the command while the service has a request of it and has
// not answered: with everything done for it, or before anything is.
func TestKillHeld(t *testing.T) {
	for _, m := range makers {
		for _, done := range []bool{true, false} {
			if campaign(t) == 0 && !m.sampled[done] {
				continue
			}
			name := m.service + " " + m.request + map[bool]string{true: " done", false: ""}[done]
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := wayOf(m.service).begin(t)
				w.killHeld(m.request, done)
				if o := w.provision("--json"); o.code != 0 || !o.answer.Resumed {
					t.Fatalf("after the kill: %v", o)
				}
				w.settled("after a kill at " + name)
			})
		}
	}
}

// TestKillAlone kills a run in a browser of its own before a person is wanted:
// the next one comes to where one is, and ends with them.
func TestKillAlone(t *testing.T) {
	if campaign(t) == 0 {
		t.Skip("for the campaign: TestKillHeld has services that need nobody")
	}
	y := wayOf("brave-search")
	for _, request := range []string{"POST /register", "GET /verify"} {
		for _, done := range []bool{true, false} {
			m := moment{request: request, done: done}
			t.Run(m.String(), func(t *testing.T) {
				t.Parallel()
				w := start(t, y.site)
				w.kill(m)
				if o := w.provision("--json", "--resume"); o.code != 10 || !strings.Contains(o.failure.Error.Problem, y.kind) {
					t.Fatal(o)
				}
				w.attend(y)
				if o := w.provision("--json", "--resume"); o.code != 0 || !o.answer.Resumed {
					t.Fatal(o)
				}
				w.settled("after a kill at " + m.String())
				w.browserless("after a kill")
			})
		}
	}
}

// killHeld runs the command until the service has a request of it, and kills it.
func (w *world) killHeld(request string, done bool) {
	w.t.Helper()
	held := w.site.Hold(request, done)
	r := w.begin()
	select {
	case <-held.Arrived():
	case <-r.ended:
		w.t.Fatalf("it never asked: %v", r.end())
	}
	r.kill()
	if o := r.end(); o.code != -1 {
		w.t.Fatalf("it was not killed: %v", o)
	}
	held.Release()
	w.browserless("killed")
	// What the service does for who is gone by now comes before what it is asked
	// next.
	w.quiet()
}

// quiet waits until the service and its letters have been at rest for a while.
func (w *world) quiet() {
	w.t.Helper()
	last := -1
	for range 100 {
		w.mu.Lock()
		now := w.letters
		for _, v := range w.site.Visits() {
			if !strings.HasSuffix(v.Path, "/state") { // where a page waits for a person
				now++
			}
		}
		rest := w.posting == 0
		w.mu.Unlock()
		if rest && now == last {
			return
		}
		last = now
		time.Sleep(250 * time.Millisecond)
	}
	w.t.Fatal("the service comes to no rest")
}
