package mint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// services are the catalogue's names of the shapes.
var services = map[string]string{
	"openrouter": "openrouter", "openai": "openai", "google": "gemini", "xai": "xai", "resend": "resend", "elevenlabs": "elevenlabs",
}

// world is a Minter and the API that it speaks to.
type world struct {
	*Minter
	t   *testing.T
	api *manage.Server
	key secret.Value
	rt  http.RoundTripper
}

// entry is a service of the catalogue whose management API is at url.
func entry(t testing.TB, shape, url, address string) *catalog.Entry {
	t.Helper()
	e, err := catalog.Lookup(agentkeys.Must(agentkeys.ParseService(services[shape])))
	if err != nil {
		t.Fatal(err)
	}
	x := &catalog.Exchange{URL: url, Parameters: map[string]string{}}
	for _, p := range e.Minting.Parameters {
		x.Parameters[p.Name] = manage.Scope
	}
	e, err = e.With(catalog.Settings{Minting: x, AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(address)}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newWorld(t *testing.T, shape string) *world {
	t.Helper()
	api, err := manage.Start(manage.Options{Shape: shape})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(api.CAPEM())
	rt := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(rt.CloseIdleConnections)
	m, err := New(entry(t, shape, api.BaseURL(), api.Addr()), rt)
	if err != nil {
		t.Fatal(err)
	}
	// What has to be waited for is waited for in the API's time.
	m.wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return &world{Minter: m, t: t, api: api, key: secret.FromString(api.Management()), rt: rt}
}

// sent is what arrived, a request a line.
func (w *world) sent(from int) string {
	out := ""
	for _, s := range w.api.Seen()[from:] {
		out += fmt.Sprintf("%s %s", s.Method, s.Path)
		if s.Query != "" {
			out += "?" + s.Query
		}
		if s.Body != "" {
			out += " " + s.Body
		}
		out += "\n"
	}
	return out
}
