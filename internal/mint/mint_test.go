package mint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// until is a moment with a fraction that must be cut off.
var until = time.Date(2126, 12, 1, 10, 0, 0, 999_000_000, time.FixedZone("", 3600))

// requests are, byte by byte, what a key's life at each service is, from the
// vendors' documents.
var requests = map[string]struct{ check, mint, plain, list, revoke string }{
	"openrouter": {
		check:  "GET /api/v1/keys\n",
		mint:   `POST /api/v1/keys {"name":"agentkeys-coder-0011","limit":12.5,"limit_reset":"daily","expires_at":"2126-12-01T09:00:00Z"}` + "\n",
		plain:  `POST /api/v1/keys {"name":"agentkeys-own-0022"}` + "\n",
		list:   "GET /api/v1/keys?include_disabled=true&offset=0\nGET /api/v1/keys?include_disabled=true&offset=2\n",
		revoke: "DELETE /api/v1/keys/ID\n",
	},
	"openai": {
		check:  "GET /v1/organization/projects/scope-1/service_accounts?limit=1\n",
		mint:   `POST /v1/organization/projects/scope-1/service_accounts {"name":"agentkeys-coder-0011"}` + "\n",
		plain:  `POST /v1/organization/projects/scope-1/service_accounts {"name":"agentkeys-own-0022"}` + "\n",
		list:   "GET /v1/organization/projects/scope-1/service_accounts?limit=100\n",
		revoke: "DELETE /v1/organization/projects/scope-1/service_accounts/ID\n",
	},
	"google": {
		check: "GET /v2/projects/scope-1/locations/global/keys?pageSize=1\n",
		mint: `POST /v2/projects/scope-1/locations/global/keys?keyId=agentkeys-coder-0011 {"displayName":"agentkeys-coder-0011","restrictions":{"apiTargets":[{"service":"generativelanguage.googleapis.com"}]}}` + "\n" +
			"GET /v2/operations/akmf.agentkeys-coder-0011\nGET /v2/operations/akmf.agentkeys-coder-0011\n" +
			"GET /v2/projects/scope-1/locations/global/keys/agentkeys-coder-0011/keyString\n",
		plain: `POST /v2/projects/scope-1/locations/global/keys?keyId=agentkeys-own-0022 {"displayName":"agentkeys-own-0022","restrictions":{"apiTargets":[{"service":"generativelanguage.googleapis.com"}]}}` + "\n" +
			"GET /v2/operations/akmf.agentkeys-own-0022\nGET /v2/operations/akmf.agentkeys-own-0022\n" +
			"GET /v2/projects/scope-1/locations/global/keys/agentkeys-own-0022/keyString\n",
		list:   "GET /v2/projects/scope-1/locations/global/keys?pageSize=300\n",
		revoke: "DELETE /v2/projects/scope-1/locations/global/keys/ID\n",
	},
	"xai": {
		check:  "GET /auth/management-keys/validation\n",
		mint:   `POST /auth/teams/scope-1/api-keys {"name":"agentkeys-coder-0011","acls":["api-key:model:*","api-key:endpoint:*"],"expireTime":"2126-12-01T09:00:00Z"}` + "\n",
		plain:  `POST /auth/teams/scope-1/api-keys {"name":"agentkeys-own-0022","acls":["api-key:model:*","api-key:endpoint:*"]}` + "\n",
		list:   "GET /auth/teams/scope-1/api-keys?pageSize=100\n",
		revoke: "DELETE /auth/api-keys/ID\n",
	},
	"resend": {
		check:  "GET /api-keys\n",
		mint:   `POST /api-keys {"name":"agentkeys-coder-0011","permission":"sending_access"}` + "\n",
		plain:  `POST /api-keys {"name":"agentkeys-own-0022","permission":"sending_access"}` + "\n",
		list:   "GET /api-keys\n",
		revoke: "DELETE /api-keys/ID\n",
	},
	"elevenlabs": {
		check:  "GET /v1/service-accounts/scope-1/api-keys\n",
		mint:   `POST /v1/service-accounts/scope-1/api-keys {"name":"agentkeys-coder-0011","permissions":"all"}` + "\n",
		plain:  `POST /v1/service-accounts/scope-1/api-keys {"name":"agentkeys-own-0022","permissions":"all"}` + "\n",
		list:   "GET /v1/service-accounts/scope-1/api-keys\n",
		revoke: "DELETE /v1/service-accounts/scope-1/api-keys/ID\n",
	},
}

// TestLife: a key is made, listed and deleted, with exactly these requests, and
// is good from the first to the last moment of that.
func TestLife(t *testing.T) {
	for shape, want := range requests {
		t.Run(shape, func(t *testing.T) {
			w := newWorld(t, shape)
			ctx := t.Context()
			at := 0
			said := func(what, want string) {
				t.Helper()
				if got := w.sent(at); got != want {
					t.Errorf("%s:\n%swant\n%s", what, got, want)
				}
				at = len(w.api.Seen())
			}
			if err := w.Check(ctx, w.key); err != nil {
				t.Fatal(err)
			}
			said("check", want.check)
			k, err := w.Mint(ctx, w.key, Want{Name: "agentkeys-coder-0011", Limit: 125 * grant.USD / 10, Per: grant.Day, Expires: until})
			if err != nil {
				t.Fatal(err)
			}
			said("mint", want.mint)
			if w.api.Keyring(string(k.Secret.Expose())) != "agentkeys-coder-0011" {
				t.Error("the key is not good")
			}
			caps := w.Caps()
			if k.Limited != (len(caps.Windows) > 0) || k.Expiring != caps.Expiry {
				t.Errorf("limited %t, expiring %t of %+v", k.Limited, k.Expiring, caps)
			}
			if got := w.api.Keys()[0]; k.Limited != (got.Limit == 12.5 && got.Reset == "daily") || k.Expiring != got.Expires.Equal(until.Truncate(time.Second)) {
				t.Errorf("the service has %+v", got)
			}
			other, err := w.Mint(ctx, w.key, Want{Name: "agentkeys-own-0022"})
			if err != nil || other.Limited || other.Expiring {
				t.Fatal(other, err)
			}
			said("mint without limits", want.plain)
			all, err := w.List(ctx, w.key, "agentkeys-coder-")
			if err != nil || len(all) != 1 || all[0] != (Listed{k.ID, "agentkeys-coder-0011"}) {
				t.Errorf("%v %v", all, err)
			}
			said("list", want.list)
			if err := w.Revoke(ctx, w.key, k.ID); err != nil {
				t.Fatal(err)
			}
			said("revoke", strings.ReplaceAll(want.revoke, "ID", k.ID))
			if w.api.Keyring(string(k.Secret.Expose())) != "" || w.api.Keyring(string(other.Secret.Expose())) == "" {
				t.Error("the wrong key is gone")
			}
			if err := w.Revoke(ctx, w.key, k.ID); err != nil {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// TestWindows: what a budget's window is called upstream.
func TestWindows(t *testing.T) {
	w := newWorld(t, "openrouter")
	for per, want := range map[grant.Window]string{
		grant.Day: `"limit":5,"limit_reset":"daily"`, grant.Week: `"limit":5,"limit_reset":"weekly"`,
		grant.Month: `"limit":5,"limit_reset":"monthly"`, grant.Total: `"limit":5`, grant.Hour: "",
	} {
		at := len(w.api.Seen())
		k, err := w.Mint(t.Context(), w.key, Want{Name: "agentkeys-a-" + string(per), Limit: 5 * grant.USD, Per: per})
		if err != nil || k.Limited != (per != grant.Hour) {
			t.Errorf("%s: %+v, %v", per, k, err)
		}
		body := `{"name":"agentkeys-a-` + string(per) + `"}`
		if want != "" {
			body = strings.TrimSuffix(body, "}") + "," + want + "}"
		}
		if got := w.sent(at); got != "POST /api/v1/keys "+body+"\n" {
			t.Errorf("%s: %s", per, got)
		}
	}
}

func TestDollars(t *testing.T) {
	for m, want := range map[grant.Money]string{
		5 * grant.USD: "5", 100 * grant.USD: "100", grant.USD / 4: "0.25", 125 * grant.USD / 10: "12.5", 1: "0.000000001", 10*grant.USD + 50_000_000: "10.05",
	} {
		if got := string(dollars(m)); got != want {
			t.Errorf("%v is %s, want %s", m, got, want)
		}
	}
}

// TestOutcomes: what goes wrong is told apart, and none of it shows a secret.
func TestOutcomes(t *testing.T) {
	for shape := range requests {
		t.Run(shape, func(t *testing.T) {
			w := newWorld(t, shape)
			ctx := t.Context()
			bad := secret.FromString("wrong-management-key")
			calls := map[string]func(k secret.Value) error{
				"check":  func(k secret.Value) error { return w.Check(ctx, k) },
				"mint":   func(k secret.Value) error { _, err := w.Mint(ctx, k, Want{Name: "agentkeys-a-1"}); return err },
				"list":   func(k secret.Value) error { _, err := w.List(ctx, k, ""); return err },
				"revoke": func(k secret.Value) error { return w.Revoke(ctx, k, "some-id") },
			}
			for name, call := range calls {
				for _, c := range []struct {
					outage manage.Outage
					key    secret.Value
					want   error
					made   bool
					after  time.Duration
				}{
					{manage.Up, bad, ErrRefused, false, 0},
					{manage.Up, secret.FromString("two\nlines"), ErrRefused, false, 0},
					{manage.Unavailable, w.key, ErrTemporary, true, 0},
					{manage.Busy, w.key, ErrTemporary, false, 7 * time.Second},
					{manage.Cut, w.key, ErrTemporary, true, 0},
				} {
					w.api.Fail(c.outage)
					err := call(c.key)
					w.api.Fail(manage.Up)
					if !errors.Is(err, c.want) || name == "mint" && Made(err) != c.made {
						t.Errorf("%s, outage %d: %v, made %t", name, c.outage, err, Made(err))
					}
					if u, ok := errors.AsType[*Unavailable](err); ok && u.RetryAfter != c.after {
						t.Errorf("%s, outage %d: again after %s", name, c.outage, u.RetryAfter)
					}
					if err != nil && (strings.Contains(err.Error(), "wrong-management") || strings.Contains(err.Error(), w.api.Management())) {
						t.Errorf("%s shows the key: %v", name, err)
					}
				}
			}
			// The one case in which a key is there and its id is not known.
			w.api.Fail(manage.CutAfter)
			_, err := w.Mint(ctx, w.key, Want{Name: "agentkeys-lost-1"})
			w.api.Fail(manage.Up)
			if !errors.Is(err, ErrTemporary) || !Made(err) {
				t.Errorf("cut after: %v", err)
			}
			all, err := w.List(ctx, w.key, "agentkeys-lost-1")
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			if err := w.Revoke(ctx, w.key, all[0].ID); err != nil || len(w.api.Live()) != 0 {
				t.Error(err, w.api.Live())
			}
		})
	}
}

// TestManyPages: a list is read to its end.
func TestManyPages(t *testing.T) {
	for _, shape := range []string{"openrouter", "openai"} {
		w := newWorld(t, shape)
		for i := range 230 {
			if _, err := w.Mint(t.Context(), w.key, Want{Name: fmt.Sprintf("agentkeys-a-%d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		all, err := w.List(t.Context(), w.key, "agentkeys-")
		if err != nil || len(all) != 230 {
			t.Errorf("%s: %d, %v", shape, len(all), err)
		}
	}
}

// strange answers whatever is asked.
func strange(t *testing.T, status int, header, body string) *Minter {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	m, err := New(entry(t, "openrouter", s.URL+"/api/v1", strings.TrimPrefix(s.URL, "https://")), s.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStrangeAnswers: what is not as documented is no key, and a 404 that may be
// that of a wrong path is no deletion.
func TestStrangeAnswers(t *testing.T) {
	k := secret.FromString("management-key")
	canary := "sk-or-v1-canary0123456789"
	for name, c := range map[string]struct {
		status       int
		header, body string
	}{
		"HTML":          {200, "", "<html>" + canary},
		"no id":         {201, "", `{"key":"` + canary + `","data":{}}`},
		"a path for id": {201, "", `{"key":"` + canary + `","data":{"hash":"../keys"}}`},
		"no key":        {201, "", `{"data":{"hash":"abc"}}`},
		"two lines":     {201, "", `{"key":"` + canary + `\n","data":{"hash":"abc"}}`},
		"another name":  {201, "", `{"key":"` + canary + `","data":{"hash":"abc","name":"agentkeys-b-2"}}`},
		"a redirect":    {302, "Location: https://elsewhere.test/", canary},
		"endless":       {201, "", `{"key":"` + strings.Repeat(canary, 4000) + `"}`},
	} {
		m := strange(t, c.status, c.header, c.body)
		got, err := m.Mint(t.Context(), k, Want{Name: "agentkeys-a-1"})
		if !errors.Is(err, ErrAnswer) || !Made(err) || !got.Secret.IsZero() || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the service itself enforces is what it says, and not what was asked for.
	want := Want{Name: "agentkeys-a-1", Limit: 5 * grant.USD, Per: grant.Day, Expires: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	for data, c := range map[string]struct{ limited, expiring bool }{
		`"limit":5,"limit_reset":"daily","expires_at":"2030-01-01T00:00:00Z"`:         {true, true},
		`"limit":4.99,"limit_reset":"daily","expires_at":"2029-01-01T00:00:00Z"`:      {true, true},
		`"limit":5.01,"limit_reset":"daily","expires_at":"2030-01-01T00:00:01Z"`:      {false, false},
		`"limit":5,"limit_reset":"monthly","expires_at":null`:                         {false, false},
		`"limit":5,"limit_reset":null`:                                                {false, false},
		`"limit":null,"limit_reset":"daily","expires_at":"2030-01-01T02:00:00+02:00"`: {false, true},
		`"limit":"5","limit_reset":7,"expires_at":"tomorrow"`:                         {false, false},
	} {
		got, err := strange(t, 201, "", `{"key":"`+canary+`","data":{"hash":"abc","name":"agentkeys-a-1",`+data+`}}`).Mint(t.Context(), k, want)
		if err != nil || got.Limited != c.limited || got.Expiring != c.expiring {
			t.Errorf("%s: limited %t, expiring %t, %v", data, got.Limited, got.Expiring, err)
		}
	}
	if err := strange(t, 404, "", `{}`).Revoke(t.Context(), k, "abc"); !errors.Is(err, ErrAnswer) {
		t.Errorf("a 404 everywhere: %v", err)
	}
	m := strange(t, 200, "", `{"data":[{"hash":"x"}]}`)
	if _, err := m.List(t.Context(), k, ""); !errors.Is(err, ErrAnswer) {
		t.Errorf("a list without an end: %v", err)
	}
	for header, want := range map[string]time.Duration{"": 0, "3": 3 * time.Second, "99999999": time.Hour, "-3": 0, "soon": 0} {
		_, err := strange(t, 503, "Retry-After: "+header, "").List(t.Context(), k, "")
		if u, ok := errors.AsType[*Unavailable](err); !ok || u.RetryAfter != want {
			t.Errorf("%q: %v", header, err)
		}
	}
	if _, err := m.Mint(t.Context(), k, Want{Name: "No/Name"}); Made(err) {
		t.Error(err)
	}
	if err := m.Revoke(t.Context(), k, "../../keys"); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
}

// TestSetup: what is not set up is said, and a key for the live service goes to
// nobody else.
func TestSetup(t *testing.T) {
	e := entry(t, "xai", "https://127.0.0.1:1", "127.0.0.1:1")
	e.Owner.Minting.Parameters = nil
	if _, err := New(e, nil); !errors.Is(err, ErrSetup) {
		t.Error(err)
	}
	e.Owner.Minting.Parameters = map[string]string{"team": "../x"}
	if _, err := New(e, nil); !errors.Is(err, ErrSetup) {
		t.Error(err)
	}
	e = entry(t, "openrouter", "", "127.0.0.1:1")
	if u, err := Address(e); err != nil || u.String() != "https://openrouter.ai/api/v1" {
		t.Error(u, err)
	}
	e.Owner.BaseURL = "https://gateway.test"
	for _, x := range []*catalog.Exchange{nil, {}} {
		e.Owner.Minting = x
		if _, err := New(e, nil); !errors.Is(err, ErrSetup) {
			t.Errorf("the base URL is another: %v", err)
		}
	}
	e.Minting = nil
	if _, err := New(e, nil); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// FuzzAnswer: no answer of a service makes a key that is none, or an error that
// shows what was in it.
func FuzzAnswer(f *testing.F) {
	f.Add(201, `{"data":{"hash":"abc"},"key":"sk-or-v1-0123456789"}`)
	f.Add(200, `{"name":"operations/x","done":true,"response":{"name":"keys/agentkeys-a-1"},"keyString":"AQ.0123456789"}`)
	f.Add(200, `{"id":"a","api_key":{"value":"sk-0123456789"},"data":[{"id":"a","name":"b"}],"has_more":true,"last_id":"a"}`)
	f.Add(200, `{"xi-api-key":"sk_0123456789","key_id":"abc","api-keys":[{}],"apiKeys":[{}],"paginationToken":"x"}`)
	f.Add(404, `null`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		rt := canned(func(*http.Request) *http.Response {
			r := httptest.NewRecorder()
			r.WriteHeader(status)
			_, _ = r.WriteString(body)
			return r.Result()
		})
		for shape := range shapes {
			u, _ := url.Parse("https://api.test")
			m := &Minter{
				base: u, rt: rt, shape: shapes[shape], params: map[string]string{"project": "p", "team": "t", "service_account": "s"},
				wait: func(context.Context, time.Duration) error { return &Unavailable{} },
			}
			management := secret.FromString("management-key")
			k, err := m.Mint(t.Context(), management, Want{Name: "agentkeys-a-1"})
			if err == nil && (!segment(k.ID) || k.Secret.Len() < 8) {
				t.Fatalf("%s: %q", shape, k.ID)
			}
			if err != nil && !k.Secret.IsZero() {
				t.Fatalf("%s: a key and %v", shape, err)
			}
			if err != nil && len(body) > 40 && strings.Contains(err.Error(), body) {
				t.Fatalf("%s: %v", shape, err)
			}
			_, _ = m.List(t.Context(), management, "")
			_ = m.Revoke(t.Context(), management, "abc")
			_ = m.Check(t.Context(), management)
		}
	})
}

type canned func(*http.Request) *http.Response

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) { return c(r), nil }
