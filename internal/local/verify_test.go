package local

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// TestVerify: only a service's own clear no keeps a key out, and only its own
// clear yes makes it a good one.
func TestVerify(t *testing.T) {
	key := routerKey(7)
	here := http.Header{"Location": {"https://127.0.0.1:1/elsewhere"}}
	for _, c := range []struct {
		what    string
		service string
		path    string // of the base URL
		status  int
		body    string
		header  http.Header
		verdict catalog.Verdict // "" where the key is refused
		detail  string          // a part of it
	}{
		{"good", "openrouter", "/api/v1", 200, `{"data":{"label":"sk-or","is_management_key":false}}`, nil, catalog.Good, ""},
		{"bad", "openrouter", "/api/v1", 401, `{"error":{"message":"User not found.","code":401}}`, nil, "", "401"},
		{"bad, and it quotes the key", "openrouter", "/api/v1", 401, key, nil, "", "401"},
		{"of a kind that manages", "openrouter", "/api/v1", 200, `{"data":{"is_management_key":true}}`, nil, "", "management key"},
		{"limited", "openai", "/v1", 403, `{}`, nil, catalog.Limited, "may not list models"},
		{"a fault of theirs", "openrouter", "/api/v1", 500, key, nil, catalog.Unclear, "500, which says neither yes nor no"},
		{"out of order", "openrouter", "/api/v1", 503, "", nil, catalog.Unclear, "503"},
		{"too many requests", "openrouter", "/api/v1", 429, "", nil, catalog.Unclear, "429"},
		{"forbidden, which may be the country", "openrouter", "/api/v1", 403, "", nil, catalog.Unclear, "403"},
		{"moved", "openrouter", "/api/v1", 302, "", here, catalog.Unclear, "302"},
		{"moved for good", "openrouter", "/api/v1", 308, "", here, catalog.Unclear, "308"},
		{"no JSON", "openrouter", "/api/v1", 200, "<html>welcome</html>", nil, catalog.Good, ""},
		{"a teapot", "openrouter", "/api/v1", 418, "", nil, catalog.Unclear, "418"},
		{"an end before an answer", "openrouter", "/api/v1", -1, "", nil, catalog.Unclear, "could not be reached"},
		{"a very long answer", "openrouter", "/api/v1", 401, strings.Repeat("x", 1<<20), nil, "", "401"},
		{"nothing to ask", "brave-search", "/res/v1", 200, "", nil, catalog.Unclear, "no known request"},
	} {
		t.Run(strings.ReplaceAll(c.what, " ", "-"), func(t *testing.T) {
			w := newWorld(t)
			s := newService(t)
			w.reach(c.service, s, c.path)
			svc := serviceOf(t, c.service)
			// What was there before stays where the new one is refused.
			if _, err := w.Store(t.Context(), svc, secret.FromString("the-key-of-before"), StoreOptions{NoVerify: true, AnyForm: true}); err != nil {
				t.Fatal(err)
			}
			s.answer(c.status, c.body, c.header)
			v := secret.FromString(key)
			res, err := w.Store(t.Context(), svc, v, StoreOptions{AnyForm: true})
			if v.Len() != 0 {
				t.Error("the key was not cleared")
			}
			said := res.Detail
			if c.verdict == "" {
				if !errors.Is(err, ErrKeyRejected) || w.revealed(c.service) == key {
					t.Fatalf("%+v %v", res, err)
				}
				said = err.Error()
			} else if err != nil || res.Verdict != c.verdict || res.Revision != 2 || w.revealed(c.service) != key {
				t.Fatalf("%+v %v", res, err)
			}
			if !strings.Contains(said, c.detail) || strings.Contains(said, key) || c.detail == "" && said != "" {
				t.Errorf("it says %q", said)
			}
			d, err := w.Credential(t.Context(), svc)
			if good := c.verdict == catalog.Good || c.verdict == catalog.Limited; err != nil || d.VerifiedAt.IsZero() == good {
				t.Errorf("verified at %v, %v", d.VerifiedAt, err)
			}
			if strings.Contains(w.log.String(), key) {
				t.Error("the key is in the log")
			}
			for _, r := range s.requests() {
				if r.URL.RawQuery != "" || strings.Contains(r.URL.Path, key) || r.Header.Get("Authorization") != "Bearer "+key {
					t.Errorf("asked %s %q", r.URL, r.Header)
				}
			}
			if n := len(s.requests()); c.detail != "no known request" && n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestVerifyUnreachable: a service that cannot be asked says nothing, and no
// reason has the key in it.
func TestVerifyUnreachable(t *testing.T) {
	w := newWorld(t)
	s, other := newService(t), newService(t)
	key := routerKey(7)
	svc := serviceOf(t, "openrouter")
	store := func(what, detail string) {
		t.Helper()
		res, err := w.Store(t.Context(), svc, secret.FromString(key), StoreOptions{})
		if err != nil || res.Verdict != catalog.Unclear || !strings.Contains(res.Detail, detail) || strings.Contains(res.Detail, key) {
			t.Errorf("%s: %+v %v", what, res, err)
		}
	}
	w.reach("openrouter", s, "/api/v1")
	s.Close()
	store("nobody listens", "could not be reached")

	w.reach("openrouter", other, "/api/v1")
	url := strings.Replace(other.URL, "127.0.0.1", "localhost", 1) + "/api/v1"
	if _, err := w.SetService(t.Context(), svc, ServiceChange{BaseURL: &url, Force: true}); err != nil {
		t.Fatal(err)
	}
	store("a certificate for another name", "could not be reached")

	if _, err := w.SetService(t.Context(), svc, ServiceChange{Reset: true, Force: true}); err != nil {
		t.Fatal(err)
	}
	url = other.URL + "/api/v1"
	if _, err := w.SetService(t.Context(), svc, ServiceChange{BaseURL: &url, Force: true}); err != nil {
		t.Fatal(err)
	}
	store("an address that is not allowed", "not public and not allowed")
	if len(other.requests()) != 0 {
		t.Errorf("a service was asked that must not be: %v", other.requests())
	}
}

// TestVerifyInQuery: where a key goes into the query, no error shows it.
func TestVerifyInQuery(t *testing.T) {
	for _, id := range catalog.IDs() {
		e, err := catalog.Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		inQuery := false
		for _, p := range e.Inject {
			inQuery = inQuery || p.Query != ""
		}
		if _, _, _, ok := e.VerifyRequest(); !inQuery || !ok || e.Verify.URL != nil {
			continue
		}
		w := newWorld(t)
		s := newService(t)
		w.reach(id.String(), s, e.Base.Path)
		key := "a-key-that-goes-into-a-query-0123456789"
		s.answer(-1, "", nil)
		res, err := w.Store(t.Context(), id, secret.FromString(key), StoreOptions{AnyForm: true})
		if err != nil || res.Verdict != catalog.Unclear || strings.Contains(res.Detail, key) {
			t.Errorf("%s: %+v %v", id, res, err)
		}
		if len(s.requests()) == 0 || !strings.Contains(s.requests()[0].URL.RawQuery, key) {
			t.Errorf("%s was not asked with the key", id)
		}
		return
	}
	t.Skip("no service has its key in a query and is asked there")
}

// TestNoVerify: nobody is asked.
func TestNoVerify(t *testing.T) {
	w := newWorld(t)
	s := newService(t)
	w.reach("openrouter", s, "/api/v1")
	s.answer(401, "", nil)
	if res := w.store("openrouter", routerKey(1)); res.Verdict != catalog.Unclear || res.Detail != "not asked" {
		t.Errorf("%+v", res)
	}
	if len(s.requests()) != 0 {
		t.Error("it was asked")
	}
}
