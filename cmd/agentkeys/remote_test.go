package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/remote/remotetest"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/exchange"
)

// TestRemoteScript is the scripts that have a broker. Besides the commands of
// the others they have
//
//	broker                 starts one, with a signer and a store; sets $broker
//	browser                opens the next mailed link, as a browser would
//	browser -code FILE     the same elsewhere: the code goes to FILE
//	cloud up|down          has the store answer, or not
//	silence                has the broker say nothing any more
//	jsonfield FILE KEY OUT takes a text out of JSON
//	sign ADDRESS FILE OUT  signs the message in FILE, once it is there
//	vendor FILE            starts one that exchanges tokens of the subject in
//	                       FILE; sets $audience, $vendor, $vendor_token and the
//	                       addresses of both; writes vendor.pem
func TestRemoteScript(t *testing.T) {
	p := scripts("testdata/remote")
	p.Setup = func(env *testscript.Env) error {
		env.Values[farKey{}] = &farBroker{}
		return setup(env)
	}
	p.Cmds["broker"], p.Cmds["browser"], p.Cmds["cloud"], p.Cmds["silence"] = cmdBroker, cmdBrowser, cmdCloud, cmdSilence
	p.Cmds["jsonfield"], p.Cmds["sign"], p.Cmds["vendor"] = cmdJSONField, cmdSign, cmdVendor
	testscript.Run(t, p)
}

// farBroker is the broker of one script.
type farBroker struct {
	*remotetest.World
	mails int // whose links were opened
}

type farKey struct{}

func farOf(ts *testscript.TestScript) *farBroker {
	f := ts.Value(farKey{}).(*farBroker)
	if f.World == nil {
		ts.Fatalf("there is no broker yet")
	}
	return f
}

func cmdBroker(ts *testscript.TestScript, neg bool, args []string) {
	s := scriptOf(ts)
	f := ts.Value(farKey{}).(*farBroker)
	if neg || len(args) != 0 || f.World != nil {
		ts.Fatalf("usage: broker, once")
	}
	f.World = remotetest.Start(s.t)
	ts.Setenv("broker", f.URL)
	file := filepath.Join(s.work, "broker.pem")
	ts.Check(os.WriteFile(file, f.PEM, 0o600))
	ts.Setenv("SSL_CERT_FILE", file)
}

// cmdBrowser waits for a mail whose link was not opened yet.
func cmdBrowser(ts *testscript.TestScript, neg bool, args []string) {
	f := farOf(ts)
	for end := time.Now().Add(20 * time.Second); len(f.Mail.Sent()) <= f.mails; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("no mail was sent")
		}
	}
	f.mails = len(f.Mail.Sent())
	login, h := f.OpenLink()
	if len(args) == 2 && args[0] == "-code" {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(h.Code+"\n"), 0o600))
		return
	}
	if neg || len(args) != 0 || h.LoopbackPort == 0 {
		ts.Fatalf("usage: browser [-code FILE], with a login that listens on loopback: port %d", h.LoopbackPort)
	}
	resp, err := http.Get("http://127.0.0.1:" + strconv.Itoa(h.LoopbackPort) + "/login?login=" + login + "&code=" + h.Code)
	ts.Check(err)
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != 200 || !strings.Contains(string(page), "You can close this page") {
		ts.Fatalf("the browser saw %d %s", resp.StatusCode, page)
	}
}

func cmdCloud(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 || args[0] != "up" && args[0] != "down" {
		ts.Fatalf("usage: cloud up|down")
	}
	farOf(ts).Cloud.Down(args[0] == "down")
}

func cmdSilence(ts *testscript.TestScript, _ bool, _ []string) {
	farOf(ts).Silence()
	time.Sleep(time.Second) // what was heard before may count as long
}

// cmdVendor plays a service that takes the broker's tokens: where they are
// exchanged, and the API that takes what comes of them.
func cmdVendor(ts *testscript.TestScript, neg bool, args []string) {
	s, f := scriptOf(ts), farOf(ts)
	if neg || len(args) != 1 {
		ts.Fatalf("usage: vendor FILE")
	}
	ex, err := exchange.Start(exchange.Options{
		Shape: "anthropic", IssuerCA: f.PEM,
		Rule: exchange.Rule{
			Issuer: f.URL, Audience: brokertest.Federation, Subject: strings.TrimSpace(ts.ReadFile(args[0])),
			Parameters: map[string]string{"federation_rule_id": "fdrl_example", "organization_id": "org_example", "service_account_id": "svac_example"},
		},
	})
	ts.Check(err)
	ts.Defer(func() { _ = ex.Close() })
	api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Anthropic, Keyring: ex.Keyring})
	ts.Check(err)
	ts.Defer(func() { _ = api.Close() })
	ts.Setenv("audience", brokertest.Federation)
	ts.Setenv("vendor", api.URL())
	ts.Setenv("vendor_addr", api.Addr())
	ts.Setenv("vendor_token", ex.URL())
	ts.Setenv("vendor_token_addr", ex.Addr())
	ts.Check(os.WriteFile(filepath.Join(s.work, "vendor.pem"), append(api.CAPEM(), ex.CAPEM()...), 0o600))
}

func cmdSign(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: sign ADDRESS FILE OUT")
	}
	address, err := agentkeys.ParseWallet(args[0])
	ts.Check(err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if message, err := os.ReadFile(ts.MkAbs(args[1])); err == nil && len(message) > 0 {
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(brokertest.SignWallet(address, string(message))+"\n"), 0o600))
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("there is no message to sign")
		}
	}
}

// cmdJSONField writes the text that stands behind a key, however deep.
func cmdJSONField(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: jsonfield FILE KEY OUT")
	}
	_, rest, found := strings.Cut(ts.ReadFile(args[0]), strconv.Quote(args[1])+": \"")
	value, _, ok := strings.Cut(rest, "\"")
	if !found || !ok {
		ts.Fatalf("no %s in %s", args[1], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(value+"\n"), 0o600))
}
