package mailroute_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

const (
	w1   = "0x1111111111111111111111111111111111111111"
	w2   = "0x2222222222222222222222222222222222222222"
	dom  = "bots.example"
	a1   = "or-" + w1 + "-170000000012345678@" + dom
	a1b  = "br-" + w1 + "-170000000087654321@" + dom
	a2   = "or-" + w2 + "-170000000012345678@" + dom
	date = "; Mon, 06 May 2024 16:07:08 +0000 (UTC)"
)

func router(t testing.TB) *mailroute.Router {
	t.Helper()
	r, err := mailroute.New(mailroute.Rules{
		Domains:   []string{dom, "bücher.example"},
		Tags:      []string{"or", "br", "abcd"},
		Receivers: []mailhead.Receiver{mailhead.SES(), mailhead.Host("mx.bots.example")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verdict is a decision in one word: the wallet's first digit, or the reason.
func verdict(d mailroute.Decision) string {
	switch d.Outcome {
	case mailroute.Route:
		return d.Address.Wallet().String()[2:3]
	case mailroute.More:
		return "more"
	}
	return d.Reason
}

func TestTo(t *testing.T) {
	r := router(t)
	for _, c := range []struct{ to, want string }{
		{a1, "1"},
		{"<" + a1 + ">", "1"},
		{"Bob <" + a1 + ">", "1"},
	} {
		if got := verdict(r.Decide([]byte("To: "+c.to+"\r\n\r\n"), true, nil)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.to, got, c.want)
		}
	}
}
