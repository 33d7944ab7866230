package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
)

// TestFederationOnLaptop: without a broker there is the guide, and nothing that
// could be set.
func TestFederationOnLaptop(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	svc := agentkeys.Must(agentkeys.ParseService("openai"))
	st, err := w.client.Federation(ctx, svc)
	if err != nil || st.Set || st.Issuer != "" || st.Keys != "" || !strings.HasPrefix(st.Subject, "agentkeys:wallet:0x") || len(st.Parameters) == 0 || len(st.Setup) == 0 {
		t.Errorf("%+v %v", st, err)
	}
	x := catalog.Exchange{Audience: "https://a.example", Parameters: map[string]string{"identity_provider_id": "i", "service_account_id": "s"}}
	_, set := w.client.SetFederation(ctx, svc, FederationRequest{Exchange: x})
	_, off := w.client.EndFederation(ctx, svc)
	_, check := w.client.CheckFederation(ctx, svc)
	_, none := w.client.Federation(ctx, agentkeys.Must(agentkeys.ParseService("openrouter")))
	_, unknown := w.client.Federation(ctx, agentkeys.Must(agentkeys.ParseService("nosuch")))
	for _, c := range []struct {
		err  error
		code string
	}{{set, CodeConflict}, {off, CodeNotFound}, {check, CodeNotFound}, {none, CodeNotFound}, {unknown, CodeUnknown}} {
		if e, ok := errors.AsType[*Error](c.err); !ok || e.Code != c.code || e.Fix == "" {
			t.Errorf("want %s: %+v", c.code, c.err)
		}
	}
	if _, err := w.client.SetFederation(ctx, svc, FederationRequest{Exchange: catalog.Exchange{Parameters: map[string]string{"service_account_id": "s"}}}); !strings.Contains(err.Error(), "identity_provider_id") {
		t.Errorf("what is missing is not said: %v", err)
	}
}
