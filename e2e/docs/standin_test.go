package docs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/e2e/sdk"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// newKey makes a key of a service's shape that is random, so that nobody can
// take it for a real one.
func newKey(shape testsrv.Shape) (string, error) {
	switch shape {
	case testsrv.OpenRouter:
		return "sk-or-v1-" + randomHex(32), nil
	case testsrv.OpenAI:
		return "sk-proj-" + randomHex(20) + "T3BlbkFJ" + randomHex(20), nil
	case testsrv.Anthropic:
		return "sk-ant-api03-" + randomHex(46) + "xAA", nil
	}
	return "", errors.New("nobody plays this service")
}

// standIn parses SHAPE [at ADDRESS], starts the server and makes $KEY its key.
// A server at an http:// address answers without TLS.
func (s *session) standIn(text string) error {
	shape, at, elsewhere := strings.Cut(text, " at ")
	key, err := newKey(testsrv.Shape(shape))
	if err != nil {
		return err
	}
	if elsewhere {
		key = "my-own-" + randomHex(16) // a server of the owner's makes what keys it likes
	}
	srv, err := testsrv.Start(testsrv.Options{Shape: testsrv.Shape(shape), Keys: map[string]string{"the key": key}})
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = srv.Close() })
	s.secrets = append(s.secrets, key)
	// Not exported: what runs in the session does not get it by accident.
	commands := []string{"KEY=" + key}
	at, plain := strings.CutPrefix(at, "http://")
	switch {
	case plain:
		s.stands[at] = withoutTLS(s, srv)
	case elsewhere:
		s.stands[at] = srv.Addr()
		if err := os.WriteFile(filepath.Join(s.dir, "ca.pem"), srv.CAPEM(), 0o600); err != nil {
			return err
		}
	default:
		ca := filepath.Join(s.home, shape+".pem")
		if err := os.WriteFile(ca, srv.CAPEM(), 0o600); err != nil {
			return err
		}
		base := strings.TrimSuffix(srv.BaseURL(), "/")
		if shape == "anthropic" {
			base = srv.URL() // its libraries write the /v1 themselves
		}
		commands = append(commands, "agentkeys services set "+shape+" --base-url "+base+" --ca "+ca+" --allow-address "+srv.Addr())
	}
	for _, c := range commands {
		if out, code, err := s.run(c); err != nil || code != 0 {
			return errors.Join(err, errors.New(out))
		}
	}
	return nil
}

// withoutTLS serves srv once more as plain HTTP on loopback, as model servers
// do, and returns the address.
func withoutTLS(s *session, srv *testsrv.Server) string {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(srv.CAPEM())
	target := &url.URL{Scheme: "https", Host: srv.Addr()}
	p := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	plain := httptest.NewServer(p)
	s.t.Cleanup(plain.Close)
	return plain.Listener.Addr().String()
}

// installSDK puts the official SDKs of a language where the session's programs
// find them, as npm install or go get would.
func (s *session) installSDK(ctx context.Context, lang string) error {
	cache, err := sdk.Cache()
	if err != nil {
		return err
	}
	if lang == "node" {
		clients, err := sdk.InstallJS(ctx, cache)
		if errors.Is(err, sdk.ErrNoNode) {
			s.t.Skip(err)
		}
		if err != nil {
			return err
		}
		home := filepath.Dir(clients[0].Argv[len(clients[0].Argv)-1])
		return os.Symlink(filepath.Join(home, "node_modules"), filepath.Join(s.dir, "node_modules"))
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(repo, "e2e", "sdk", "go", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	// The caches of the user who runs the tests: a home of its own has none.
	out, err := exec.CommandContext(ctx, "go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB").Output()
	if err != nil {
		return err
	}
	values := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
		if _, code, err := s.run("export " + name + "='" + values[i] + "'"); err != nil || code != 0 {
			return errors.Join(err, errors.New("exporting "+name))
		}
	}
	return nil
}
