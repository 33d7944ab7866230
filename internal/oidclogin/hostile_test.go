package oidclogin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/secret"
)

// hostile is a provider that says whatever a test wants.
type hostile struct {
	*httptest.Server
	key, stranger *ecdsa.PrivateKey
	describe      func(map[string]any) // changes the description
	token         func(http.ResponseWriter)
}

func startHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{describe: func(map[string]any) {}}
	h.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.stranger, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	reply := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		d := map[string]any{
			"issuer": h.URL, "authorization_endpoint": h.URL + "/authorize", "token_endpoint": h.URL + "/token", "jwks_uri": h.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		}
		h.describe(d)
		reply(w, d)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		reply(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: h.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) { h.token(w) })
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) provider(t *testing.T) *Provider {
	return mustNew(t, Config{Issuer: h.URL, ClientID: "client", ClientSecret: secret.FromString("s"), RedirectURL: back})
}

func (h *hostile) sign(t *testing.T, alg jose.SignatureAlgorithm, key any, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestHostileTokens has a provider answer with ID tokens that are well signed,
// mostly, and must not be believed.
func TestHostileTokens(t *testing.T) {
	h := startHostile(t)
	p := h.provider(t)
	now := time.Now()
	half := sha256.Sum256([]byte("at"))
	good := map[string]any{
		"iss": h.URL, "sub": "ada", "aud": "client", "nonce": "nonce-of-this-login", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"email": "ada@mail.example", "email_verified": true, "azp": "client", "at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	}
	answer := func(idToken string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": idToken})
		}
	}
	with := func(changes map[string]any) string {
		c := maps.Clone(good)
		for k, v := range changes {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return h.sign(t, jose.ES256, h.key, c)
	}
	try := func(idToken string) (Person, error) {
		h.token = answer(idToken)
		return p.Identify(t.Context(), "code", strings.Repeat("v", 43), "nonce-of-this-login", "")
	}
	if who, err := try(with(nil)); err != nil || who != (Person{Issuer: h.URL, Subject: "ada", Email: "ada@mail.example", Verified: true}) {
		t.Fatalf("the good token: %+v, %v", who, err)
	}
	if _, err := try(with(map[string]any{"azp": nil, "at_hash": nil, "aud": []string{"client"}})); err != nil {
		t.Errorf("the least that a token has: %v", err)
	}
	for name, v := range map[string]any{"false": false, "a string": "true", "a number": 1, "nothing": nil, "an object": map[string]any{}} {
		if who, err := try(with(map[string]any{"email_verified": v})); err != nil || who.Verified {
			t.Errorf("email_verified of %s: %+v, %v", name, who, err)
		}
	}
	if who, err := try(with(map[string]any{"email": nil})); err != nil || who.Verified {
		t.Errorf("no address is verified: %+v, %v", who, err)
	}

	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	body, _ := json.Marshal(good)
	parts := strings.Split(with(nil), ".")
	tokens := map[string]string{
		"no token": "", "no JWT": "hello", "alg none": none + "." + parts[1] + ".", "alg none, signed": none + "." + parts[1] + "." + parts[2],
		"another key": h.sign(t, jose.ES256, h.stranger, good), "the client's secret": h.sign(t, jose.HS256, []byte(strings.Repeat("s", 32)), good),
		"cut": with(nil)[:40], "another payload": parts[0] + "." + base64.RawURLEncoding.EncodeToString(append(body, ' ')) + "." + parts[2],
	}
	for name, changes := range map[string]map[string]any{
		"another issuer":         {"iss": "https://accounts.evil.example"},
		"no issuer":              {"iss": nil},
		"Google's old spelling":  {"iss": "accounts.google.com"},
		"another audience":       {"aud": "another"},
		"no audience":            {"aud": nil},
		"several audiences":      {"aud": []string{"client", "another"}},
		"the audience twice":     {"aud": []string{"client", "client"}},
		"another party":          {"azp": "another"},
		"an empty party":         {"azp": ""},
		"another nonce":          {"nonce": "nonce-of-another"},
		"no nonce":               {"nonce": nil},
		"a nonce that is longer": {"nonce": "nonce-of-this-login."},
		"expired":                {"exp": now.Add(-time.Second).Unix()},
		"no expiry":              {"exp": nil},
		"not yet":                {"nbf": now.Add(time.Hour).Unix()},
		"no subject":             {"sub": nil},
		"a long subject":         {"sub": strings.Repeat("a", 256)},
		"a subject of two lines": {"sub": "ada\nroot"},
		"another access token":   {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
		"claims of other types":  {"email": []int{1}},
	} {
		tokens[name] = with(changes)
	}
	for name, raw := range tokens {
		who, err := try(raw)
		if !errors.Is(err, ErrRefused) || who != (Person{}) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
		if err != nil && len(raw) > 20 && strings.Contains(err.Error(), raw[:20]) {
			t.Errorf("%s: the token is in the error", name)
		}
	}
}

// TestHostileAnswers has the token endpoint refuse, and break.
func TestHostileAnswers(t *testing.T) {
	h := startHostile(t)
	p := h.provider(t)
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		token func(http.ResponseWriter)
		want  error
	}{
		"a used code":    {status(400, `{"error":"invalid_grant","error_description":"canary"}`), ErrRefused},
		"another fault":  {status(400, `{"error":"invalid_request","error_description":"canary"}`), ErrRefused},
		"bad client":     {status(401, `{"error":"invalid_client"}`), broker.ErrUnavailable},
		"broken":         {status(503, `canary`), broker.ErrUnavailable},
		"too many":       {status(429, `canary`), broker.ErrUnavailable},
		"no JSON":        {status(200, `canary`), broker.ErrUnavailable},
		"without tokens": {status(200, `{}`), broker.ErrUnavailable},
		"endless": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			for range 3 << 10 {
				_, _ = w.Write(make([]byte, 1<<10))
			}
		}, broker.ErrUnavailable},
		"elsewhere": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:9/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, ErrRefused},
	} {
		h.token = c.token
		_, err := p.Identify(t.Context(), "code-3f9a-canary", strings.Repeat("v", 43), "nonce-of-this-login", "")
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: what was sent or answered is in the error: %v", name, err)
		}
	}
}

// TestHostileDescriptions has a provider describe itself as it must not be.
func TestHostileDescriptions(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"another issuer":     func(d map[string]any) { d["issuer"] = "https://accounts.google.com" },
		"no token endpoint":  func(d map[string]any) { delete(d, "token_endpoint") },
		"keys over http":     func(d map[string]any) { d["jwks_uri"] = "http://keys.example/" },
		"login over http":    func(d map[string]any) { d["authorization_endpoint"] = "http://login.example/" },
		"login in a script":  func(d map[string]any) { d["authorization_endpoint"] = "javascript:alert(1)" },
		"keys from a file":   func(d map[string]any) { d["jwks_uri"] = "file:///etc/passwd" },
		"no PKCE with S256":  func(d map[string]any) { d["code_challenge_methods_supported"] = []string{"plain"} },
		"endless":            func(d map[string]any) { d["padding"] = strings.Repeat("a", maxAnswer) },
		"no list of methods": func(d map[string]any) { d["code_challenge_methods_supported"] = "S256" },
	} {
		h := startHostile(t)
		h.describe = change
		if u, err := h.provider(t).AuthURL(t.Context(), rand.Text(), rand.Text(), rand.Text()+rand.Text()); !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("%s: %q, %v", name, u, err)
		}
	}
	// Where it says that its answers have iss, one without is refused before
	// the code is sent; so is a wrong one where it says nothing.
	for _, says := range []bool{true, false} {
		h := startHostile(t)
		h.describe = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = says }
		h.token = func(http.ResponseWriter) { t.Error("the code was sent") }
		for _, iss := range []string{"", "https://accounts.evil.example"} {
			if iss == "" && !says {
				continue
			}
			if _, err := h.provider(t).Identify(t.Context(), "code", strings.Repeat("v", 43), "nonce-of-this-login", iss); !errors.Is(err, ErrRefused) {
				t.Errorf("iss %q, announced %v: %v", iss, says, err)
			}
		}
	}
}
