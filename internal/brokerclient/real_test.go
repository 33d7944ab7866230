package brokerclient_test

import (
	"errors"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/remote/remotetest"
)

var (
	coder  = agentkeys.Must(agentkeys.ParseAgent("coder"))
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
)

func code(err error) string {
	if p, ok := errors.AsType[*brokerapi.Problem](err); ok {
		return p.Code
	}
	return ""
}

// TestRealBroker: what the fake of the other tests does is what a broker does.
func TestRealBroker(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	c := w.Client(device.New())
	if cfg, err := c.Config(ctx); err != nil || cfg.Issuer != w.URL || cfg.Cloud == nil || cfg.Signer == nil {
		t.Fatalf("%+v %v", cfg, err)
	}
	if _, err := c.Session(ctx); !errors.Is(err, brokerclient.ErrDeviceOut) {
		t.Errorf("an unknown device: %v", err)
	}
	if _, err := c.BeginLogin(ctx, brokerapi.LoginRequest{Method: "fax"}); code(err) != brokerapi.CodeRequest {
		t.Errorf("an unknown method: %v", err)
	}
	s := w.Login(c, "ada@example.com")
	if s.Device != c.Device() || s.Role != "master" {
		t.Errorf("%+v", s)
	}
	stream := c.Events()
	defer stream.Close()
	if err := stream.Fresh(ctx); err != nil {
		t.Fatal(err)
	}
	a, err := c.CreateAgent(ctx, coder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateAgent(ctx, coder); code(err) != brokerapi.CodeExists {
		t.Errorf("made again: %v", err)
	}
	has := func(wanted func() bool) {
		t.Helper()
		if err := stream.Await(ctx, wanted); err != nil {
			t.Error(err)
		}
	}
	has(func() bool { got, ok := stream.Agent(coder); return ok && got.Wallet == a.Wallet })
	g, err := c.PutGrant(ctx, coder, router, brokerapi.Terms{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	has(func() bool { got := stream.Grant(coder, router); return got != nil && got.ID == g.ID })
	if all, err := c.Grants(ctx); err != nil || len(all) != 1 {
		t.Errorf("%v %v", all, err)
	}
	if err := c.RemoveGrant(ctx, coder, router); err != nil {
		t.Error(err)
	}
	has(func() bool { return stream.Grant(coder, router) == nil })
	if err := c.RemoveGrant(ctx, coder, router); code(err) != brokerapi.CodeNotFound {
		t.Errorf("removed again: %v", err)
	}

	// Tokens: its own, its agent's, and nobody else's.
	for _, wallet := range []agentkeys.Wallet{{}, s.Wallet, a.Wallet} {
		for _, aud := range []string{brokertest.STS, brokertest.SignerAudience} {
			if m, err := c.Mint(ctx, aud, wallet, 0); err != nil || !m.Expires.After(time.Now()) {
				t.Errorf("%s for %s: %v", aud, wallet, err)
			}
		}
	}
	if _, err := c.Mint(ctx, "https://elsewhere.test", agentkeys.Wallet{}, 0); code(err) != brokerapi.CodeAudience {
		t.Errorf("another audience: %v", err)
	}
	stranger := agentkeys.WalletFrom([20]byte{1})
	if _, err := c.Mint(ctx, brokertest.STS, stranger, 0); code(err) == "" {
		t.Errorf("another wallet: %v", err)
	}

	// Another machine, of the agent; its code is good once.
	e, err := c.Enrolment(ctx, coder)
	if err != nil {
		t.Fatal(err)
	}
	box := w.Client(device.New())
	if bs, err := box.Enrol(ctx, brokerapi.EnrolRequest{Code: e.Code, Device: "box"}); err != nil || bs.Agent != coder || bs.Parent != s.Wallet {
		t.Fatalf("%+v %v", bs, err)
	}
	if _, err := w.Client(device.New()).Enrol(ctx, brokerapi.EnrolRequest{Code: e.Code, Device: "thief"}); code(err) != brokerapi.CodeLogin {
		t.Errorf("a code that is used up: %v", err)
	}
	if _, err := box.CreateAgent(ctx, agentkeys.Must(agentkeys.ParseAgent("mine"))); code(err) != brokerapi.CodeForbidden {
		t.Errorf("an agent makes agents: %v", err)
	}
	if _, err := box.Mint(ctx, brokertest.STS, s.Wallet, 0); code(err) == "" {
		t.Errorf("an agent has its master's token: %v", err)
	}
	boxStream := box.Events()
	defer boxStream.Close()
	if err := boxStream.Fresh(ctx); err != nil {
		t.Fatal(err)
	}
	// It is out: its stream ends, and its session is none.
	if err := c.RevokeDevice(ctx, box.Device()); err != nil {
		t.Fatal(err)
	}
	if err := boxStream.Await(ctx, func() bool { return false }); !errors.Is(err, brokerclient.ErrEnded) {
		t.Errorf("a device that is out: %v", err)
	}
	if _, err := box.Grants(ctx); code(err) == "" {
		t.Errorf("a device that is out: %v", err)
	}
	if all, err := c.Devices(ctx); err != nil || len(all) != 1 || !all[0].Current {
		t.Errorf("%v %v", all, err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Errorf("logged out again: %v", err)
	}
}
