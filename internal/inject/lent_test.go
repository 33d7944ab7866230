package inject

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

func wiped(l *lent) bool {
	left := len(bytes.Trim(l.raw, "\x00"))
	for _, f := range l.forms {
		left += len(bytes.Trim(f, "\x00"))
	}
	for _, v := range l.shift {
		left += int(v)
	}
	return left == 0 && l.headers == nil && l.query == ""
}

func TestLending(t *testing.T) {
	route := &Route{Service: theService, Place: []Placement{{Header: "A", Prefix: "Bearer "}, {Query: "key"}}}
	other := &Route{Service: theService, Place: []Placement{{Header: "B"}}}
	k := newLending()
	defer k.forgetAll()
	now := time.Now()
	get := func(r *Route, s string) *lent {
		t.Helper()
		l, err := k.acquire(r, secret.FromString(s), now)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a := get(route, canary)
	if again := get(route, canary); again != a {
		t.Error("the same credential was compiled twice")
	}
	if a.headers[0][0] != "Bearer "+canary || a.query != "key="+canary {
		t.Errorf("%q %q", a.headers, a.query)
	}
	b := get(route, "another-secret")
	if b == a || string(b.raw) == string(a.raw) {
		t.Error("two credentials share what was worked out")
	}
	// In use: forgotten, but not cleared until the last release.
	k.forget(secret.FromString(canary))
	if fresh := get(route, canary); fresh == a {
		t.Error("a forgotten credential was found")
	}
	k.release(a)
	if wiped(a) {
		t.Error("cleared in use")
	}
	k.release(a)
	if !wiped(a) {
		t.Error("not cleared by the last release")
	}
	// Not in use: cleared at once.
	k.release(b)
	k.forget(secret.FromString("another-secret"))
	if !wiped(b) {
		t.Error("not cleared")
	}
	// On another route it is another thing.
	c := get(other, canary)
	if c.headers[0][0] != canary {
		t.Errorf("%q", c.headers)
	}
	if _, err := k.acquire(route, secret.Value{}, now); err == nil {
		t.Error("no credential was accepted")
	}
}

func TestLendingIsBounded(t *testing.T) {
	route := &Route{Place: []Placement{{Header: "A"}}}
	k := newLending()
	defer k.forgetAll()
	var held []*lent
	for i := range keepLent + 50 {
		l, err := k.acquire(route, secret.FromString(fmt.Sprintf("secret-number-%d", i)), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
	}
	if len(k.lents) > keepLent {
		t.Errorf("%d are kept", len(k.lents))
	}
	for _, l := range held {
		k.release(l)
	}
	k.forgetAll()
	for i, l := range held {
		if !wiped(l) {
			t.Fatalf("number %d was not cleared", i)
		}
	}
}

func TestIdleLentsAreCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		route := &Route{Place: []Placement{{Header: "A"}}}
		k := newLending()
		idle, _ := k.acquire(route, secret.FromString(canary), time.Now())
		k.release(idle)
		busy, _ := k.acquire(route, secret.FromString("in use all the time"), time.Now())
		time.Sleep(idleLent - time.Minute)
		synctest.Wait()
		if wiped(idle) {
			t.Error("cleared too early")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if !wiped(idle) || wiped(busy) {
			t.Errorf("idle cleared: %v, busy cleared: %v", wiped(idle), wiped(busy))
		}
		k.release(busy)
		time.Sleep(idleLent + 3*time.Minute)
		synctest.Wait()
		if !wiped(busy) || len(k.lents) != 0 || k.timer != nil {
			t.Errorf("left: %d, timer %v", len(k.lents), k.timer)
		}
	})
}

// A credential that is forgotten in the middle of a stream is redacted to the
// stream's end, and gone after it; requests that race with Forget are served.
func TestForget(t *testing.T) {
	pieces := make(chan string, 4)
	b := newBackend(gated(t, true, "text/event-stream", pieces))
	p := New(b, Options{Hosts: SocketHosts()})
	addr := serveProxy(t, p)
	res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	p.Forget(b.secret)
	pieces <- "data: " + canary + "\n\n"
	close(pieces)
	var body bytes.Buffer
	_, err = body.ReadFrom(res.Body)
	_ = res.Body.Close()
	if want := "data: " + stars(canary) + "\n\n"; err != nil || body.String() != want {
		t.Errorf("%q, %v", body.String(), err)
	}
	b.outcome(t)
	p.lending.mu.Lock()
	if len(p.lending.lents) != 0 {
		t.Error("what was forgotten is kept")
	}
	p.lending.mu.Unlock()

	echo := upstream(t, true, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Header.Get("Authorization"))) })
	b = newBackend(echo)
	p = New(b, Options{Hosts: SocketHosts()})
	addr = serveProxy(t, p)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, body := get(t, addr, "/openrouter/a"); body != "Bearer "+stars(canary) {
					t.Errorf("%q", body)
				}
			}
		})
	}
	for range 200 {
		p.Forget(b.secret)
		p.ForgetAll()
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
}

// Two listeners of one proxy differ in their names only.
func TestFor(t *testing.T) {
	b := newBackend(upstream(t, true, func(http.ResponseWriter, *http.Request) {}))
	p := New(b, Options{})
	if res, body := get(t, serveProxy(t, p), "/openrouter/a"); res.StatusCode != 403 || !strings.Contains(body, "foreign-host") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	q := p.For(SocketHosts())
	if res, body := get(t, serveProxy(t, q), "/openrouter/a"); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if p.lending != q.lending || p.busy != q.busy {
		t.Error("they share nothing")
	}
}
