package s3blob_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

func claiming(c *s3blob.Config) { c.ClaimDeletes = true }

var key = vaulttest.Key(1, "openrouter")

func put(t *testing.T, b vault.Blobs, k vault.Key, data string, c vault.Condition) vault.Version {
	t.Helper()
	v, err := b.Put(t.Context(), k, []byte(data), c)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return v
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestConformanceAsAWS is the exam on what AWS documents.
func TestConformanceAsAWS(t *testing.T) {
	for name, c := range map[string]struct {
		hide, claim bool
		pages       int
	}{
		"plain":             {},
		"missing is denied": {hide: true},
		"short pages":       {pages: 2},
		"claims":            {claim: true, pages: 3},
	} {
		t.Run(name, func(t *testing.T) {
			vaulttest.Conformance(t, func(t *testing.T) vault.Blobs {
				f := newFake(t)
				f.hide, f.pages = c.hide, c.pages
				return f.open(t, func(x *s3blob.Config) { x.ClaimDeletes = c.claim })
			})
		})
	}
}

// TestLostAnswers: one writer, every request of a kind meets a fault at its
// first or second attempt, and nothing is done twice or taken for another's.
func TestLostAnswers(t *testing.T) {
	var wg sync.WaitGroup // the SDK waits between attempts: let them wait together
	defer wg.Wait()
	for name, what := range map[string]fault{"lost": lose, "lost but done": loseDone, "500": fail, "500 but done": failDone, "409": meet} {
		for _, claim := range []bool{false, true} {
			wg.Go(func() {
				t.Run(fmt.Sprint(name, " ", claim), func(t *testing.T) { testLostAnswers(t, what, claim) })
			})
		}
	}
}

func testLostAnswers(t *testing.T, what fault, claim bool) {
	f := newFake(t)
	b := f.open(t, func(c *s3blob.Config) { c.ClaimDeletes = claim })
	f.fault = func(method string, n int) fault {
		if n == 0 || n == 2 && method == "PUT" {
			return what
		}
		return none
	}
	v := put(t, b, key, "0", vault.Create())
	for n := range 2 {
		data, now, err := b.Get(t.Context(), key)
		if err != nil || string(data) != strconv.Itoa(n) || now != v {
			t.Fatalf("%q %v %v, want %d %v", data, now, err, n, v)
		}
		v = put(t, b, key, strconv.Itoa(n+1), vault.Replace(v))
	}
	if err := b.Delete(t.Context(), key, v); err != nil {
		t.Fatal(err)
	}
	_, _, err := b.Get(t.Context(), key)
	is(t, "get what was deleted", err, vault.ErrNotFound)
}

// TestAnothersBytes: the same bytes, written by somebody else between two
// attempts, are not this call's write.
func TestAnothersBytes(t *testing.T) {
	f := newFake(t)
	b, other := f.open(t), f.open(t)
	v := put(t, b, key, "1", vault.Create())
	f.fault = func(method string, n int) fault {
		if method == "PUT" && n == 1 {
			f.mu.Unlock() // the other comes in while this request is lost
			defer f.mu.Lock()
			if _, err := other.Put(context.Background(), key, []byte("2"), vault.Replace(v)); err != nil {
				t.Error(err)
			}
			return lose
		}
		return none
	}
	_, err := b.Put(t.Context(), key, []byte("2"), vault.Replace(v))
	is(t, "the same bytes", err, vault.ErrConflict)
	if err == nil || !strings.Contains(err.Error(), "repeated") {
		t.Errorf("it is not said that there was a repetition: %v", err)
	}
}

func TestClaims(t *testing.T) {
	f := newFake(t)
	b := f.open(t, claiming)
	v := put(t, b, key, "1", vault.Create())
	// The process dies, or the store goes away, between claim and removal.
	f.rewrite = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "DELETE" {
			problem(w, http.StatusForbidden, "AccessDenied")
		}
		return r.Method == "DELETE"
	}
	if err := b.Delete(t.Context(), key, v); err != nil {
		t.Fatal(err)
	}
	if len(f.objects) != 1 {
		t.Fatal("there is no claim")
	}
	_, _, err := b.Get(t.Context(), key)
	is(t, "get", err, vault.ErrNotFound)
	_, err = b.Put(t.Context(), key, []byte("x"), vault.Replace(v))
	is(t, "replace", err, vault.ErrConflict)
	is(t, "delete again", b.Delete(t.Context(), key, v), vault.ErrNotFound)
	page, err := b.List(t.Context(), vault.CredentialPrefix(key.Wallet()), vault.Key{}, 10)
	if err != nil || len(page.Items) != 0 || page.More {
		t.Errorf("lists %v, %v", page, err)
	}
	v = put(t, b, key, "2", vault.Create())
	if data, now, err := b.Get(t.Context(), key); err != nil || string(data) != "2" || now != v {
		t.Errorf("%q %v %v", data, now, err)
	}
	// An object that only looks like a claim is listed.
	f.rewrite = nil
	put(t, b, vaulttest.Key(1, "other"), "agentkeys claim "+strings.Repeat("A", 26), vault.Create())
	page, err = b.List(t.Context(), vault.CredentialPrefix(key.Wallet()), vault.Key{}, 10)
	if err != nil || len(page.Items) != 2 {
		t.Errorf("lists %v, %v", page, err)
	}
}

func TestDenied(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	v := put(t, b, key, "1", vault.Create())
	f.rewrite = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("list-type") {
			return false
		}
		problem(w, http.StatusForbidden, "AccessDenied")
		return true
	}
	all := func(what string) {
		_, _, err := b.Get(t.Context(), key)
		is(t, what+": get", err, s3blob.ErrDenied)
		_, err = b.Put(t.Context(), key, []byte("2"), vault.Replace(v))
		is(t, what+": replace", err, s3blob.ErrDenied)
		is(t, what+": delete", b.Delete(t.Context(), key, v), s3blob.ErrDenied)
	}
	all("it is there")
	f.unlisted = true
	delete(f.objects, key.String())
	all("it cannot be known")
	_, err := b.List(t.Context(), vault.CredentialPrefix(key.Wallet()), vault.Key{}, 10)
	is(t, "list", err, s3blob.ErrDenied)
	// A Create that is denied is no conflict, though nothing is there.
	f.unlisted = false
	_, err = b.Put(t.Context(), key, []byte("2"), vault.Create())
	if err == nil || errors.Is(err, vault.ErrConflict) || errors.Is(err, vault.ErrNotFound) {
		t.Errorf("create: %v", err)
	}
}

func TestCredentialsOfTheWallet(t *testing.T) {
	f := newFake(t)
	b := f.open(t, claiming)
	one, two := vaulttest.Key(1, "a"), vaulttest.Key(2, "b")
	v := put(t, b, one, "x", vault.Create())
	put(t, b, two, "x", vault.Create())
	_, _, _ = b.Get(t.Context(), two)
	_, _ = b.List(t.Context(), vault.CredentialPrefix(two.Wallet()), vault.Key{}, 1)
	_, _ = b.Put(t.Context(), one, []byte("y"), vault.Create())
	_ = b.Delete(t.Context(), one, v)
	for _, l := range f.log {
		what, by, _ := strings.Cut(l, " by ")
		if strings.Contains(what, "bots/") && !strings.Contains(what, by) || by == "" {
			t.Error(l)
		}
	}
	// The session's own error arrives, and nothing is sent.
	refused := errors.New("refused")
	f2 := newFake(t)
	c := s3blob.Config{Region: "eu-central-1", Bucket: "the-bucket", Endpoint: f2.URL, PathStyle: true}
	b = open(t, c, func(agentkeys.Wallet) aws.CredentialsProvider {
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, refused })
	})
	_, _, err := b.Get(t.Context(), key)
	is(t, "get", err, refused)
	_, err = b.Put(t.Context(), key, nil, vault.Create())
	is(t, "put", err, refused)
	if len(f2.log) != 0 {
		t.Errorf("sent without credentials: %v", f2.log)
	}
}

func TestHostileStore(t *testing.T) {
	f := newFake(t)
	b := f.open(t)
	v := put(t, b, key, "x", vault.Create())
	p := vault.CredentialPrefix(key.Wallet())
	list := func() (vault.Page, error) { return b.List(t.Context(), p, vault.Key{}, 10) }
	keys := func(more bool, names ...string) {
		f.rewrite = func(w http.ResponseWriter, r *http.Request) bool {
			listing(w, more, names, func(string) int { return 1 })
			return true
		}
	}
	for what, names := range map[string][]string{
		"out of order":       {p.String() + "b.enc", p.String() + "a.enc"},
		"twice":              {p.String() + "a.enc", p.String() + "a.enc"},
		"another's":          {vaulttest.Key(2, "a").String()},
		"before the prefix":  {"a"},
		"no key":             {""},
		"the prefix's start": {strings.TrimSuffix(p.String(), "/")},
	} {
		keys(false, names...)
		if page, err := list(); !errors.Is(err, s3blob.ErrStore) || len(page.Items) > 0 {
			t.Errorf("%s: %v, %v", what, page, err)
		}
	}
	keys(true)
	_, err := list()
	is(t, "endless", err, s3blob.ErrStore)
	keys(false, p.String(), p.String()+"../../x.enc", p.String()+"./a.enc", p.String()+"A.enc", p.String()+"a.enc", p.String()+"a.enc.bak", p.String()+"b/c.enc")
	if page, err := list(); err != nil || len(page.Items) != 1 || page.Items[0].Key != vaulttest.Key(1, "a") {
		t.Errorf("other names: %v, %v", page, err)
	}

	answer := func(status int, header map[string]string, body string) {
		f.rewrite = func(w http.ResponseWriter, r *http.Request) bool {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for what, etag := range map[string]string{"no ETag": "", "any": `"*"`, "empty": `""`, "a space": `"a b"`, "long": `"` + strings.Repeat("x", 300) + `"`} {
		answer(200, map[string]string{"ETag": etag}, "x")
		data, _, err := b.Get(t.Context(), key)
		is(t, what, err, s3blob.ErrStore)
		if data != nil {
			t.Errorf("%s: data all the same", what)
		}
		_, err = b.Put(t.Context(), key, nil, vault.Create())
		is(t, what, err, s3blob.ErrStore)
	}
	// Cut short, and longer than it may be, said or not.
	answer(200, map[string]string{"ETag": `"a"`, "Content-Length": "100"}, "x")
	if data, _, err := b.Get(t.Context(), key); err == nil || data != nil {
		t.Errorf("cut short: %q", data)
	}
	for _, header := range []map[string]string{{"ETag": `"a"`}, {"ETag": `"a"`, "Content-Length": strconv.Itoa(vault.MaxBlob + 1)}} {
		answer(200, header, strings.Repeat("x", vault.MaxBlob+1))
		data, v, err := b.Get(t.Context(), key)
		is(t, "too long", err, vault.ErrSize)
		if data != nil || v != "a" {
			t.Errorf("%d bytes, version %q", len(data), v)
		}
	}
	thief := newFake(t)
	answer(307, map[string]string{"Location": thief.URL + "/the-bucket/x"}, "")
	if _, _, err := b.Get(t.Context(), key); err == nil || len(thief.log) > 0 {
		t.Errorf("a redirect was followed: %v", err)
	}
	f.rewrite = nil
	if err := b.Delete(t.Context(), key, v); err != nil {
		t.Error(err)
	}
}

// TestForeignVersions: none of them matches anything, least of all everything.
func TestForeignVersions(t *testing.T) {
	f := newFake(t)
	for _, b := range []*s3blob.Bucket{f.open(t), f.open(t, claiming)} {
		v := put(t, b, key, "1", vault.Create())
		for _, other := range []vault.Version{"*", `"*"`, `x", "` + v, "\r\nx: y", "é", vault.Version(strings.Repeat("x", 300))} {
			_, err := b.Put(t.Context(), key, []byte("2"), vault.Replace(other))
			is(t, "replace", err, vault.ErrConflict)
			is(t, "delete", b.Delete(t.Context(), key, other), vault.ErrConflict)
		}
		if err := b.Delete(t.Context(), key, v); err != nil {
			t.Error(err)
		}
		is(t, "delete nothing", b.Delete(t.Context(), key, "*"), vault.ErrNotFound)
	}
}

// TestNothingAmbient: the user's own AWS settings play no part.
func TestNothingAmbient(t *testing.T) {
	thief := newFake(t)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := "[default]\nregion = us-gov-west-1\nendpoint_url = " + thief.URL + "\naws_access_key_id = AKIATHIEF\naws_secret_access_key = thief\n"
	if err := os.WriteFile(filepath.Join(home, ".aws", "config"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"HOME": home, "AWS_ENDPOINT_URL": thief.URL, "AWS_ENDPOINT_URL_S3": thief.URL, "AWS_ACCESS_KEY_ID": "AKIATHIEF", "AWS_SECRET_ACCESS_KEY": "thief",
		"AWS_REGION": "us-gov-west-1", "AWS_S3_USE_ARN_REGION": "true", "HTTP_PROXY": thief.URL, "HTTPS_PROXY": thief.URL, "AWS_CA_BUNDLE": "/nonexistent",
	} {
		t.Setenv(k, v)
	}
	f := newFake(t)
	put(t, f.open(t), key, "x", vault.Create())
	if len(thief.log) != 0 || len(f.log) != 1 || !strings.HasSuffix(f.log[0], " by "+key.Wallet().String()) {
		t.Errorf("%v, %v", thief.log, f.log)
	}
}

func TestConfig(t *testing.T) {
	good := s3blob.Config{Region: "eu-central-1", Bucket: "the-bucket"}
	try := func(change func(*s3blob.Config)) error {
		c := good
		change(&c)
		_, err := s3blob.Open(c, static)
		return err
	}
	for what, change := range map[string]func(*s3blob.Config){
		"as it is": func(*s3blob.Config) {},
		"https":    func(c *s3blob.Config) { c.Endpoint = "https://s3.example.com" },
		"loopback": func(c *s3blob.Config) { c.Endpoint = "http://127.8.0.1:7070/" },
		"allowed":  func(c *s3blob.Config) { c.Endpoint, c.Plaintext = "http://s3.example.com", true },
		"a dot":    func(c *s3blob.Config) { c.Bucket, c.PathStyle = "a.b", true },
	} {
		if err := try(change); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*s3blob.Config){
		"no region":   func(c *s3blob.Config) { c.Region = "" },
		"no bucket":   func(c *s3blob.Config) { c.Bucket = "" },
		"capitals":    func(c *s3blob.Config) { c.Bucket = "Bucket" },
		"a slash":     func(c *s3blob.Config) { c.Bucket = "bucket/bots" },
		"dots":        func(c *s3blob.Config) { c.Bucket, c.PathStyle = "a..b", true },
		"a dot, host": func(c *s3blob.Config) { c.Bucket = "a.b" },
		"an ARN":      func(c *s3blob.Config) { c.Bucket = "arn:aws:s3:::x" },
		"http":        func(c *s3blob.Config) { c.Endpoint = "http://s3.example.com" },
		"a password":  func(c *s3blob.Config) { c.Endpoint = "https://a:hunter2@s3.example.com" },
		"a path":      func(c *s3blob.Config) { c.Endpoint = "https://s3.example.com/bucket" },
	} {
		if err := try(change); !errors.Is(err, s3blob.ErrConfig) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s3blob.Open(good, nil); !errors.Is(err, s3blob.ErrConfig) {
		t.Errorf("no credentials: %v", err)
	}
}
