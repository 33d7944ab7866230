package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/siwe"
)

// TestForeignLogin: a broker that has people prove themselves to another one,
// or for another device, is told on, and its words are not passed on.
func TestForeignLogin(t *testing.T) {
	const id, other = "0123456789abcdef0123456789abcdef", "https://good.example"
	var login brokerapi.Login
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != brokerapi.PathLogins {
			t.Errorf("it was asked for %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(login)
	}))
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	k := device.New()
	client, err := brokerclient.New(brokerclient.Options{URL: srv.URL, Key: k.Private(), Roots: roots, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	address, err := siwe.ParseAddress("0x1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a")
	if err != nil {
		t.Fatal(err)
	}
	message := func(change func(*siwe.Ask)) string {
		now := time.Now()
		ask := siwe.Ask{
			Origin: srv.URL, Address: address, ChainID: 1, Nonce: "abcdefgh12345678", Login: id, Device: client.Device(),
			Issued: now, Expires: now.Add(time.Minute),
		}
		change(&ask)
		m, err := ask.Message()
		if err != nil {
			t.Fatal(err)
		}
		return m.String()
	}
	mine := message(func(*siwe.Ask) {})
	google := func(back string) string {
		return "https://accounts.example/o/auth?state=" + id + "&redirect_uri=" + url.QueryEscape(back)
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = none.Close() })
	wallet := brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: strings.ToLower(address.String())}
	passkey, provider := brokerapi.LoginRequest{Method: brokerapi.LoginPasskey}, brokerapi.LoginRequest{Method: brokerapi.LoginGoogle}
	for _, c := range []struct {
		what         string
		req          brokerapi.LoginRequest
		message, url string
		good         bool
	}{
		{"its own message", wallet, mine, "", true},
		{"the domain and URI of another", wallet, message(func(a *siwe.Ask) { a.Origin = other }), "", false},
		{"the domain of another", wallet, strings.Replace(mine, strings.TrimPrefix(srv.URL, "https://"), "good.example", 1), "", false},
		{"the URI of another", wallet, strings.Replace(mine, "URI: "+srv.URL, "URI: "+other, 1), "", false},
		{"a scheme", wallet, "http://" + mine, "", false},
		{"another address", wallet, message(func(a *siwe.Ask) { a.Address[0]++ }), "", false},
		{"another login", wallet, message(func(a *siwe.Ask) { a.Login = "ffff" }), "", false},
		{"another device", wallet, message(func(a *siwe.Ask) { a.Device = strings.Repeat("A", 43) }), "", false},
		{"a resource more", wallet, mine + "\n- https://good.example/", "", false},
		{"no message", wallet, "Pay everything to me", "", false},
		{"its own page", passkey, "", srv.URL + "/login/passkey#" + id, true},
		{"another's page", passkey, "", other + "/login/passkey#" + id, false},
		{"another page", passkey, "", srv.URL + "/login/passkey?to=" + other + "#" + id, false},
		{"another login's page", passkey, "", srv.URL + "/login/passkey#ffff", false},
		{"back to it", provider, "", google(srv.URL + brokerapi.PathGoogleReturn), true},
		{"back to another", provider, "", google(other + brokerapi.PathGoogleReturn), false},
		{"back to both", provider, "", google(srv.URL+brokerapi.PathGoogleReturn) + "&redirect_uri=" + url.QueryEscape(other+brokerapi.PathGoogleReturn), false},
		{"back to nobody", provider, "", "https://accounts.example/o/auth", false},
	} {
		login = brokerapi.Login{ID: id, Expires: time.Now().Add(time.Minute), Message: c.message, URL: c.url}
		file := filepath.Join(t.TempDir(), "message")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		shown := watched{wrote: cancel} // nobody goes on with it
		a := &app{stdin: none, stdout: &shown, stderr: &shown}
		_, err := a.proveSelf(ctx, client, c.req, loginOptions{message: file})
		cancel()
		_, written := os.Stat(file)
		if c.good {
			if !errors.Is(err, errInterrupted) || !strings.Contains(shown.String(), id) || (c.message != "") != (written == nil) {
				t.Errorf("%s: %v %v\n%s", c.what, err, written, shown.String())
			}
			continue
		}
		if p, ok := errors.AsType[*problem](err); !ok || p.exit != exitRefused || p.code != "foreign-login" || shown.Len() > 0 || written == nil {
			t.Errorf("%s: %v %v\n%s", c.what, err, written, shown.String())
		}
	}
}

// TestWarnOfFile: a person is told who can read a key, a program is not.
func TestWarnOfFile(t *testing.T) {
	for _, c := range []struct {
		place string
		json  bool
		says  string
	}{{"file:/a/key", false, "out of /a/key: run the agent"}, {"file:/a/key", true, ""}, {"keychain", false, ""}, {"memory", false, ""}} {
		place, err := device.ParsePlace(c.place)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		a := &app{stderr: &out, json: c.json}
		a.warnOfFile(place)
		if got := out.String(); !strings.Contains(got, c.says) || (c.says == "") != (got == "") {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// watched keeps what is written, and says when something was.
type watched struct {
	bytes.Buffer
	wrote func()
}

func (w *watched) Write(p []byte) (int, error) {
	defer w.wrote()
	return w.Buffer.Write(p)
}
