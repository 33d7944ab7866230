package federate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/secret"
)

// jwt has the form of a token, and nothing else of one.
const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.bm90LWEtc2lnbmF0dXJl"

// given is what the played endpoints give.
const given = "not-a-real-token-AAAA"

func entry(t *testing.T, shape, at string, set map[string]string) *catalog.Entry {
	t.Helper()
	return &catalog.Entry{
		Name: "Example", Federation: &catalog.Federation{Shape: shape},
		Owner: catalog.Settings{Federation: &catalog.Exchange{URL: at, Parameters: set}},
	}
}

// full is all that can be set for each shape.
var full = map[string]map[string]string{
	"anthropic": {
		"federation_rule_id": "fdrl_example", "organization_id": "00000000-0000-0000-0000-000000000001",
		"service_account_id": "svac_example", "workspace_id": "wrkspc_example",
	},
	"openai":      {"identity_provider_id": "idp_example", "service_account_id": "sa_example", "client_id": "client_example"},
	"huggingface": {"resource": "example/model"},
}

// least is what has to be set.
var least = map[string]map[string]string{
	"anthropic":   {"federation_rule_id": "fdrl_example", "organization_id": "org_example"},
	"openai":      {"identity_provider_id": "idp_example", "service_account_id": "sa_example"},
	"huggingface": {"resource": "example"},
}

// wire is a server that keeps the one request it got as it was on the wire.
func wire(t *testing.T, answer string) (at string, got func() (*http.Request, string)) {
	t.Helper()
	var req *http.Request
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		req, body = r, string(b)
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/oauth/token", func() (*http.Request, string) { return req, body }
}

// TestRequests holds every byte of what is asked against the form that the
// vendors document.
func TestRequests(t *testing.T) {
	const answer = `{"access_token":"` + given + `","token_type":"Bearer","expires_in":600}`
	for _, c := range []struct {
		shape string
		set   map[string]string
		beta  string
		want  string
	}{
		{"anthropic", full["anthropic"], "oauth-2025-04-20,oidc-federation-2026-04-01",
			`{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","assertion":"` + jwt +
				`","federation_rule_id":"fdrl_example","organization_id":"00000000-0000-0000-0000-000000000001",` +
				`"service_account_id":"svac_example","workspace_id":"wrkspc_example"}`},
		{"anthropic", least["anthropic"], "oauth-2025-04-20,oidc-federation-2026-04-01",
			`{"grant_type":"urn:ietf:params:oauth:grant-type:jwt-bearer","assertion":"` + jwt +
				`","federation_rule_id":"fdrl_example","organization_id":"org_example"}`},
		{"openai", full["openai"], "",
			`{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange","subject_token":"` + jwt +
				`","subject_token_type":"urn:ietf:params:oauth:token-type:jwt","identity_provider_id":"idp_example",` +
				`"service_account_id":"sa_example","client_id":"client_example"}`},
		{"openai", least["openai"], "",
			`{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange","subject_token":"` + jwt +
				`","subject_token_type":"urn:ietf:params:oauth:token-type:jwt","identity_provider_id":"idp_example","service_account_id":"sa_example"}`},
		{"huggingface", full["huggingface"], "",
			`{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange",` +
				`"subject_token_type":"urn:ietf:params:oauth:token-type:id_token","subject_token":"` + jwt + `","resource":"example/model"}`},
	} {
		at, got := wire(t, answer)
		before := time.Now()
		tok, err := Exchange(t.Context(), &http.Transport{}, entry(t, c.shape, at, c.set), secret.FromString(jwt))
		if err != nil {
			t.Fatalf("%s: %v", c.shape, err)
		}
		req, body := got()
		if body != c.want || req.ContentLength != int64(len(c.want)) {
			t.Errorf("%s sent\n%s\nand not\n%s", c.shape, body, c.want)
		}
		want := http.Header{
			"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"agentkeys"},
			"Content-Length": {fmt.Sprint(len(c.want))}, "Accept-Encoding": {"gzip"},
		}
		if c.beta != "" {
			want.Set("Anthropic-Beta", c.beta)
		}
		if req.Method != "POST" || req.URL.String() != "/oauth/token" || fmt.Sprint(req.Header) != fmt.Sprint(want) {
			t.Errorf("%s: %s %s with %v", c.shape, req.Method, req.URL, req.Header)
		}
		if string(tok.Secret.Expose()) != given || tok.Expires.Before(before.Add(600*time.Second).Round(0)) || tok.Expires.After(time.Now().Add(600*time.Second)) {
			t.Errorf("%s gave %q until %s", c.shape, tok.Secret.Expose(), tok.Expires)
		}
	}
}

func TestSetup(t *testing.T) {
	untouched := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("asked"); return nil, io.EOF })
	at := "https://tokens.example/oauth"
	for name, e := range map[string]*catalog.Entry{
		"no federation":    {Name: "Example", Owner: catalog.Settings{Federation: &catalog.Exchange{}}},
		"not set":          {Name: "Example", Federation: &catalog.Federation{Shape: "openai"}},
		"unknown shape":    entry(t, "telepathy", at, nil),
		"no rule":          entry(t, "anthropic", at, map[string]string{"organization_id": "o"}),
		"no account":       entry(t, "openai", at, map[string]string{"identity_provider_id": "i"}),
		"no resource":      entry(t, "huggingface", at, nil),
		"control in an id": entry(t, "huggingface", at, map[string]string{"resource": "a\nb"}),
		"a long id":        entry(t, "huggingface", at, map[string]string{"resource": strings.Repeat("a", 300)}),
		"no URL":           entry(t, "huggingface", "", least["huggingface"]),
		"http":             entry(t, "huggingface", "http://tokens.example/oauth", least["huggingface"]),
		"user in the URL":  entry(t, "huggingface", "https://a:b@tokens.example/oauth", least["huggingface"]),
	} {
		_, err := Exchange(t.Context(), untouched, e, secret.FromString(jwt))
		if !errors.Is(err, ErrSetup) || Check(e) == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := entry(t, "huggingface", at, least["huggingface"])
	for _, bad := range []string{"", "a", "a.b", "a.b.", ".b.c", "a.b.c.d", "a.b\".c", "a.b .c", strings.Repeat("a", MaxAssertion) + ".b.c"} {
		if _, err := Exchange(t.Context(), untouched, e, secret.FromString(bad)); !errors.Is(err, ErrAssertion) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestAnswers: what is no token is an error of the right kind, and nothing of
// what was sent either way is in it.
func TestAnswers(t *testing.T) {
	echo := `"detail":"` + jwt + ` ` + given + `"`
	for _, c := range []struct {
		name   string
		status int
		body   string
		is     error
		code   string
	}{
		{"refused", 400, `{"error":"invalid_grant","error_description":"` + jwt + `"}`, ErrRefused, "invalid_grant"},
		{"refused as an API", 401, `{"type":"error","error":{"type":"authentication_error","message":"` + jwt + `"}}`, ErrRefused, "authentication_error"},
		{"refused with a code", 403, `{"error":{"code":"no_such_rule","type":"x","message":"m"}}`, ErrRefused, "no_such_rule"},
		{"refused without a word", 403, `<html>` + jwt, ErrRefused, ""},
		{"our token as its word", 400, `{"error":"` + jwt + `"}`, ErrRefused, ""},
		{"a piece of it as its word", 400, `{"error":"eyJzdWIiOiJub2JvZHkifQ"}`, ErrRefused, ""},
		{"a small piece of it as its word", 400, `{"error":"bm"}`, ErrRefused, ""},
		{"a long text as its word", 400, `{"error":"` + strings.Repeat("long_", 12) + `"}`, ErrRefused, ""},
		{"a token as its word", 400, `{"error":"` + given + `"}`, ErrRefused, ""},
		{"a number as its word", 400, `{"error":7}`, ErrRefused, ""},
		{"too often", 429, `{"error":"slow_down"}`, ErrTemporary, "slow_down"},
		{"broken", 500, `{"error":"server_error",` + echo + `}`, ErrTemporary, "server_error"},
		{"elsewhere", 307, `{` + echo + `}`, ErrAnswer, ""},
		{"created", 201, `{"access_token":"` + given + `","expires_in":60}`, ErrAnswer, ""},
		{"no JSON", 200, jwt, ErrAnswer, ""},
		{"no token", 200, `{"expires_in":60}`, ErrAnswer, ""},
		{"an empty token", 200, `{"access_token":"","expires_in":60}`, ErrAnswer, ""},
		{"a token that ends a header", 200, `{"access_token":"a\r\nb","expires_in":60}`, ErrAnswer, ""},
		{"a token with a space", 200, `{"access_token":"a b","expires_in":60}`, ErrAnswer, ""},
		{"a token that is a number", 200, `{"access_token":5,"expires_in":60}`, ErrAnswer, ""},
		{"another type", 200, `{"access_token":"` + given + `","token_type":"mac","expires_in":60}`, ErrAnswer, ""},
		{"no end", 200, `{"access_token":"` + given + `"}`, ErrAnswer, ""},
		{"ended", 200, `{"access_token":"` + given + `","expires_in":0}`, ErrAnswer, ""},
		{"ends before", 200, `{"access_token":"` + given + `","expires_in":-5}`, ErrAnswer, ""},
		{"half an end", 200, `{"access_token":"` + given + `","expires_in":1.5}`, ErrAnswer, ""},
		{"endless", 200, `{"access_token":"` + given + `","expires_in":60,"x":"` + strings.Repeat("x", maxAnswer) + `"}`, ErrAnswer, ""},
	} {
		followed := false
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			followed = r.URL.Path == "/elsewhere"
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		_, err := Exchange(t.Context(), srv.Client().Transport, entry(t, "anthropic", srv.URL, least["anthropic"]), secret.FromString(jwt))
		srv.Close()
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, c.is) || e.Code != c.code || followed {
			t.Errorf("%s: %v, followed %t", c.name, err, followed)
		}
		silent(t, c.name, err)
	}
}

// TestRetryAfter: a service says when to come again, in either form, and cannot
// keep anybody away for long.
func TestRetryAfter(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		status    int
		text      string
		from, to  time.Duration
		temporary bool
	}{
		{429, "7", 7 * time.Second, 7 * time.Second, true},
		{503, "0", 0, 0, true},
		{503, "", 0, 0, true},
		{503, "86400", MaxRetryAfter, MaxRetryAfter, true},
		{429, "9223372036854775807", 0, 0, true},
		{429, "-5", 0, 0, true},
		{429, "1.5", 0, 0, true},
		{429, "soon", 0, 0, true},
		{503, date(2 * time.Minute), time.Minute, 2 * time.Minute, true},
		{503, date(-time.Hour), 0, 0, true},
		{503, date(24 * time.Hour), MaxRetryAfter, MaxRetryAfter, true},
		{400, "7", 0, 0, false},
	} {
		_, err := Exchange(t.Context(), roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.text}}, Body: http.NoBody}, nil
		}), entry(t, "openai", "https://tokens.example", least["openai"]), secret.FromString(jwt))
		e, ok := errors.AsType[*Error](err)
		if !ok || errors.Is(err, ErrTemporary) != c.temporary || e.RetryAfter < c.from || e.RetryAfter > c.to {
			t.Errorf("%d %q: %v, after %s", c.status, c.text, err, e.RetryAfter)
		}
	}
}

// silent fails if err says anything of what was sent.
func silent(t *testing.T, name string, err error) {
	t.Helper()
	all := fmt.Sprintf("%v %+v %s", err, err, err)
	for _, part := range append(strings.Split(jwt, "."), given, "AAAA") {
		if strings.Contains(all, part) {
			t.Errorf("%s: %q is in the error: %s", name, part, all)
		}
	}
}

// TestUnreachable: who cannot be asked is away for now, and an answer that is
// no HTTP is not quoted, though net/http quotes it.
func TestUnreachable(t *testing.T) {
	quoting := roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("malformed HTTP response %q", jwt)
	})
	_, err := Exchange(t.Context(), quoting, entry(t, "openai", "https://tokens.example", least["openai"]), secret.FromString(jwt))
	if !errors.Is(err, ErrTemporary) {
		t.Error(err)
	}
	silent(t, "quoting", err)

	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	guarded := inject.NewTransport(inject.TransportOptions{})
	_, err = Exchange(t.Context(), guarded, entry(t, "openai", srv.URL, least["openai"]), secret.FromString(jwt))
	if !errors.Is(err, ErrTemporary) || !errors.Is(err, netguard.ErrForbiddenAddress) {
		t.Errorf("an address that is not allowed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Exchange(ctx, srv.Client().Transport, entry(t, "openai", srv.URL, least["openai"]), secret.FromString(jwt))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// TestUnsaid: one vendor's own client takes a token that does not say its end
// to last an hour, and nothing is believed to last longer than a day.
func TestUnsaid(t *testing.T) {
	for answer, want := range map[string]time.Duration{
		`{"access_token":"` + given + `"}`:                                       time.Hour,
		`{"access_token":"` + given + `","expires_in":99999999}`:                 maxLife,
		`{"access_token":"` + given + `=","expires_in":1,"token_type":"BEARER"}`: time.Second,
		`{"access_token":"a\/b","expires_in":1}`:                                 time.Second,
	} {
		v, life, detail := shapes["openai"].token([]byte(answer))
		if detail != "" || life != want || v.IsZero() || bytes.ContainsAny(v.Expose(), `\`) {
			t.Errorf("%s: %s, %s", answer, life, detail)
		}
	}
}

// FuzzAnswer: whatever an endpoint says, what comes of it could stand in a
// header, and its end is known.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"access_token":"abc","token_type":"bearer","expires_in":3600}`), 200)
	f.Add([]byte(`{"access_token":"a\/=","access_token":"b","expires_in":1e3}`), 200)
	f.Add([]byte(`{"error":{"type":"authentication_error","code":null}}`), 401)
	f.Add([]byte(`{"error":"invalid_grant"}`), 400)
	f.Fuzz(func(t *testing.T, answer []byte, status int) {
		for name, s := range shapes {
			v, life, detail := s.token(bytes.Clone(answer))
			if (detail == "") != !v.IsZero() {
				t.Fatalf("%s: %d bytes, %q", name, v.Len(), detail)
			}
			if detail != "" {
				continue
			}
			if life <= 0 || life > maxLife || v.Len() > MaxAssertion || bytes.ContainsAny(v.Expose(), "\r\n \"\\\x00") {
				t.Fatalf("%s: %q for %s", name, v.Expose(), life)
			}
			if !json.Valid(answer) {
				t.Fatalf("%s: %q", name, answer)
			}
		}
		err := refusal("tokens.example", &http.Response{StatusCode: status}, bytes.Clone(answer), []byte(jwt))
		if e, ok := errors.AsType[*Error](err); !ok || strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Fatalf("%v", err)
		}
		silent(t, "fuzz", err)
	})
}
