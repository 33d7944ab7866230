// Package oidctest runs a conforming OpenID provider, oidc-provider on node,
// for tests, and plays the person and the browser before it.
package oidctest

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/npm"
)

//go:embed js/package.json js/package-lock.json js/provider.mjs
var program embed.FS

// Provider is one that runs until the test ends.
type Provider struct {
	Issuer, ClientID, ClientSecret, RedirectURL string
}

// Start starts a provider for one client with one redirect URI.
func Start(t testing.TB, redirectURL string) Provider {
	t.Helper()
	src, err := fs.Sub(program, "js")
	if err != nil {
		t.Fatal(err)
	}
	home, err := npm.Install(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	p := Provider{ClientID: "agentkeys", ClientSecret: "a-client-secret-for-tests-only", RedirectURL: redirectURL}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "node", filepath.Join(home, "provider.mjs"), redirectURL, p.ClientID, p.ClientSecret)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe() // it ends when this does, also if the test is killed
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cancel(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("the provider ended: %s", stderr.String())
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	p.Issuer = strings.TrimSpace(line)
	return p
}

var formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)

// Login has a person with a fresh browser log in to account and agree. It
// returns where the provider sends the browser back to, without going there; or
// the page at which it stopped.
func Login(t testing.TB, authURL, redirectURL, account string) (back *url.URL, page string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	at, form := authURL, url.Values(nil)
	for range 12 { // a login is half as many steps
		var resp *http.Response
		if form == nil {
			resp, err = browser.Get(at)
		} else {
			resp, err = browser.PostForm(at, form)
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		form = nil
		if location := resp.Header.Get("Location"); location != "" {
			next, err := resp.Request.URL.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			if at = next.String(); strings.HasPrefix(at, redirectURL) {
				return next, ""
			}
			continue
		}
		action := formAction.FindSubmatch(body)
		if action == nil {
			return nil, string(body)
		}
		next, err := resp.Request.URL.Parse(string(action[1]))
		if err != nil {
			t.Fatal(err)
		}
		at = next.String()
		if bytes.Contains(body, []byte(`value="login"`)) {
			form = url.Values{"prompt": {"login"}, "login": {account}, "password": {"any"}}
		} else {
			form = url.Values{"prompt": {"consent"}}
		}
	}
	t.Fatal("the provider goes round in circles")
	return nil, ""
}
