package provision

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
)

// vendor plays a service that asks for consent as OpenRouter documents it.
type vendor struct {
	t         *testing.T
	challenge string
	body      string
	status    int
	key       string
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	v.body = string(data)
	var q struct {
		Code     string `json:"code"`
		Verifier string `json:"code_verifier"`
	}
	sum := sha256.Sum256(nil)
	if json.Unmarshal(data, &q) == nil {
		sum = sha256.Sum256([]byte(q.Verifier))
	}
	switch {
	case v.status != 0:
		w.WriteHeader(v.status)
	case r.Method != "POST" || r.URL.Path != "/api/v1/auth/keys" || q.Code != "the-code" || base64.RawURLEncoding.EncodeToString(sum[:]) != v.challenge:
		w.WriteHeader(http.StatusForbidden)
	default:
		_ = json.NewEncoder(w).Encode(map[string]string{"key": v.key, "user_id": "user_1"})
	}
}

// consent makes a door over a vendor; person plays who agrees, given the page's
// parameters and the callback.
func consent(t *testing.T, v *vendor, person func(q url.Values, back *url.URL)) *Consent {
	t.Helper()
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	e, err := catalog.Lookup(service(t, "openrouter"))
	if err != nil {
		t.Fatal(err)
	}
	c := NewConsent(e, srv.Client().Transport, func(_ context.Context, i Invitation) error {
		page := i.Page
		u, err := url.Parse(page)
		if err != nil || !strings.HasPrefix(page, "https://openrouter.ai/auth?") {
			t.Errorf("page %s: %v", page, err)
		}
		back, err := url.Parse(u.Query().Get("callback_url"))
		if err != nil || back.Hostname() != "localhost" || back.Scheme != "http" {
			t.Errorf("callback %v: %v", back, err)
		}
		v.challenge = u.Query().Get("code_challenge")
		if u.Query().Get("code_challenge_method") != "S256" || len(u.Query()) != 3 {
			t.Errorf("parameters: %v", u.Query())
		}
		go person(u.Query(), back)
		return nil
	})
	if c.Token.String() != "https://openrouter.ai/api/v1/auth/keys" {
		t.Errorf("token endpoint: %s", c.Token)
	}
	c.Token, _ = url.Parse(srv.URL + "/api/v1/auth/keys")
	return c
}

// visit follows the callback with more parameters, as a browser would.
func visit(t *testing.T, back *url.URL, more url.Values) (status int, body string) {
	u := *back
	q := u.Query()
	for k, v := range more {
		q[k] = v
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequest("GET", "http://127.0.0.1:"+u.Port()+u.RequestURI(), nil)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	req.Host = u.Host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

func goodKey() string { return "sk-or-v1-" + strings.Repeat("0123456789abcdef", 4) }

func TestConsent(t *testing.T) {
	v := &vendor{t: t, key: goodKey()}
	c := consent(t, v, func(_ url.Values, back *url.URL) {
		// Whoever does not know the state ends nothing and learns nothing.
		for _, q := range []url.Values{{"state": {"guess"}, "code": {"evil"}}, {"state": {""}, "error": {"x"}}} {
			if status, _ := visit(t, back, q); status != http.StatusNotFound {
				t.Errorf("%v: %d", q, status)
			}
		}
		foreign := *back
		foreign.Host = "evil.test:" + back.Port()
		if status, _ := visit(t, &foreign, url.Values{"code": {"evil"}}); status != http.StatusNotFound {
			t.Errorf("a foreign Host: %d", status)
		}
		if status, page := visit(t, back, url.Values{"code": {"the-code"}, "iss": {"https://openrouter.ai"}}); status != 200 || !strings.Contains(page, "close this page") {
			t.Errorf("%d %s", status, page)
		}
	})
	found, err := c.Enter(t.Context(), &Journal{}, nil)
	if err != nil || string(found.Secret.Expose()) != v.key {
		t.Fatalf("%v, %v", found, err)
	}
	want := fmt.Sprintf(`{"code":"the-code","code_challenge_method":"S256","code_verifier":%q}`, verifierOf(t, v.body))
	if v.body != want {
		t.Errorf("got  %s\nwant %s", v.body, want)
	}
}

func verifierOf(t *testing.T, body string) string {
	var q struct {
		Verifier string `json:"code_verifier"`
	}
	if err := json.Unmarshal([]byte(body), &q); err != nil || len(q.Verifier) != 43 {
		t.Fatalf("%v: %q", err, body)
	}
	return q.Verifier
}

func TestConsentRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		q    url.Values
		v    vendor
		want error
	}{
		{"another issuer", url.Values{"code": {"the-code"}, "iss": {"https://evil.test"}}, vendor{}, ErrConsent},
		{"two issuers", url.Values{"code": {"the-code"}, "iss": {"https://openrouter.ai", "https://evil.test"}}, vendor{}, ErrConsent},
		{"no code", url.Values{}, vendor{}, ErrConsent},
		{"two codes", url.Values{"code": {"the-code", "another"}}, vendor{}, ErrConsent},
		{"a huge code", url.Values{"code": {strings.Repeat("x", 2000)}}, vendor{}, ErrConsent},
		{"declined", url.Values{"error": {"access_denied"}}, vendor{}, ErrDeclined},
		{"another code", url.Values{"code": {"not-the-code"}}, vendor{}, ErrConsent},
		{"no key", url.Values{"code": {"the-code"}}, vendor{}, ErrConsent},
		{"a key of another form", url.Values{"code": {"the-code"}}, vendor{key: "hello-there"}, ErrConsent},
		{"an outage", url.Values{"code": {"the-code"}}, vendor{status: 503}, ErrConsent},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.v.t = t
			if c.name != "no key" && c.v.key == "" {
				c.v.key = goodKey()
			}
			door := consent(t, &c.v, func(_ url.Values, back *url.URL) { visit(t, back, c.q) })
			found, err := door.Enter(t.Context(), &Journal{}, nil)
			if !errors.Is(err, c.want) || !found.Secret.IsZero() {
				t.Fatalf("%v, %v", found, err)
			}
			for _, secret := range []string{"the-code", "hello-there", "evil"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error says %q: %v", secret, err)
				}
			}
		})
	}
}

func TestConsentWaits(t *testing.T) {
	v := &vendor{t: t}
	c := consent(t, v, func(url.Values, *url.URL) {})
	c.Patience = 50 * time.Millisecond
	if _, err := c.Enter(t.Context(), &Journal{}, nil); !errors.Is(err, ErrPerson) {
		t.Error(err)
	}
	if o, err := (&Consent{Entry: c.Entry, Authorize: c.Authorize}).Look(t.Context()); err != nil || o.Open || o.Fix == "" {
		t.Errorf("nobody is there: %+v, %v", o, err)
	}
	other, err := catalog.Lookup(service(t, "groq"))
	if err != nil {
		t.Fatal(err)
	}
	if o, err := NewConsent(other, nil, c.Show).Look(t.Context()); err != nil || o.Open {
		t.Errorf("a service without: %+v, %v", o, err)
	}
}

// led asks for the one-time page as a browser would that follows nothing.
func led(t *testing.T, dial func(network, address string) (net.Conn, error), address string) (status int, to string) {
	t.Helper()
	c := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return dial(network, address)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := c.Get(address)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Location")
}

// TestConsentOnce: what may stand among a program's arguments leads to the page
// once, and holds nothing that an answer is known by.
func TestConsentOnce(t *testing.T) {
	v := &vendor{t: t, key: goodKey()}
	var once string
	c := consent(t, v, nil)
	c.Patience = 20 * time.Second
	c.Show = func(ctx context.Context, i Invitation) error {
		once = i.Once
		u, err := url.Parse(i.Page)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range u.Query() {
			for _, value := range values {
				if strings.Contains(once, value) {
					t.Errorf("the arguments tell of %s: %s", name, once)
				}
			}
		}
		back, _ := url.Parse(u.Query().Get("callback_url"))
		if state := back.Query().Get("state"); state == "" || strings.Contains(once, state) {
			t.Errorf("the arguments tell of the state: %s", once)
		}
		go func() {
			if status, to := led(t, net.Dial, once[:len(once)-1]); status != http.StatusNotFound || to != "" {
				t.Errorf("half an address leads to %d, %s", status, to)
			}
			if status, to := led(t, net.Dial, once); status != http.StatusFound || to != i.Page {
				t.Errorf("it leads to %d, %s", status, to)
			}
			if status, to := led(t, net.Dial, once); status != http.StatusOK || to != "" {
				t.Errorf("the second time it leads to %d, %s", status, to)
			}
		}()
		return nil
	}
	if _, err := c.Enter(t.Context(), &Journal{}, nil); !errors.Is(err, ErrConsent) || !strings.Contains(err.Error(), "opened twice") {
		t.Error(err)
	}
}

// TestConsentOtherUser: another user, who sees the arguments, is led nowhere, and
// one who knew the state would bring nothing.
func TestConsentOtherUser(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root can give a connection to another user")
	}
	// A connection of another user's, as the kernel has it.
	other := func(network, address string) (net.Conn, error) {
		conn, err := net.Dial(network, address)
		if err != nil {
			return nil, err
		}
		f, err := conn.(*net.TCPConn).File()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return conn, f.Chown(54321, -1)
	}
	v := &vendor{t: t, key: goodKey()}
	c := consent(t, v, nil)
	c.Patience = 20 * time.Second
	c.Show = func(_ context.Context, i Invitation) error {
		u, _ := url.Parse(i.Page)
		back, _ := url.Parse(u.Query().Get("callback_url"))
		v.challenge = u.Query().Get("code_challenge")
		go func() {
			for _, address := range []string{i.Once, "http://127.0.0.1:" + back.Port() + back.RequestURI() + "&code=evil"} {
				if status, to := led(t, other, address); status != http.StatusNotFound || to != "" {
					t.Errorf("another user is answered %d, %s", status, to)
				}
			}
			if status, to := led(t, net.Dial, i.Once); status != http.StatusFound || to != i.Page {
				t.Errorf("it leads to %d, %s", status, to)
			}
			visit(t, back, url.Values{"code": {"the-code"}})
		}()
		return nil
	}
	found, err := c.Enter(t.Context(), &Journal{}, nil)
	if err != nil || string(found.Secret.Expose()) != v.key {
		t.Fatalf("%v, %v", found, err)
	}
}
