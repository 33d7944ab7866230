package postman_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/smtpin"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// spool passes on what arrives.
type spool chan []byte

func (s spool) Write(_ context.Context, _ agentkeys.MessageID, r io.Reader, _ int64) error {
	b, err := io.ReadAll(r)
	s <- b
	return err
}

func (spool) Waiting(context.Context, agentkeys.MessageID, int) (mailstore.Page, error) {
	return mailstore.Page{}, nil
}

const (
	domain = "agents.example"
	wallet = "0x0123456789abcdef0123456789abcdef01234567"
)

// TestLetters: what the sites write reaches a real receiver, passes its checks,
// and gives a link and a code by the rules of the catalogue.
func TestLetters(t *testing.T) {
	d, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	in := make(spool, 4)
	s, err := smtpin.New(smtpin.Config{Hostname: "mx." + domain, Domains: []string{domain}, Resolver: d.Resolver(), Spool: in, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer func() { _ = s.Shutdown(context.Background()) }()

	for _, c := range []struct {
		service, form, field string
		link                 string // what it begins with
		rules                verifymail.Rules
	}{
		{"openrouter", "https://clerk.openrouter.ai/v1/client", "emailAddress", "https://clerk.openrouter.ai/v1/verify?token=", known(t, "openrouter")},
		{"anthropic", "https://platform.claude.com/login", "email", "https://platform.claude.com/magic-link#", known(t, "anthropic")},
		// Nothing is known of Groq's mail: these are the hints that a run takes.
		{"groq", "https://console.groq.com/authenticate", "email", "https://console.groq.com/authenticate?", verifymail.Rules{
			Senders: []string{"stytch.com"}, LinkHosts: []string{"console.groq.com"}, Code: &verifymail.CodeRule{Digits: 6},
		}},
	} {
		t.Run(c.service, func(t *testing.T) {
			var post func(context.Context, sites.Letter) error
			site, err := sites.Start(sites.Options{Service: c.service, Post: func(ctx context.Context, l sites.Letter) error { return post(ctx, l) }})
			if err != nil {
				t.Fatal(err)
			}
			defer site.Close()
			p, err := postman.New(d, l.Addr().String, site.Senders()...)
			if err != nil {
				t.Fatal(err)
			}
			post = p.Post
			to := entry(t, c.service).MailTag.Value + "-" + wallet + "-179531280012345678@" + domain
			apply(t, site, c.form, c.field, to)

			var msg []byte
			select {
			case msg = <-in:
			case <-time.After(20 * time.Second):
				t.Fatal("no mail arrived")
			}
			c.rules.Receiver = mailhead.Host("mx." + domain)
			at, _, err := mailroute.ParseAddress(to)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []verifymail.Kind{verifymail.Link, verifymail.Code} {
				got, err := verifymail.Extract(msg, verifymail.Query{To: at, Domain: domain, Want: want}, c.rules)
				if err != nil {
					t.Fatalf("%s: %v\n%s", want, err, msg)
				}
				if want == verifymail.Link && !strings.HasPrefix(string(got.Link.Expose()), c.link) || want == verifymail.Code && got.Code.Len() != 6 {
					t.Errorf("%s of another form", want)
				}
			}
			if c.service == "openrouter" {
				if err := post(t.Context(), sites.Letter{From: "nobody", To: to}); err == nil {
					t.Error("a letter goes out from nobody")
				}
				if err := post(t.Context(), sites.Letter{From: "x@elsewhere.example", To: to}); err == nil {
					t.Error("a letter goes out for a domain that nobody sends for")
				}
			}
		})
	}
}

func entry(t *testing.T, service string) *catalog.Entry {
	t.Helper()
	e, err := catalog.Lookup(agentkeys.Must(agentkeys.ParseService(service)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func known(t *testing.T, service string) verifymail.Rules {
	t.Helper()
	m, ok := entry(t, service).MailRules()
	if !ok {
		t.Fatalf("too little is known of the mail of %s", service)
	}
	return verifymail.Rules{Senders: m.Senders, LinkHosts: m.LinkHosts, LinkPaths: m.LinkPaths, Code: &verifymail.CodeRule{Digits: m.Digits, Labels: m.Labels}}
}

var token = regexp.MustCompile(`"?csrf"?(?: value=|:)"([\w-]+)"`)

// apply has a site send its mail.
func apply(t *testing.T, site *sites.Site, form, field, address string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(site.CAPEM())
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, site.Addr().String())
	}}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Jar: jar, Timeout: 30 * time.Second}
	get := func(res *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%d %v %.500s", res.StatusCode, err, text)
		}
		return string(text)
	}
	m := token.FindStringSubmatch(get(c.Get(form)))
	if m == nil {
		t.Fatal("the form has no token")
	}
	at := strings.Replace(form, "/v1/client", "/v1/client/sign_ups", 1)
	get(c.PostForm(at, url.Values{"csrf": {m[1]}, field: {address}, "password": {"a pass phrase of the tests"}, "legalAccepted": {"true"}}))
}
