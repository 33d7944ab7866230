package local

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/terms"
)

const termsText = "<p>You may have one account. You may use a program of yours to make it, as long as it reads like a person, " +
	"waits like a person and does not make more than one. We may end your account at any time, and you may as well.</p>"

// termsWorld is a Host whose openrouter is the owner's own server, with terms.
type termsWorld struct {
	*world
	srv *httptest.Server
	now time.Time

	mu    sync.Mutex
	page  func(w http.ResponseWriter, r *http.Request)
	reads int
}

func (w *termsWorld) serve(f func(w http.ResponseWriter, r *http.Request)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.page = f
}

func (w *termsWorld) text(text string) {
	w.serve(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, text)
	})
}

func newTermsWorld(t *testing.T) *termsWorld {
	t.Helper()
	w := &termsWorld{world: newWorld(t), now: time.Now()}
	w.Host.now = func() time.Time { return w.now }
	w.srv = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		f := w.page
		w.reads++
		w.mu.Unlock()
		f(rw, r)
	}))
	t.Cleanup(w.srv.Close)
	w.text(termsText)
	w.set(t, openrouter, func(s *catalog.Settings) {
		s.BaseURL, s.CAPEM = w.srv.URL+"/api/v1", w.ca()
		s.AllowAddresses = []netip.AddrPort{netip.MustParseAddrPort(w.srv.Listener.Addr().String())}
	})
	return w
}

func (w *termsWorld) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.srv.Certificate().Raw}))
}

func (w *termsWorld) set(t *testing.T, svc agentkeys.Service, change func(*catalog.Settings)) {
	t.Helper()
	if _, err := w.cat.set(svc, change, func(_, _ *catalog.Entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func (w *termsWorld) review(t *testing.T, d TermsDecision) TermsState {
	t.Helper()
	st, err := w.ReviewTerms(t.Context(), openrouter, TermsReview{Decision: d, By: "A. Reader", Note: "read", URL: w.srv.URL + "/terms"})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// is checks whether the door is open, and why.
func (w *termsWorld) is(t *testing.T, open bool, why string) {
	t.Helper()
	st, err := w.Terms(t.Context(), openrouter)
	if err != nil || st.Open != open || !strings.Contains(st.Why, why) || st.Open && !st.Checked && st.Live {
		t.Errorf("open %v, checked %v, %q, %v; want %v, %q", st.Open, st.Checked, st.Why, err, open, why)
	}
}

func TestTermsLife(t *testing.T) {
	w := newTermsWorld(t)
	w.is(t, false, "nobody has reviewed")
	w.review(t, TermsForbid)
	w.is(t, false, "A. Reader forbade")
	if st := w.review(t, TermsAllow); !st.Open || st.Review.Digest != terms.Digest([]byte(termsText)) {
		t.Errorf("%+v", st)
	}
	w.is(t, true, "A. Reader allowed")

	// 180 days, and not a second more; nor before it was made.
	made := w.now.UTC().Truncate(time.Second)
	w.now = made.Add(TermsAge)
	w.is(t, true, "")
	w.now = made.Add(TermsAge + time.Second)
	w.is(t, false, "older than 180 days")
	w.now = made.Add(-2 * time.Hour)
	w.is(t, false, "in the future")
	w.now = made

	// Markup is not text; a word is.
	w.text("<div>" + strings.ReplaceAll(termsText, " ", " \n") + "</div><script>1</script>")
	w.is(t, true, "")
	w.text(strings.Replace(termsText, "may use", "may not use", 1))
	w.is(t, false, "has changed")
	w.text(termsText)
	w.is(t, true, "")

	if err := w.ForgetTerms(t.Context(), openrouter); err != nil {
		t.Fatal(err)
	}
	w.is(t, false, "nobody has reviewed")
	if err := w.ForgetTerms(t.Context(), openrouter); !errors.Is(err, ErrNoReview) {
		t.Errorf("forgotten twice: %v", err)
	}
}

// Whatever a page does, the door is shut, and no longer than the reading takes.
func TestTermsUnreadable(t *testing.T) {
	w := newTermsWorld(t)
	w.review(t, TermsAllow)
	plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, termsText)
	}))
	defer plain.Close()
	w.set(t, openrouter, func(s *catalog.Settings) {
		s.AllowAddresses = append(s.AllowAddresses, netip.MustParseAddrPort(plain.Listener.Addr().String()))
	})
	html := func(rw http.ResponseWriter) { rw.Header().Set("Content-Type", "text/html") }
	for name, page := range map[string]func(rw http.ResponseWriter, r *http.Request){
		"gone": func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, termsText, 404) },
		"forbidden": func(rw http.ResponseWriter, _ *http.Request) {
			html(rw)
			rw.WriteHeader(403)
			_, _ = io.WriteString(rw, termsText)
		},
		"no HTML": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/pdf")
			_, _ = io.WriteString(rw, termsText)
		},
		"encoded": func(rw http.ResponseWriter, _ *http.Request) {
			html(rw)
			rw.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(rw, termsText)
		},
		"empty": func(rw http.ResponseWriter, _ *http.Request) { html(rw) },
		"by script": func(rw http.ResponseWriter, _ *http.Request) {
			html(rw)
			_, _ = io.WriteString(rw, "<script>"+termsText+"</script>")
		},
		"too large": func(rw http.ResponseWriter, _ *http.Request) { html(rw); big(rw, terms.Max+1) },
		"endless":   func(rw http.ResponseWriter, _ *http.Request) { html(rw); big(rw, 64<<20) },
		"cut": func(rw http.ResponseWriter, _ *http.Request) {
			html(rw)
			rw.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(rw, termsText)
		},
		"reset":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"to plain http": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, plain.URL, http.StatusFound) },
		"in circles":    func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/terms", http.StatusFound) },
		"to this machine": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://127.0.0.1:1/terms", http.StatusFound)
		},
	} {
		w.serve(page)
		st, err := w.Terms(t.Context(), openrouter)
		if err != nil || st.Open || st.Checked || !strings.Contains(st.Why, ErrTermsPage.Error()) {
			t.Errorf("%s: open %v, %q, %v", name, st.Open, st.Why, err)
		}
		if _, err := w.ReviewTerms(t.Context(), openrouter, TermsReview{Decision: TermsAllow, By: "R", Note: "n", URL: w.srv.URL + "/terms"}); !errors.Is(err, ErrTermsPage) {
			t.Errorf("%s: reviewed: %v", name, err)
		}
		// To forbid needs no page.
		if _, err := w.ReviewTerms(t.Context(), openrouter, TermsReview{Decision: TermsForbid, By: "R", Note: "n", URL: w.srv.URL + "/terms"}); err != nil {
			t.Errorf("%s: forbidden: %v", name, err)
		}
		w.text(termsText)
		w.review(t, TermsAllow)
	}
	w.is(t, true, "")
	w.srv.Close()
	w.is(t, false, "could not be reached")
}

func big(w io.Writer, n int) {
	chunk := strings.Repeat("terms and ", 1000)
	for ; n > 0; n -= len(chunk) {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

// A redirect within https is followed, as a reader's browser does.
func TestTermsRedirect(t *testing.T) {
	w := newTermsWorld(t)
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/terms" {
			http.Redirect(rw, r, "/legal/terms", http.StatusMovedPermanently)
			return
		}
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, termsText)
	})
	w.review(t, TermsAllow)
	w.is(t, true, "")
}

// Without an allowance of the owner's, no private address is read.
func TestTermsGuard(t *testing.T) {
	w := newTermsWorld(t)
	anthropic := agentkeys.Must(agentkeys.ParseService("anthropic"))
	_, err := w.ReviewTerms(t.Context(), anthropic, TermsReview{Decision: TermsAllow, By: "R", Note: "n", URL: w.srv.URL + "/terms"})
	if !errors.Is(err, ErrTermsPage) || !strings.Contains(err.Error(), "not public") {
		t.Errorf("%v", err)
	}
	if _, err := w.ReviewTerms(t.Context(), anthropic, TermsReview{Decision: TermsAllow, By: "R", Note: "n"}); !errors.Is(err, ErrNoTermsURL) {
		t.Errorf("no address: %v", err)
	}
	// To forbid, nobody has to know where they are.
	if st, err := w.ReviewTerms(t.Context(), anthropic, TermsReview{Decision: TermsForbid, By: "R", Note: "n"}); err != nil || st.Open || !strings.Contains(st.Why, "R forbade") {
		t.Errorf("forbidden without an address: %+v, %v", st, err)
	}
	if st, err := w.Terms(t.Context(), anthropic); err != nil || st.Review.Decision != TermsForbid || st.URL != "" {
		t.Errorf("kept: %+v, %v", st, err)
	}
	if err := w.ForgetTerms(t.Context(), anthropic); err != nil {
		t.Error(err)
	}
	if w.reads != 0 {
		t.Error("it was read")
	}
}

// Another address in the catalogue asks for another review.
func TestTermsMoved(t *testing.T) {
	w := newTermsWorld(t)
	w.review(t, TermsAllow)
	err := w.changeReviews(t.Context(), grantEvent(), func(f *termsFile) {
		r := f.Reviews[openrouter.String()]
		r.Catalogue = "https://openrouter.ai/old-terms"
		f.Reviews[openrouter.String()] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	w.is(t, false, "another address")
	if w.reads != 1 {
		t.Errorf("%d reads: what is shut anyway is not read", w.reads)
	}
}

// Who plays a service's pages has no terms, unless nobody may sign up at all.
func TestTermsPlayed(t *testing.T) {
	w := newTermsWorld(t)
	at := netip.MustParseAddrPort(w.srv.Listener.Addr().String())
	x := agentkeys.Must(agentkeys.ParseService("x"))
	for _, svc := range []agentkeys.Service{openrouter, x} {
		w.cat.mu.Lock()
		e, err := w.cat.current(svc)
		if err != nil {
			t.Fatal(err)
		}
		played := *e
		played.Owner.SiteAddress, played.Owner.CAPEM = at, w.ca()
		w.cat.merged[svc] = &played
		w.cat.mu.Unlock()
	}
	w.is(t, true, "plays its pages")
	if st, err := w.Terms(t.Context(), x); err != nil || st.Open || st.Live || !strings.Contains(st.Why, "not supported") {
		t.Errorf("%+v, %v", st, err)
	}
	// The stand-in is where the terms are read, whatever their host.
	e, _ := w.cat.entry(openrouter)
	if d, err := w.readTerms(t.Context(), e, w.srv.URL+"/terms"); err != nil || d == "" {
		t.Errorf("%v", err)
	}
	if d, err := w.readTerms(t.Context(), e, "https://example.com/terms"); err != nil || d == "" {
		t.Errorf("by a name that the certificate has: %v", err)
	}
	if _, err := w.readTerms(t.Context(), e, "https://openrouter.ai/terms"); !errors.Is(err, ErrTermsPage) {
		t.Errorf("by a name that it has not: %v", err)
	}
	w.review(t, TermsForbid)
	w.is(t, true, "plays its pages")
}

func TestTermsInput(t *testing.T) {
	w := newTermsWorld(t)
	good := TermsReview{Decision: TermsAllow, By: "R", Note: "n", Digest: terms.Digest([]byte(termsText))}
	for name, change := range map[string]func(*TermsReview){
		"no decision": func(r *TermsReview) { r.Decision = "" }, "none": func(r *TermsReview) { r.Decision = TermsNone },
		"nobody": func(r *TermsReview) { r.By = " " }, "no note": func(r *TermsReview) { r.Note = "" },
		"two lines": func(r *TermsReview) { r.Note = "a\nb" }, "a long name": func(r *TermsReview) { r.By = strings.Repeat("a", 81) },
		"no digest": func(r *TermsReview) { r.Digest = "sha256:0" }, "http": func(r *TermsReview) { r.URL = "http://a.example/" },
		"a user": func(r *TermsReview) { r.URL = "https://a@b.example/" }, "odd host": func(r *TermsReview) { r.URL = "https://127.1/" },
	} {
		r := good
		change(&r)
		if _, err := w.ReviewTerms(t.Context(), openrouter, r); !errors.Is(err, ErrReview) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(w.paths.Terms()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
	if st, err := w.ReviewTerms(t.Context(), openrouter, good); err != nil || st.Open {
		t.Errorf("a saved copy: open %v, %v", st.Open, err)
	}
}

// A file that is not whole opens nothing, and is not written over.
func TestTermsDamaged(t *testing.T) {
	w := newTermsWorld(t)
	w.review(t, TermsAllow)
	whole, err := os.ReadFile(w.paths.Terms())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "null": "null", "another version": strings.Replace(string(whole), `"version": 1`, `"version": 2`, 1),
		"no digest": strings.Replace(string(whole), `"digest": "sha256:`, `"digest": "`, 1), "cut": string(whole[:len(whole)/2]),
		"an unknown decision": strings.Replace(string(whole), `"allow"`, `"maybe"`, 1), "a key more": strings.Replace(string(whole), `"by"`, `"open": true, "by"`, 1),
	} {
		if text == string(whole) {
			t.Fatalf("%s: nothing is damaged", name)
		}
		if err := os.WriteFile(w.paths.Terms(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if st, err := w.Terms(t.Context(), openrouter); !errors.Is(err, ErrConfig) || st.Open {
			t.Errorf("%s: open %v, %v", name, st.Open, err)
		}
		if _, err := w.AllTerms(t.Context()); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: the list: %v", name, err)
		}
		if err := w.ForgetTerms(t.Context(), openrouter); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: forgotten: %v", name, err)
		}
	}
}

// The list reads no page, and so opens no live service.
func TestAllTerms(t *testing.T) {
	w := newTermsWorld(t)
	w.review(t, TermsAllow)
	w.reads = 0
	all, err := w.AllTerms(t.Context())
	if err != nil || len(all) < 10 {
		t.Fatalf("%d, %v", len(all), err)
	}
	for _, st := range all {
		if st.Open || st.Checked || st.Why == "" {
			t.Errorf("%s: %+v", st.Service, st)
		}
	}
	if w.reads != 0 {
		t.Error("a page was read")
	}
}

// It is on record before it counts: without the log nothing is allowed.
func TestTermsRecorded(t *testing.T) {
	w := newTermsWorld(t)
	st := w.review(t, TermsAllow)
	var got []string
	err := w.TailAudit(t.Context(), 2, false, func(_ int64, raw json.RawMessage) error {
		got = append(got, string(raw))
		return nil
	})
	text := strings.Join(got, "\n")
	want := fmt.Sprintf("allow by A. Reader, %s/terms", w.srv.URL)
	if err != nil || strings.Count(text, `"op":"terms.review"`) != 2 || strings.Count(text, want) != 2 || strings.Count(text, st.Review.Digest) != 2 {
		t.Errorf("%v\n%s", err, text)
	}
	if err := w.audit.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReviewTerms(t.Context(), openrouter, TermsReview{Decision: TermsForbid, By: "R", Note: "n", URL: w.srv.URL + "/terms"}); err == nil {
		t.Error("reviewed without a log")
	}
	w.is(t, true, "A. Reader allowed")
	w.Host.now = time.Now
	_ = w.Host.Close(context.Background())
	w.Host = nil
}

// A key is compared with the stored one, and nothing is told of it.
func TestSame(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	openai := agentkeys.Must(agentkeys.ParseService("openai"))
	key := "sk-proj-" + strings.Repeat("a1", 30) + "T3Blbk" + "FJ" + strings.Repeat("b2", 30)
	if stored, same, err := w.Same(ctx, openai, secret.FromString(key)); stored || same || err != nil {
		t.Errorf("nothing stored: %v %v %v", stored, same, err)
	}
	if _, err := w.Store(ctx, openai, secret.FromString(key), StoreOptions{NoVerify: true}); err != nil {
		t.Fatal(err)
	}
	if stored, same, err := w.Same(ctx, openai, secret.FromString(key)); !stored || !same || err != nil {
		t.Errorf("the same: %v %v %v", stored, same, err)
	}
	if stored, same, err := w.Same(ctx, openai, secret.FromString(key[:len(key)-1])); !stored || same || err != nil {
		t.Errorf("another: %v %v %v", stored, same, err)
	}
	if strings.Contains(w.log.String(), key) {
		t.Error("the key is in the log")
	}
}

func grantEvent() grant.Event { return grant.Event{Op: "terms.review", Svc: openrouter} }
