package exchange_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/exchange"
	"github.com/litentry/agentkeys/internal/token"
)

var wallet = agentkeys.Must(agentkeys.ParseWallet("0x1111111111111111111111111111111111111111"))

const audience = "https://api.example"

// issuer is a real one, whose keys are served as a broker serves them.
type issuer struct {
	*token.Issuer
	ca []byte
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	var keys []token.Key
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		k, err := token.NewKey(alg, time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	ring, err := token.NewRing(keys, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, srv.URL, srv.URL+"/keys")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		set, err := ring.JWKS(time.Now())
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(set)
	})
	return &issuer{
		&token.Issuer{Issuer: srv.URL, Ring: func() *token.Ring { return ring }},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}),
	}
}

func (i *issuer) token(t *testing.T, alg token.Alg, aud string) string {
	t.Helper()
	now := time.Now()
	raw, err := i.Identity(token.Identity{ID: token.NewID(), Wallet: wallet, Audience: aud, Expires: now.Add(5 * time.Minute)}, alg, now)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var parameters = map[string]map[string]string{
	"anthropic":   {"federation_rule_id": "fdrl_1", "organization_id": "o", "service_account_id": "svac_1"},
	"openai":      {"identity_provider_id": "idp_1", "service_account_id": "sa_1"},
	"huggingface": {"resource": "somebody"},
}

func start(t *testing.T, i *issuer, shape string) (*exchange.Server, *catalog.Entry, *http.Transport) {
	t.Helper()
	s, err := exchange.Start(exchange.Options{
		Shape: shape, IssuerCA: i.ca, Lifetime: time.Minute,
		Rule: exchange.Rule{Parameters: parameters[shape], Issuer: i.Issuer.Issuer, Audience: audience, Subject: "agentkeys:wallet:" + wallet.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, &catalog.Entry{
		Name: shape, Federation: &catalog.Federation{Shape: shape},
		Owner: catalog.Settings{Federation: &catalog.Exchange{URL: s.URL(), Parameters: parameters[shape]}},
	}, trusting(t, s.CAPEM())
}

func trusting(t *testing.T, ca []byte) *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestShapes: what package federate sends is what each endpoint takes, with
// either kind of signature.
func TestShapes(t *testing.T) {
	i := newIssuer(t)
	for shape := range parameters {
		s, e, tr := start(t, i, shape)
		for n, alg := range []token.Alg{token.ES256, token.RS256} {
			tok, err := federate.Exchange(t.Context(), tr, e, secret.FromString(i.token(t, alg, audience)))
			if err != nil {
				t.Fatalf("%s, %s: %v, %+v", shape, alg, err, s.Asked())
			}
			if label := s.Keyring(string(tok.Secret.Expose())); label != fmt.Sprint("token-", n+1) {
				t.Errorf("%s: it is %q", shape, label)
			}
			if left := time.Until(tok.Expires); left > time.Minute || left < 30*time.Second {
				t.Errorf("%s: it lasts %s", shape, left)
			}
		}
		if s.Keyring("something else") != "" || s.Keyring("") != "" || len(s.Given()) != 2 {
			t.Errorf("%s: it knows tokens that it has not given", shape)
		}
	}
}

// TestRefuses: a token that is not exactly as it should be gets none.
func TestRefuses(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	other.Issuer.Issuer = i.Issuer.Issuer
	s, e, tr := start(t, i, "anthropic")
	good := i.token(t, token.ES256, audience)
	head, rest, _ := strings.Cut(good, ".")
	body, sig, _ := strings.Cut(rest, ".")
	recoded := func(part string, change func(map[string]any)) string {
		data, err := base64.RawURLEncoding.DecodeString(part)
		var m map[string]any
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if data, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	for name, raw := range map[string]string{
		"another audience":    i.token(t, token.ES256, "https://other.example"),
		"another issuer":      other.token(t, token.ES256, audience),
		"another subject":     head + "." + recoded(body, func(m map[string]any) { m["sub"] = "agentkeys:wallet:0x2" }) + "." + sig,
		"a longer life":       head + "." + recoded(body, func(m map[string]any) { m["exp"] = 4102444800 }) + "." + sig,
		"no signature":        head + "." + body + ".AA",
		"the algorithm none":  recoded(head, func(m map[string]any) { m["alg"] = "none" }) + "." + body + "." + sig,
		"another algorithm":   recoded(head, func(m map[string]any) { m["alg"] = "RS256" }) + "." + body + "." + sig,
		"a MAC":               recoded(head, func(m map[string]any) { m["alg"] = "HS256" }) + "." + body + "." + sig,
		"a key of nobody's":   recoded(head, func(m map[string]any) { m["kid"] = "x" }) + "." + body + "." + sig,
		"for something else":  recoded(head, func(m map[string]any) { m["typ"] = "at+jwt" }) + "." + body + "." + sig,
		"a header of no JSON": "AAAA." + body + "." + sig,
	} {
		before := len(s.Asked())
		_, err := federate.Exchange(t.Context(), tr, e, secret.FromString(raw))
		if err == nil || len(s.Asked()) != before+1 || s.Asked()[before].Why == "" {
			t.Errorf("%s: %v, %+v", name, err, s.Asked()[before:])
		}
	}
	if _, err := federate.Exchange(t.Context(), tr, e, secret.FromString(good)); err != nil {
		t.Errorf("the token itself: %v", err)
	}
	if n := len(s.Given()); n != 1 {
		t.Errorf("%d tokens were given", n)
	}
}

// TestStrict: so is a request.
func TestStrict(t *testing.T) {
	i := newIssuer(t)
	s, _, tr := start(t, i, "anthropic")
	full := map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": i.token(t, token.ES256, audience)}
	maps.Copy(full, parameters["anthropic"])
	header := http.Header{"Content-Type": {"application/json"}, "Anthropic-Beta": {"oauth-2025-04-20,oidc-federation-2026-04-01"}}
	ask := func(change func(map[string]string, http.Header)) int {
		t.Helper()
		fields, h := maps.Clone(full), header.Clone()
		change(fields, h)
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(res.Body)
		if strings.Contains(string(answer), ".eyJ") {
			t.Error("our token is in the answer")
		}
		return res.StatusCode
	}
	if status := ask(func(map[string]string, http.Header) {}); status != 200 {
		t.Fatalf("as it should be: %d", status)
	}
	for name, change := range map[string]func(map[string]string, http.Header){
		"no grant type":    func(f map[string]string, _ http.Header) { delete(f, "grant_type") },
		"no token":         func(f map[string]string, _ http.Header) { delete(f, "assertion") },
		"no rule":          func(f map[string]string, _ http.Header) { delete(f, "federation_rule_id") },
		"another rule":     func(f map[string]string, _ http.Header) { f["federation_rule_id"] = "fdrl_2" },
		"an unknown field": func(f map[string]string, _ http.Header) { f["scope"] = "all" },
		"a form":           func(_ map[string]string, h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") },
		"one beta":         func(_ map[string]string, h http.Header) { h.Set("Anthropic-Beta", "oauth-2025-04-20") },
		"a credential":     func(_ map[string]string, h http.Header) { h.Set("Authorization", "Bearer x") },
	} {
		if status := ask(change); status != 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	s.Down(503)
	if status := ask(func(map[string]string, http.Header) {}); status != 503 {
		t.Errorf("down: %d", status)
	}
	s.Down(0)
	for _, o := range []exchange.Options{
		{}, {Shape: "none"}, {Shape: "openai"}, {Shape: "openai", Rule: exchange.Rule{Issuer: "i", Audience: "a", Subject: "s"}},
		{Shape: "openai", IssuerCA: i.ca, Rule: exchange.Rule{Issuer: "i", Audience: "a", Subject: "s"}, Lifetime: time.Millisecond},
	} {
		if s, err := exchange.Start(o); err == nil {
			_ = s.Close()
			t.Errorf("%+v was started", o)
		}
	}
}

// TestAPI: the played API takes a token as the vendor does, and not as a key.
func TestAPI(t *testing.T) {
	i := newIssuer(t)
	s, e, tr := start(t, i, "anthropic")
	api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Anthropic, Keyring: s.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	tok, err := federate.Exchange(t.Context(), tr, e, secret.FromString(i.token(t, token.ES256, audience)))
	if err != nil {
		t.Fatal(err)
	}
	at := trusting(t, api.CAPEM())
	const beta = "oauth-2025-04-20"
	for _, c := range []struct {
		header http.Header
		status int
	}{
		{http.Header{"Authorization": {"Bearer " + string(tok.Secret.Expose())}, "Anthropic-Beta": {beta}}, 200},
		{http.Header{"Authorization": {"Bearer " + string(tok.Secret.Expose())}, "Anthropic-Beta": {"another-1," + beta}}, 200},
		{http.Header{"Authorization": {"Bearer " + string(tok.Secret.Expose())}}, 401},
		{http.Header{"X-Api-Key": {string(tok.Secret.Expose())}, "Anthropic-Beta": {beta}}, 401},
		{http.Header{"Authorization": {"Bearer sk-ant-oat01-OTHER"}, "Anthropic-Beta": {beta}}, 401},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", api.BaseURL()+"/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = c.header
		req.Header.Set("Anthropic-Version", "2023-06-01")
		res, err := at.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%v: %d", c.header, res.StatusCode)
		}
	}
}
