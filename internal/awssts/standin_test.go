package awssts_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// standIn is an STS over a real socket whose clock is ours: a real one has no
// session that ends sooner than in 15 minutes.
type standIn struct {
	*httptest.Server
	calls atomic.Int64
	life  atomic.Int64 // of the sessions, in nanoseconds
	// answer, if set, answers instead.
	answer atomic.Pointer[http.HandlerFunc]
	gate   chan struct{} // if set, read from before answering
	last   sync.Map      // form values of the last call
}

func newStandIn(t testing.TB) *standIn {
	s := &standIn{}
	s.life.Store(int64(time.Hour))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.calls.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		for k := range r.Form {
			s.last.Store(k, r.Form.Get(k))
		}
		if s.gate != nil {
			<-s.gate
		}
		if h := s.answer.Load(); h != nil {
			(*h)(w, r)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>secret-%d</SecretAccessKey><SessionToken>session-%d</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, n, n, n, time.Now().Add(time.Duration(s.life.Load())).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) says(status int, code, message string) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>%s</Code><Message>`, code)
		_ = xml.EscapeText(w, []byte(message))
		fmt.Fprint(w, `</Message></Error><RequestId>1</RequestId></ErrorResponse>`)
	})
	s.answer.Store(&h)
}

const webToken = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZ2VudGtleXM6d2FsbGV0In0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"

const role = "arn:aws:iam::123456789012:role/agentkeys-data"

func (s *standIn) sessions(t testing.TB, c awssts.Config) *awssts.Sessions {
	t.Helper()
	c.Region, c.Endpoint = "eu-central-1", s.URL
	if c.RoleARN == "" {
		c.RoleARN = role
	}
	all, err := awssts.New(c, func(context.Context, agentkeys.Wallet) (string, error) { return webToken, nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOneCallPerSession(t *testing.T) {
	sts := newStandIn(t)
	sts.gate = make(chan struct{})
	s := sts.sessions(t, awssts.Config{})
	w := cloudtest.Wallet(1)
	var wg sync.WaitGroup
	var keys sync.Map
	for range 100 {
		wg.Go(func() {
			c, err := s.Credentials(w).Retrieve(t.Context())
			if err != nil {
				t.Error(err)
			}
			keys.Store(c.AccessKeyID, true)
		})
	}
	sts.gate <- struct{}{} // one answer, and no second would come
	wg.Wait()
	for range 1000 {
		if _, err := s.Credentials(w).Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := sts.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
	got := map[string]any{}
	sts.last.Range(func(k, v any) bool { got[k.(string)] = v; return true })
	for k, want := range map[string]string{
		"Action": "AssumeRoleWithWebIdentity", "RoleArn": role, "DurationSeconds": "900", "WebIdentityToken": webToken,
		"RoleSessionName": "agentkeys-" + w.String(),
	} {
		if got[k] != want {
			t.Errorf("%s = %q, want %q", k, got[k], want)
		}
	}
}

func TestPerWallet(t *testing.T) {
	sts := newStandIn(t)
	s := sts.sessions(t, awssts.Config{RoleARN: role + "-{wallet}", SessionName: "laptop", Duration: time.Hour})
	seen := map[string]bool{}
	for n := range 5 {
		c, err := s.Credentials(cloudtest.Wallet(n)).Retrieve(t.Context())
		if err != nil || seen[c.AccessKeyID] {
			t.Fatalf("%v %v", c.AccessKeyID, err)
		}
		seen[c.AccessKeyID] = true
		for k, want := range map[string]string{"RoleArn": role + "-" + cloudtest.Wallet(n).String(), "RoleSessionName": "laptop-" + cloudtest.Wallet(n).String(), "DurationSeconds": "3600"} {
			if got, _ := sts.last.Load(k); got != want {
				t.Errorf("%s = %q, want %q", k, got, want)
			}
		}
	}
	if _, err := s.Credentials(agentkeys.Wallet{}).Retrieve(t.Context()); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("the zero wallet: %v", err)
	}
	if n := sts.calls.Load(); n != 5 {
		t.Errorf("%d calls", n)
	}
}

// TestRenewal: what ends within the window is renewed at the next use, what
// ends later is not.
func TestRenewal(t *testing.T) {
	sts := newStandIn(t)
	s := sts.sessions(t, awssts.Config{})
	p := s.Credentials(cloudtest.Wallet(1))
	get := func(want string) {
		t.Helper()
		if c, err := p.Retrieve(t.Context()); err != nil || c.AccessKeyID != want {
			t.Fatalf("%s, %v, want %s", c.AccessKeyID, err, want)
		}
	}
	sts.life.Store(int64(110 * time.Second)) // renewed 2 to 3 minutes before the end
	get("ASIA1")
	sts.life.Store(int64(200 * time.Second))
	get("ASIA2")
	get("ASIA2")

	s.Forget(cloudtest.Wallet(1))
	sts.life.Store(int64(100 * time.Second))
	get("ASIA3")
	// It has to be renewed and cannot be: it serves until its end, and does not
	// keep everybody waiting for STS.
	sts.says(http.StatusServiceUnavailable, "ServiceUnavailable", "later")
	before := sts.calls.Load()
	for range 100 {
		get("ASIA3")
	}
	if n := sts.calls.Load() - before; n < 1 || n > 4 {
		t.Errorf("%d attempts to renew", n)
	}
}

// TestRefusalEndsASession even while it would still last.
func TestRefusalEndsASession(t *testing.T) {
	sts := newStandIn(t)
	s := sts.sessions(t, awssts.Config{})
	p := s.Credentials(cloudtest.Wallet(1))
	sts.life.Store(int64(100 * time.Second))
	if _, err := p.Retrieve(t.Context()); err != nil {
		t.Fatal(err)
	}
	sts.says(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	if _, err := p.Retrieve(t.Context()); !errors.Is(err, awssts.ErrRefused) {
		t.Errorf("%v", err)
	}
	// And what is over serves no more though STS is away.
	sts.answer.Store(nil)
	sts.life.Store(int64(5 * time.Second))
	s.Forget(cloudtest.Wallet(1))
	if _, err := p.Retrieve(t.Context()); err != nil {
		t.Fatal(err)
	}
	sts.says(http.StatusServiceUnavailable, "ServiceUnavailable", "later")
	if _, err := p.Retrieve(t.Context()); !errors.Is(err, awssts.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name, code, message string
		status              int
		want                error
	}{
		{"denied", "AccessDenied", "Not authorized", 403, awssts.ErrRefused},
		{"expired", "ExpiredTokenException", "Token expired", 400, awssts.ErrRefused},
		{"invalid", "InvalidIdentityToken", "Incorrect token audience: " + webToken, 400, awssts.ErrRefused},
		{"quoted in part", "InvalidIdentityToken", "bad claims " + strings.Split(webToken, ".")[1], 400, awssts.ErrRefused},
		{"issuer away", "IDPCommunicationError", "Error communicating", 400, awssts.ErrUnreachable},
		{"throttled", "Throttling", "Rate exceeded", 400, awssts.ErrUnreachable},
		{"broken", "InternalFailure", "oops", 500, awssts.ErrUnreachable},
		{"long", "AccessDenied", strings.Repeat("x", 100_000), 403, awssts.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // the SDK waits between its attempts
			sts := newStandIn(t)
			p := sts.sessions(t, awssts.Config{}).Credentials(cloudtest.Wallet(1))
			sts.says(c.status, c.code, c.message)
			_, err := p.Retrieve(t.Context())
			e := new(awssts.Error)
			if !errors.Is(err, c.want) || !errors.As(err, &e) || e.Code != c.code || e.Wallet != cloudtest.Wallet(1) {
				t.Fatalf("%v", err)
			}
			for _, part := range append(strings.Split(webToken, "."), webToken) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), part) {
					t.Errorf("the token is in %v", err)
				}
			}
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			// It is not remembered.
			sts.answer.Store(nil)
			if _, err := p.Retrieve(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		t.Parallel()
		sts := newStandIn(t)
		p := sts.sessions(t, awssts.Config{}).Credentials(cloudtest.Wallet(1))
		sts.Close()
		if _, err := p.Retrieve(t.Context()); !errors.Is(err, awssts.ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v", err)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		t.Parallel()
		for _, body := range []string{"", "<html>", "<AssumeRoleWithWebIdentityResponse/>", `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`} {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				sts := newStandIn(t)
				h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
				sts.answer.Store(&h)
				c, err := sts.sessions(t, awssts.Config{}).Credentials(cloudtest.Wallet(1)).Retrieve(t.Context())
				if !errors.Is(err, awssts.ErrUnreachable) || c.HasKeys() {
					t.Errorf("%q: %v", body, err)
				}
			})
		}
	})
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		thief := newStandIn(t)
		for _, status := range []int{301, 302, 303, 307, 308} {
			sts := newStandIn(t)
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, status) })
			sts.answer.Store(&h)
			if _, err := sts.sessions(t, awssts.Config{}).Credentials(cloudtest.Wallet(1)).Retrieve(t.Context()); err == nil {
				t.Errorf("%d was followed", status)
			}
		}
		if thief.calls.Load() != 0 {
			t.Error("the token went elsewhere")
		}
	})
	t.Run("no token", func(t *testing.T) {
		t.Parallel()
		sts := newStandIn(t)
		broken := errors.New("logged out")
		s, err := awssts.New(awssts.Config{Region: "eu-central-1", Endpoint: sts.URL, RoleARN: role}, func(context.Context, agentkeys.Wallet) (string, error) { return "", broken })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Credentials(cloudtest.Wallet(1)).Retrieve(t.Context()); !errors.Is(err, broken) || errors.Is(err, awssts.ErrRefused) || errors.Is(err, awssts.ErrUnreachable) {
			t.Errorf("%v", err)
		}
		s, err = awssts.New(awssts.Config{Region: "eu-central-1", Endpoint: sts.URL, RoleARN: role}, func(context.Context, agentkeys.Wallet) (string, error) { return "", nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Credentials(cloudtest.Wallet(1)).Retrieve(t.Context()); err == nil {
			t.Error("an empty token will do")
		}
		if sts.calls.Load() != 0 {
			t.Error("STS was asked without a token")
		}
	})
}

// TestCancelled: one who gives up ends nobody else's waiting.
func TestCancelled(t *testing.T) {
	sts := newStandIn(t)
	sts.gate = make(chan struct{})
	s := sts.sessions(t, awssts.Config{})
	p := s.Credentials(cloudtest.Wallet(1))
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := p.Retrieve(ctx); first <- err }()
	for sts.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { _, err := p.Retrieve(t.Context()); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	sts.gate <- struct{}{}
	if err := <-second; err != nil {
		t.Error(err)
	}
	if _, err := p.Retrieve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("done before it began: %v", err)
	}
	if n := sts.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestForget(t *testing.T) {
	sts := newStandIn(t)
	s := sts.sessions(t, awssts.Config{})
	p := s.Credentials(cloudtest.Wallet(1))
	for want := 1; want < 4; want++ {
		c, err := p.Retrieve(t.Context())
		if err != nil || c.AccessKeyID != fmt.Sprint("ASIA", want) {
			t.Errorf("%s %v", c.AccessKeyID, err)
		}
		s.Forget(cloudtest.Wallet(2))
		if s.Len() != 1 {
			t.Errorf("%d sessions", s.Len())
		}
		s.Forget(cloudtest.Wallet(1))
		if s.Len() != 0 {
			t.Errorf("%d sessions", s.Len())
		}
	}
}

// TestNothingAmbient: the user's own AWS settings, all pointing elsewhere, play
// no part.
func TestNothingAmbient(t *testing.T) {
	thief := newStandIn(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	if err := os.Mkdir(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := "[default]\nregion = us-gov-west-1\nendpoint_url = " + thief.URL + "\naws_access_key_id = AKIATHIEF\naws_secret_access_key = thief\nca_bundle = /nonexistent\n"
	for _, name := range []string{"config", "credentials"} {
		if err := os.WriteFile(filepath.Join(home, ".aws", name), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": thief.URL, "AWS_ENDPOINT_URL_STS": thief.URL, "AWS_ACCESS_KEY_ID": "AKIATHIEF", "AWS_SECRET_ACCESS_KEY": "thief",
		"AWS_SESSION_TOKEN": "thief", "AWS_REGION": "us-gov-west-1", "AWS_ROLE_ARN": role + "-thief", "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent",
		"AWS_PROFILE": "none", "AWS_CA_BUNDLE": "/nonexistent", "AWS_EC2_METADATA_SERVICE_ENDPOINT": thief.URL,
		"HTTP_PROXY": thief.URL, "HTTPS_PROXY": thief.URL, "http_proxy": thief.URL,
	} {
		t.Setenv(k, v)
	}
	sts := newStandIn(t)
	var auth atomic.Value
	inner := sts.Config.Handler
	sts.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Store(r.Header.Get("Authorization"))
		inner.ServeHTTP(w, r)
	})
	c, err := sts.sessions(t, awssts.Config{}).Credentials(cloudtest.Wallet(1)).Retrieve(t.Context())
	if err != nil || c.AccessKeyID != "ASIA1" {
		t.Fatalf("%v %v", c.AccessKeyID, err)
	}
	if got, _ := sts.last.Load("RoleArn"); got != role || auth.Load() != "" {
		t.Errorf("role %v, authorization %v", got, auth.Load())
	}
	if thief.calls.Load() != 0 {
		t.Error("what the environment names was asked")
	}
}

func TestConfig(t *testing.T) {
	good := awssts.Config{Region: "eu-central-1", RoleARN: role}
	source := func(context.Context, agentkeys.Wallet) (string, error) { return "", nil }
	try := func(change func(*awssts.Config)) error {
		c := good
		change(&c)
		_, err := awssts.New(c, source)
		return err
	}
	for what, change := range map[string]func(*awssts.Config){
		"as it is":        func(*awssts.Config) {},
		"https":           func(c *awssts.Config) { c.Endpoint = "https://sts.example.com" },
		"https and slash": func(c *awssts.Config) { c.Endpoint = "https://sts.example.com:8443/" },
		"loopback":        func(c *awssts.Config) { c.Endpoint = "http://127.0.0.1:7070" },
		"loopback 6":      func(c *awssts.Config) { c.Endpoint = "http://[::1]:7070" },
		"localhost":       func(c *awssts.Config) { c.Endpoint = "http://localhost:7070" },
		"allowed":         func(c *awssts.Config) { c.Endpoint, c.Plaintext = "http://sts.example.com", true },
		"a path":          func(c *awssts.Config) { c.RoleARN = "arn:aws-cn:iam::123456789012:role/team/agentkeys-{wallet}" },
		"12 h":            func(c *awssts.Config) { c.Duration = 12 * time.Hour },
	} {
		if err := try(change); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, change := range map[string]func(*awssts.Config){
		"no region":    func(c *awssts.Config) { c.Region = "" },
		"no role":      func(c *awssts.Config) { c.RoleARN = "" },
		"a user":       func(c *awssts.Config) { c.RoleARN = "arn:aws:iam::123456789012:user/x" },
		"other braces": func(c *awssts.Config) { c.RoleARN = role + "{agent}" },
		"http":         func(c *awssts.Config) { c.Endpoint = "http://sts.example.com" },
		"http private": func(c *awssts.Config) { c.Endpoint = "http://10.0.0.1" },
		"http alike":   func(c *awssts.Config) { c.Endpoint = "http://127.0.0.1.example.com" },
		"a password":   func(c *awssts.Config) { c.Endpoint = "https://a:hunter2@sts.example.com" },
		"a path":       func(c *awssts.Config) { c.Endpoint = "https://sts.example.com/x" },
		"a query":      func(c *awssts.Config) { c.Endpoint = "https://sts.example.com?x" },
		"no scheme":    func(c *awssts.Config) { c.Endpoint = "sts.example.com" },
		"ftp":          func(c *awssts.Config) { c.Endpoint = "ftp://sts.example.com" },
		"a long name":  func(c *awssts.Config) { c.SessionName = strings.Repeat("x", 22) },
		"a space":      func(c *awssts.Config) { c.SessionName = "a b" },
		"too short":    func(c *awssts.Config) { c.Duration = 899 * time.Second },
		"too long":     func(c *awssts.Config) { c.Duration = 13 * time.Hour },
		"a fraction":   func(c *awssts.Config) { c.Duration = time.Hour + time.Millisecond },
	} {
		if err := try(change); !errors.Is(err, awssts.ErrConfig) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := awssts.New(good, nil); !errors.Is(err, awssts.ErrConfig) {
		t.Errorf("no source: %v", err)
	}
}

var _ aws.CredentialsProvider = (*awssts.Sessions)(nil).Credentials(agentkeys.Wallet{})
