package s3conn_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys/internal/s3conn"
)

// TestNoProxy: the environment's would see a session's token. Go never uses one
// for a loopback address, so a request cannot show it.
func TestNoProxy(t *testing.T) {
	c := s3conn.Client(1, time.Second)
	if c.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may come from the environment")
	}
	if c.Timeout != time.Second {
		t.Error("a call may take for ever")
	}
}

func TestNew(t *testing.T) {
	good := s3conn.Config{Region: "eu-central-1", Bucket: "the-bucket"}
	for what, c := range map[string]struct {
		change func(*s3conn.Config)
		ok     bool
	}{
		"as it is":   {func(*s3conn.Config) {}, true},
		"loopback":   {func(c *s3conn.Config) { c.Endpoint = "http://[::1]:7070" }, true},
		"no region":  {func(c *s3conn.Config) { c.Region = "" }, false},
		"no bucket":  {func(c *s3conn.Config) { c.Bucket = "" }, false},
		"short":      {func(c *s3conn.Config) { c.Bucket = "ab" }, false},
		"shortest":   {func(c *s3conn.Config) { c.Bucket = "a-1" }, true},
		"longest":    {func(c *s3conn.Config) { c.Bucket = strings.Repeat("a", 63) }, true},
		"long":       {func(c *s3conn.Config) { c.Bucket = strings.Repeat("a", 64) }, false},
		"a hyphen":   {func(c *s3conn.Config) { c.Bucket = "-abc" }, false},
		"at the end": {func(c *s3conn.Config) { c.Bucket, c.PathStyle = "abc.", true }, false},
		"capitals":   {func(c *s3conn.Config) { c.Bucket = "Abc" }, false},
		"a slash":    {func(c *s3conn.Config) { c.Bucket = "abc/def" }, false},
		"a line":     {func(c *s3conn.Config) { c.Bucket = "abc\n" }, false},
		"two dots":   {func(c *s3conn.Config) { c.Bucket, c.PathStyle = "a..b", true }, false},
		"directory":  {func(c *s3conn.Config) { c.Bucket = "a--use1-az4--x-s3" }, false},
		"a dot":      {func(c *s3conn.Config) { c.Bucket = "a.b" }, false},
		"plaintext":  {func(c *s3conn.Config) { c.Endpoint = "http://s3.example.com" }, false},
		"alike":      {func(c *s3conn.Config) { c.Endpoint = "http://127.0.0.1.example.com" }, false},
	} {
		config := good
		c.change(&config)
		if _, err := s3conn.New(config); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestPlainGoesNowhereElse: neither a request of ours nor one of the SDK's
// follows a redirect, and none is sent twice by us.
func TestPlainGoesNowhereElse(t *testing.T) {
	n := 0
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the session went elsewhere") }))
	defer thief.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		if r.URL.Path != "/the-bucket/inbound/x" || r.Header.Get("Authorization") == "" || r.Header.Get("User-Agent") != "agentkeys" {
			t.Errorf("%s %v", r.URL.Path, r.Header)
		}
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	b, err := s3conn.New(s3conn.Config{Region: "eu-central-1", Bucket: "the-bucket", Endpoint: s.URL, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Plain(t.Context(), http.MethodGet, "inbound/x", http.Header{}, aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "example"})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if n != 1 || res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("%d requests, %s", n, res.Status)
	}
}
