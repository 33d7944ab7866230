// Package issuer_test tries the broker's issuer with libraries that know
// nothing of it: an OpenID Connect client, a JOSE and two DPoP implementations
// from npm, over TLS.
package issuer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/broker/pages"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/testsrv/npm"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

// rig is a broker served over TLS, with its token keys in a directory.
type rig struct {
	t      *testing.T
	w      *brokertest.World
	b      *broker.Broker
	srv    *httptest.Server
	origin string
	issuer *token.Issuer
	dir    string
	keys   *tokenkeys.Holder
}

// longest is how long a retired key stays published.
const longest = token.MasterLife

// start starts one that calls itself origin, or what it is if that is "".
func start(t *testing.T, origin string) *rig {
	t.Helper()
	r := &rig{t: t, w: brokertest.NewWorld(t), dir: filepath.Join(t.TempDir(), "keys")}
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		r.rotate(alg, 0)
	}
	var err error
	if r.keys, err = tokenkeys.Hold(r.dir, longest); err != nil {
		t.Fatal(err)
	}
	r.srv = httptest.NewUnstartedServer(nil)
	if r.origin = origin; origin == "" {
		r.origin = "https://" + r.srv.Listener.Addr().String()
	}
	o := r.w.Options(brokertest.SQLite(t, r.w))
	r.issuer = &token.Issuer{Issuer: r.origin, Ring: r.keys.Ring}
	o.Origin, o.Issuer = r.origin, r.issuer
	if r.b, err = broker.New(o); err != nil {
		t.Fatal(err)
	}
	p, err := pages.New(r.origin)
	if err != nil {
		t.Fatal(err)
	}
	r.srv.Config.Handler, err = brokerhttp.New(brokerhttp.Options{
		Broker: r.b, Issuer: r.issuer, Config: brokerapi.Config{Version: "test"}, Pages: p, Log: o.Log, Now: o.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that trust nobody
	r.srv.StartTLS()
	t.Cleanup(func() { r.srv.CloseClientConnections(); r.srv.Close() })
	return r
}

func (r *rig) now() time.Time { return r.w.Clock.Now() }

// rotate makes a key that signs after lead, if there is one of its kind.
func (r *rig) rotate(alg token.Alg, lead time.Duration) {
	r.t.Helper()
	if _, err := tokenkeys.Rotate(r.dir, alg, r.now(), lead); err != nil {
		r.t.Fatal(err)
	}
}

// reload has the broker read the directory, as it does every few seconds.
func (r *rig) reload() {
	r.t.Helper()
	if err := r.keys.Reload(); err != nil {
		r.t.Fatal(err)
	}
}

// device has a key, and a session if it is logged in.
type device struct {
	r   *rig
	key *ecdsa.PrivateKey
	s   brokerapi.Session
}

func (d *device) prove() broker.DeviceKey {
	d.r.t.Helper()
	proof, err := token.NewProof(d.key, http.MethodPost, d.r.origin+brokerapi.PathLogins, "", d.r.now())
	if err != nil {
		d.r.t.Fatal(err)
	}
	k, err := d.r.b.ProveKey(d.r.t.Context(), broker.Request{Method: http.MethodPost, Path: brokerapi.PathLogins, Proof: proof})
	if err != nil {
		d.r.t.Fatal(err)
	}
	return k
}

// login logs a new device in, as the owner of a wallet.
func (r *rig) login() *device {
	r.t.Helper()
	d := &device{r: r, key: brokertest.NewKey(r.t)}
	ctx := r.t.Context()
	const address = "0x00000000000000000000000000000000000000aa"
	l, err := r.b.BeginLogin(ctx, d.prove(), "peer", brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: address})
	if err != nil {
		r.t.Fatal(err)
	}
	owner, err := r.w.Wallet.ParseAddress(address)
	if err != nil {
		r.t.Fatal(err)
	}
	h, err := r.b.ProveWallet(ctx, l.ID, brokerapi.WalletProof{Message: l.Message, Signature: brokertest.SignWallet(owner, l.Message)})
	if err != nil {
		r.t.Fatal(err)
	}
	if d.s, err = r.b.EndLogin(ctx, d.prove(), l.ID, h.Code, "laptop"); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// jwk is the device's private key, for the counterpart.
func (d *device) jwk() map[string]string {
	d.r.t.Helper()
	private, err := d.key.Bytes()
	if err != nil {
		d.r.t.Fatal(err)
	}
	public, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.r.t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	return map[string]string{"kty": "EC", "crv": "P-256", "x": text(public[1:33]), "y": text(public[33:]), "d": text(private)}
}

// ask is a question to the counterpart; see the program.
type ask map[string]any

// counterpart is the libraries, in a process of theirs.
type counterpart struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
	err *bytes.Buffer
}

// meet starts a counterpart of the broker at address, which trusts the
// certificates of ca besides those of the system.
func meet(t *testing.T, address string, ca *httptest.Server) *counterpart {
	t.Helper()
	home, err := npm.Install(t.Context(), os.DirFS("testdata/js"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "node", filepath.Join(home, "counterpart.mjs"), address)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if ca != nil {
		file := filepath.Join(t.TempDir(), "ca.pem")
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "NODE_EXTRA_CA_CERTS="+file)
	}
	c := &counterpart{t: t, err: &bytes.Buffer{}}
	cmd.Stderr = c.err
	in, err := cmd.StdinPipe()
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
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait(); cancel() })
	c.in, c.out = in, bufio.NewReader(out)
	return c
}

// try returns what the libraries answer, or why they refuse.
func (c *counterpart) try(q ask, into any) (refused string) {
	c.t.Helper()
	line, err := json.Marshal(q)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c.in, "%s\n", line); err != nil {
		c.t.Fatal(err, c.err)
	}
	text, err := c.out.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("the counterpart ended: %v: %s", err, c.err)
	}
	var a struct {
		OK    json.RawMessage `json:"ok"`
		Error string          `json:"error"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		c.t.Fatalf("%v: %s", err, text)
	}
	if a.Error == "" && into != nil {
		if err := json.Unmarshal(a.OK, into); err != nil {
			c.t.Fatalf("%v: %s", err, a.OK)
		}
	}
	return a.Error
}

// do is try where no refusal is expected.
func (c *counterpart) do(q ask, into any) {
	c.t.Helper()
	if refused := c.try(q, into); refused != "" {
		c.t.Fatalf("%v: %s", q["do"], refused)
	}
}

// refuses checks that the libraries refuse, and for which reason.
func (c *counterpart) refuses(q ask, why string) {
	c.t.Helper()
	var got json.RawMessage
	if refused := c.try(q, &got); !strings.Contains(refused, why) || refused == "" {
		c.t.Errorf("%v: refused %q with the answer %s, want a refusal %q", q["do"], refused, got, why)
	}
}
