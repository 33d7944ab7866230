package sites_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

const verifier = "a-verifier-of-a-test-that-is-long-enough-to-be-one"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// owner is a client that trusts the site, and follows nothing.
func owner(s *sites.Site) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CAPEM())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// agree asks for a consent at the site's address and answers it.
func agree(t *testing.T, s *sites.Site, callback, answer string) *url.URL {
	t.Helper()
	base := "https://" + s.Addr().String() + "/auth"
	res, err := owner(s).Get(base + "?" + url.Values{
		"callback_url": {callback}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	m := requestField.FindSubmatch(page)
	if m == nil {
		return nil
	}
	res, err = owner(s).PostForm(base, url.Values{"request": {string(m[1])}, "answer": {answer}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	to, err := res.Location()
	if err != nil {
		t.Fatalf("%d: %v", res.StatusCode, err)
	}
	return to
}

func exchange(s *sites.Site, code, verifier, method string) (int, string) {
	body, _ := json.Marshal(map[string]string{"code": code, "code_verifier": verifier, "code_challenge_method": method})
	w := httptest.NewRecorder()
	s.ConsentAPI().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/auth/keys", bytes.NewReader(body)))
	var out struct {
		Key string `json:"key"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &out)
	return w.Code, out.Key
}

// TestConsent: a code is worth one key, once, in time, to who has the verifier.
func TestConsent(t *testing.T) {
	now := time.Now()
	s, err := sites.Start(sites.Options{Service: "openrouter", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	code := func() string {
		to := agree(t, s, "http://localhost:49152/callback?state=s1", "authorize")
		if to.Host != "localhost:49152" || to.Query().Get("state") != "s1" {
			t.Errorf("it leads to %s with %v", to.Host, to.Query())
		}
		return to.Query().Get("code")
	}

	good := code()
	if status, key := exchange(s, good, verifier, "S256"); status != http.StatusOK || s.KeyLabel(key) == "" {
		t.Errorf("a good code: %d", status)
	}
	if status, _ := exchange(s, good, verifier, "S256"); status != http.StatusForbidden {
		t.Errorf("a code that was used: %d", status)
	}
	if status, _ := exchange(s, code(), verifier+"x", "S256"); status != http.StatusForbidden {
		t.Errorf("a wrong verifier: %d", status)
	}
	if status, _ := exchange(s, code(), verifier, "plain"); status != http.StatusBadRequest {
		t.Errorf("another method: %d", status)
	}
	old := code()
	now = now.Add(10 * time.Minute)
	if status, _ := exchange(s, old, verifier, "S256"); status != http.StatusForbidden {
		t.Errorf("an old code: %d", status)
	}
	to := agree(t, s, "https://app.example/cb", "cancel")
	if q := to.Query(); q.Get("error") != "access_denied" || q.Has("code") {
		t.Errorf("cancelled: %v", q)
	}
	for _, bad := range []string{"http://app.example/cb", "http://127.0.0.1:1/cb", "javascript:1", "https://u@app.example/", ""} {
		if agree(t, s, bad, "authorize") != nil {
			t.Errorf("callback %q is taken", bad)
		}
	}
	if n := len(s.Keys()); n != 1 {
		t.Errorf("%d keys", n)
	}
}
