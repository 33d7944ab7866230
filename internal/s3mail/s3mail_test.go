package s3mail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/s3mail"
)

var (
	_ mailstore.Arrived = (*s3mail.Bucket)(nil)
	_ mailstore.Spool   = (*s3mail.Bucket)(nil)
	_ mailstore.Inbox   = (*s3mail.Bucket)(nil)

	wallet = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("ab", 20)))
	first  = agentkeys.Must(agentkeys.ParseMessageID("m1"))
)

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func read(t testing.TB, b *s3mail.Bucket, id agentkeys.MessageID) mailstore.Part {
	t.Helper()
	p, err := b.Read(t.Context(), id, 0, 2048, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCalls: what a message costs.
func TestCalls(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	s.put("inbound/m1", bytes.Repeat([]byte("x"), 5000))
	p := read(t, b, first)
	if len(p.Data) != 2048 || p.Size != 5000 {
		t.Fatalf("%d of %d", len(p.Data), p.Size)
	}
	// The server is told the version too, so that it sends nothing in vain.
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("If-Match"); r.Method == http.MethodGet && got != `"`+string(p.Version)+`"` {
			t.Errorf("If-Match: %s", got)
		}
		return false
	}
	if more, err := b.Read(t.Context(), first, 2048, 14<<10, p.Version); err != nil || len(more.Data) != 5000-2048 {
		t.Errorf("%d bytes, %v", len(more.Data), err)
	}
	s.before = nil
	s.took()
	read(t, b, first)
	if created, err := b.Place(t.Context(), first, p.Version, wallet); err != nil || !created {
		t.Fatal(created, err)
	}
	if got := s.took(); !slices.Equal(got, []string{"GET inbound/m1 by router", "PUT bots/" + wallet.String() + "/inbound/m1 by router"}) {
		t.Errorf("%q", got)
	}
	if created, err := b.Place(t.Context(), first, p.Version, wallet); err != nil || created || len(s.took()) != 1 {
		t.Errorf("again: %t, %v", created, err)
	}
	if _, err := b.Fetch(t.Context(), wallet, first, 5000); err != nil {
		t.Error(err)
	}
	if _, err := b.List(t.Context(), wallet, agentkeys.MessageID{}, 10); err != nil {
		t.Error(err)
	}
	if got := s.took(); !slices.Equal(got, []string{"GET bots/" + wallet.String() + "/inbound/m1 by " + wallet.String(), "GET  by " + wallet.String()}) {
		t.Errorf("the wallet's side: %q", got)
	}
}

// TestHidden: who may not list the bucket is told 403 for what is not there.
func TestHidden(t *testing.T) {
	for _, stream := range []bool{false, true} {
		s := newStandIn(t)
		s.hide = true
		c := s.config()
		c.StreamCopies = stream
		b, err := s3mail.Open(c, s3mail.Credentials{Router: static("router")})
		if err != nil {
			t.Fatal(err)
		}
		s.put("inbound/m1", []byte("x"))
		s.put("inbound/m12", []byte("x"))
		v := read(t, b, first).Version
		s.serve(discard{}, request(http.MethodDelete, "inbound/m1"), "inbound/m1")
		_, err = b.Read(t.Context(), first, 0, 10, v)
		is(t, "read", err, mailstore.ErrGone)
		_, err = b.Place(t.Context(), first, v, wallet)
		is(t, "place", err, mailstore.ErrGone)
		_, err = b.Refuse(t.Context(), first, v, "malformed")
		is(t, "refuse", err, mailstore.ErrGone)
		if got := s.keys(); !slices.Equal(got, []string{"inbound/m12"}) {
			t.Errorf("%q", got)
		}
		// And what is there and denied is no message that is gone, with a
		// listing or without.
		s.put("inbound/m1", []byte("x"))
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("list-type") {
				return false
			}
			fail(w, http.StatusForbidden, "AccessDenied", "")
			return true
		}
		_, err = b.Read(t.Context(), first, 0, 10, "")
		is(t, "denied", err, s3mail.ErrDenied)
		_, err = b.Place(t.Context(), first, v, wallet)
		is(t, "denied", err, s3mail.ErrDenied)
		s.before = func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusForbidden, "AccessDenied", "")
			return true
		}
		_, err = b.Read(t.Context(), first, 0, 10, "")
		is(t, "all denied", err, s3mail.ErrDenied)
		is(t, "remove", b.Remove(t.Context(), first), s3mail.ErrDenied)
		is(t, "write", b.Write(t.Context(), first, strings.NewReader("x"), 1), s3mail.ErrDenied)
		_, err = b.Waiting(t.Context(), first, 1)
		is(t, "list", err, s3mail.ErrDenied)
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func request(method, key string) *http.Request {
	return &http.Request{Method: method, URL: &url.URL{Path: "/" + bucket + "/" + key}, Header: http.Header{}}
}

// TestTwoConditions: a copy has two, and a server may not say which one failed.
func TestTwoConditions(t *testing.T) {
	for _, vague := range []bool{false, true} {
		s := newStandIn(t)
		s.vague = vague
		b := s.open(t)
		s.put("inbound/m1", []byte("one"))
		v := read(t, b, first).Version
		if _, err := b.Place(t.Context(), first, v, wallet); err != nil {
			t.Fatal(err)
		}
		if created, err := b.Place(t.Context(), first, v, wallet); created || err != nil {
			t.Errorf("again: %t, %v", created, err)
		}
		s.put("inbound/m1", []byte("two"))
		_, err := b.Place(t.Context(), first, v, agentkeys.Must(agentkeys.ParseWallet("0x"+strings.Repeat("cd", 20))))
		is(t, "replaced", err, mailstore.ErrChanged)
		_, err = b.Read(t.Context(), first, 0, 3, v)
		is(t, "read", err, mailstore.ErrChanged)
		_, err = b.Read(t.Context(), first, 3, 3, v)
		is(t, "read at the end", err, mailstore.ErrChanged)
	}
}

// TestNotPlain: what repeating helps is repeated, and what it does not is an
// error that means nothing final.
func TestNotPlain(t *testing.T) {
	calls := map[string]func(*s3mail.Bucket, mailstore.Version) error{
		"read": func(b *s3mail.Bucket, v mailstore.Version) error {
			_, err := b.Read(t.Context(), first, 0, 10, v)
			return err
		},
		"refuse": func(b *s3mail.Bucket, v mailstore.Version) error {
			_, err := b.Refuse(t.Context(), first, v, "malformed")
			return err
		},
		"write": func(b *s3mail.Bucket, _ mailstore.Version) error {
			return b.Write(t.Context(), mid("m2"), strings.NewReader("x"), 1)
		},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		times  int32
		fails  bool
	}{
		"slow down":       {func(w http.ResponseWriter) { fail(w, 503, "SlowDown", "") }, 2, false},
		"internal":        {func(w http.ResponseWriter) { fail(w, 500, "InternalError", "") }, 2, false},
		"conflict":        {func(w http.ResponseWriter) { fail(w, 409, "ConditionalRequestConflict", "") }, 3, false},
		"200 and failed":  {func(w http.ResponseWriter) { fail(w, 200, "InternalError", "") }, 1, false},
		"conflict always": {func(w http.ResponseWriter) { fail(w, 409, "ConditionalRequestConflict", "") }, 100, true},
		"no bucket":       {func(w http.ResponseWriter) { fail(w, 404, "NoSuchBucket", "") }, 100, true},
		"HTML":            {func(w http.ResponseWriter) { w.WriteHeader(404); fmt.Fprint(w, "<html>") }, 1, false},
		"expired":         {func(w http.ResponseWriter) { fail(w, 400, "ExpiredToken", "") }, 100, true},
		"a redirect":      {func(w http.ResponseWriter) { fail(w, 301, "PermanentRedirect", "") }, 100, true},
	} {
		for what, call := range calls {
			if name == "200 and failed" && what != "refuse" || name == "HTML" && what == "write" {
				continue // that is an answer
			}
			wg.Go(func() { // the SDK waits between its attempts
				s := newStandIn(t)
				b := s.open(t)
				s.put("inbound/m1", []byte("one"))
				p, err := b.Read(t.Context(), first, 0, 1, "")
				if err != nil {
					t.Error(err)
				}
				var left atomic.Int32
				left.Store(c.times)
				s.before = func(w http.ResponseWriter, _ *http.Request) bool {
					if left.Add(-1) < 0 {
						return false
					}
					c.answer(w)
					return true
				}
				err = call(b, p.Version)
				final := errors.Is(err, mailstore.ErrGone) || errors.Is(err, mailstore.ErrChanged) || errors.Is(err, mailstore.ErrExists) || errors.Is(err, mailstore.ErrInvalid)
				if (err != nil) != c.fails || final {
					t.Errorf("%s, %s: %v", name, what, err)
				}
				if made := map[string]string{"refuse": "refused/malformed/m1", "write": "inbound/m2"}[what]; made != "" && slices.Contains(s.keys(), made) == c.fails {
					t.Errorf("%s, %s: there is %q", name, what, s.keys())
				}
			})
		}
	}
}

// TestLostAnswers: a copy whose answer was lost was made all the same, and a
// repetition makes no second one.
func TestLostAnswers(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	s.put("inbound/m1", []byte("one"))
	v := read(t, b, first).Version
	var left atomic.Int32
	s.after = func(*http.Request) bool { return left.Add(-1) >= 0 }
	left.Store(1)
	if _, err := b.Place(t.Context(), first, v, wallet); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Fetch(t.Context(), wallet, first, 10); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	left.Store(1)
	is(t, "write", b.Write(t.Context(), agentkeys.Must(agentkeys.ParseMessageID("m2")), strings.NewReader("two"), 3), mailstore.ErrExists)
}

// TestCutStreams: a server may hang up in the middle of a body that it has no
// use for. What it has already is there, and what it has not is not made by
// asking.
func TestCutStreams(t *testing.T) {
	s := newStandIn(t)
	c := s.config()
	c.StreamCopies = true
	b, err := s3mail.Open(c, s3mail.Credentials{Router: static("router")})
	if err != nil {
		t.Fatal(err)
	}
	s.put("inbound/m1", bytes.Repeat([]byte("x"), 8<<20))
	v := read(t, b, first).Version
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.ContentLength == 0 {
			return false
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
		return true
	}
	for range 2 {
		created, err := b.Place(t.Context(), first, v, wallet)
		if created || err == nil || errors.Is(err, mailstore.ErrGone) {
			t.Errorf("cut: %t, %v", created, err)
		}
		if got := s.keys(); len(got) != 1 {
			t.Fatalf("%q", got)
		}
	}
	s.put("bots/"+wallet.String()+"/inbound/m1", []byte("x"))
	if created, err := b.Place(t.Context(), first, v, wallet); created || err != nil {
		t.Errorf("cut, and there: %t, %v", created, err)
	}
}

// TestNonsense: answers that no S3 gives.
func TestNonsense(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	s.put("inbound/m1", []byte("one"))
	v := read(t, b, first).Version
	for name, answer := range map[string]func(http.ResponseWriter){
		"no ETag": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-0/1")
			w.WriteHeader(206)
			fmt.Fprint(w, "x")
		},
		"a star":       func(w http.ResponseWriter) { w.Header().Set("ETag", `"*"`); fmt.Fprint(w, "x") },
		"elsewhere":    func(w http.ResponseWriter) { ranged(w, "bytes 1-1/2"); fmt.Fprint(w, "x") },
		"beyond":       func(w http.ResponseWriter) { ranged(w, "bytes 0-0/0"); fmt.Fprint(w, "x") },
		"negative":     func(w http.ResponseWriter) { ranged(w, "bytes 0--1/5"); fmt.Fprint(w, "x") },
		"other length": func(w http.ResponseWriter) { ranged(w, "bytes 0-9/20"); fmt.Fprint(w, "x") },
		"no range":     func(w http.ResponseWriter) { ranged(w, "items 0-0/1"); fmt.Fprint(w, "x") },
		"no length": func(w http.ResponseWriter) {
			w.Header().Set("ETag", `"a"`)
			w.(http.Flusher).Flush()
			fmt.Fprint(w, "x")
		},
		"cut": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "2")
			ranged(w, "bytes 0-1/2")
			fmt.Fprint(w, "x")
		},
		"another's ETag": func(w http.ResponseWriter) { ranged(w, "bytes 0-0/1"); fmt.Fprint(w, "x") },
	} {
		s.before = func(w http.ResponseWriter, _ *http.Request) bool { answer(w); return true }
		p, err := b.Read(t.Context(), first, 0, 10, v)
		if err == nil || errors.Is(err, mailstore.ErrGone) || len(p.Data) != 0 {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	page := func(keys ...string) string {
		x := "<ListBucketResult><IsTruncated>true</IsTruncated>"
		for _, k := range keys {
			x += "<Contents><Key>" + k + "</Key><Size>1</Size></Contents>"
		}
		return x + "</ListBucketResult>"
	}
	for name, body := range map[string]string{
		"endless": page(), "backwards": page("inbound/b", "inbound/a"), "twice": page("inbound/a", "inbound/a"), "another's": page("bots/x"),
		"before": page("inbound/Z"),
	} {
		s.before = func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, body); return true }
		_, err := b.Waiting(t.Context(), agentkeys.Must(agentkeys.ParseMessageID("a0")), 10)
		is(t, name, err, s3mail.ErrStore)
	}
}

func ranged(w http.ResponseWriter, s string) {
	w.Header().Set("ETag", `"other"`)
	w.Header().Set("Content-Range", s)
	w.WriteHeader(http.StatusPartialContent)
}

// TestWhole: a server that does not know ranges sends the message from the
// beginning; as much as was asked for is read of it.
func TestWhole(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	s.put("inbound/m1", data)
	s.before = func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }
	p, err := b.Read(t.Context(), first, 0, 25, "")
	if err != nil || p.Size != 10_000 || string(p.Data) != string(data[:25]) {
		t.Errorf("%q of %d, %v", p.Data, p.Size, err)
	}
	_, err = b.Read(t.Context(), first, 5, 25, "")
	is(t, "from the middle", err, s3mail.ErrStore)
}

// TestSides: neither side acts for the other.
func TestSides(t *testing.T) {
	s := newStandIn(t)
	s.put("inbound/m1", []byte("x"))
	router, err := s3mail.Open(s.config(), s3mail.Credentials{Router: static("router")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = router.List(t.Context(), wallet, agentkeys.MessageID{}, 1)
	is(t, "list", err, s3mail.ErrDenied)
	_, err = router.Fetch(t.Context(), wallet, first, 1)
	is(t, "fetch", err, s3mail.ErrDenied)
	c := s.config()
	inbox, err := s3mail.Open(c, s3mail.Credentials{Wallet: s3mail.Credentials{}.Wallet})
	is(t, "neither", err, s3mail.ErrConfig)
	if inbox != nil {
		t.Error("opened")
	}
	if len(s.took()) != 0 {
		t.Error("the store was asked")
	}
}

// TestMisuse is refused before anybody is asked.
func TestMisuse(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	no, none, ctx := agentkeys.MessageID{}, agentkeys.Wallet{}, t.Context()
	bad := func(what string, err error) { t.Helper(); is(t, what, err, mailstore.ErrInvalid) }
	_, err := b.Read(ctx, no, 0, 1, "")
	bad("read", err)
	_, err = b.Read(ctx, first, -1, 1, "")
	bad("read before", err)
	_, err = b.Read(ctx, first, 0, -1, "")
	bad("read backwards", err)
	_, err = b.Place(ctx, no, "v", wallet)
	bad("place", err)
	_, err = b.Place(ctx, first, "v", none)
	bad("place with nobody", err)
	_, err = b.Place(ctx, first, "", wallet)
	bad("place any", err)
	_, err = b.Place(ctx, first, "*", wallet)
	is(t, "place a star", err, mailstore.ErrChanged)
	_, err = b.Read(ctx, first, 0, 1, "x\"\r\ny: z")
	is(t, "read a header", err, mailstore.ErrChanged)
	_, err = b.Refuse(ctx, first, "v", "../x")
	bad("refuse", err)
	bad("remove", b.Remove(ctx, no))
	bad("write", b.Write(ctx, no, strings.NewReader(""), 0))
	bad("write less than nothing", b.Write(ctx, first, strings.NewReader(""), -1))
	is(t, "write too much", b.Write(ctx, first, strings.NewReader(""), mailstore.MaxMessage+1), mailstore.ErrTooLarge)
	is(t, "write more", b.Write(ctx, first, strings.NewReader("xx"), 1), mailstore.ErrTooLarge)
	is(t, "write more, read once", b.Write(ctx, first, io.MultiReader(strings.NewReader("xx")), 1), mailstore.ErrTooLarge)
	is(t, "write less", b.Write(ctx, first, strings.NewReader("x"), 2), io.ErrUnexpectedEOF)
	for _, limit := range []int{0, -1, mailstore.MaxPage + 1} {
		_, err = b.Waiting(ctx, no, limit)
		bad("wait", err)
		_, err = b.List(ctx, wallet, no, limit)
		bad("list", err)
	}
	_, err = b.List(ctx, none, no, 1)
	bad("list nobody's", err)
	_, err = b.Fetch(ctx, none, first, 1)
	bad("fetch nobody's", err)
	_, err = b.Fetch(ctx, wallet, first, -1)
	bad("fetch less than nothing", err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = b.Read(ended, first, 0, 1, "")
	is(t, "ended", err, context.Canceled)
	if got := s.took(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestOddNames: what is no message is not listed, and costs no item.
func TestOddNames(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	for _, k := range []string{"", "a", "b/c", ".hidden", "c d", "d", "é", "z/", "zz"} {
		s.put("inbound/"+k, []byte("x"))
	}
	s.put("inbound.other", []byte("x"))
	for limit := 1; limit < 12; limit++ {
		var got []string
		for after := (agentkeys.MessageID{}); ; {
			p, err := b.Waiting(t.Context(), after, limit)
			if err != nil || len(p.Items) > limit {
				t.Fatal(p, err)
			}
			for _, i := range p.Items {
				got, after = append(got, i.ID.String()), i.ID
				if i.Size != 1 || i.At.IsZero() {
					t.Errorf("%+v", i)
				}
			}
			if !p.More {
				break
			}
		}
		if !slices.Equal(got, []string{"a", "d", "zz"}) {
			t.Errorf("by %d: %q", limit, got)
		}
	}
}

// TestRefused: what was refused can be listed and read, for whatever reason.
func TestRefused(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	want := []string{"a-b/m1", "a-b/m2", "a/m0", "a/m3", "z/m"}
	for _, k := range append([]string{"", "A/m", "a", "a/.x", "a/b/c", "/m"}, want...) {
		s.put("refused/"+k, []byte(k))
	}
	for limit := 1; limit < 12; limit++ {
		var got []string
		for after := (mailstore.Item{}); ; {
			p, err := b.Refused(t.Context(), after, limit)
			if err != nil || len(p.Items) > limit {
				t.Fatal(p, err)
			}
			for _, i := range p.Items {
				after = i
				name := i.Reason + "/" + i.ID.String()
				got = append(got, name)
				if data, err := b.FetchRefused(t.Context(), i.Reason, i.ID, 100); err != nil || string(data) != name {
					t.Errorf("%q, %v", data, err)
				}
			}
			if !p.More {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %q", limit, got)
		}
	}
	_, err := b.Refused(t.Context(), mailstore.Item{Reason: "../"}, 1)
	is(t, "after no reason", err, mailstore.ErrInvalid)
	_, err = b.Refused(t.Context(), mailstore.Item{ID: first}, 1)
	is(t, "after none", err, mailstore.ErrInvalid)
	_, err = b.FetchRefused(t.Context(), "..", first, 1)
	is(t, "fetch for no reason", err, mailstore.ErrInvalid)
	_, err = b.FetchRefused(t.Context(), "a", first, 100)
	is(t, "fetch what is not there", err, mailstore.ErrGone)
}

// TestContention: of many routers one places a message.
func TestContention(t *testing.T) {
	s := newStandIn(t)
	b := s.open(t)
	s.put("inbound/m1", []byte("one"))
	v := read(t, b, first).Version
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			ok, err := b.Place(t.Context(), first, v, wallet)
			if err != nil {
				t.Error(err)
			}
			if ok {
				created.Add(1)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 {
		t.Errorf("%d placed it", created.Load())
	}
}

// TestNothingAmbient: the user's own AWS settings play no part.
func TestNothingAmbient(t *testing.T) {
	thief := newStandIn(t)
	for k, v := range map[string]string{
		"HOME": t.TempDir(), "AWS_ENDPOINT_URL": thief.URL, "AWS_ENDPOINT_URL_S3": thief.URL, "AWS_ACCESS_KEY_ID": "AKIATHIEF", "AWS_SECRET_ACCESS_KEY": "thief",
		"AWS_REGION": "us-gov-west-1", "HTTP_PROXY": thief.URL, "HTTPS_PROXY": thief.URL, "AWS_CA_BUNDLE": "/nonexistent",
	} {
		t.Setenv(k, v)
	}
	s := newStandIn(t)
	b := s.open(t)
	if err := b.Write(t.Context(), first, strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Place(t.Context(), first, read(t, b, first).Version, wallet); err != nil {
		t.Error(err)
	}
	if len(thief.took()) != 0 || len(s.took()) != 3 {
		t.Error("what the environment names was asked")
	}
}

func TestConfig(t *testing.T) {
	good := s3mail.Config{Region: "eu-central-1", Bucket: "the-bucket"}
	if _, err := s3mail.Open(good, s3mail.Credentials{Router: static("x")}); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*s3mail.Config){
		"no region":        func(c *s3mail.Config) { c.Region = "" },
		"no bucket":        func(c *s3mail.Config) { c.Bucket = "" },
		"http":             func(c *s3mail.Config) { c.Endpoint = "http://s3.example.com" },
		"tags in a stream": func(c *s3mail.Config) { c.TagCopies, c.StreamCopies = true, true },
		"a password":       func(c *s3mail.Config) { c.Endpoint = "https://a:hunter2@s3.example.com" },
	} {
		c := good
		change(&c)
		if _, err := s3mail.Open(c, s3mail.Credentials{Router: static("x")}); !errors.Is(err, s3mail.ErrConfig) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
