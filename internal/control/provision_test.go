package control

import (
	"errors"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// TestDrawers: what is in a drawer comes back whole, and a management key goes
// neither in nor out by this door.
func TestDrawers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	const kept = "an obviously fake password"
	for _, d := range []local.Drawer{local.DrawerAccount, local.DrawerPending} {
		if err := w.client.PutDrawer(ctx, svc, d, secret.FromString(kept)); err != nil {
			t.Fatal(err)
		}
		if v, err := w.client.Drawer(ctx, svc, d); err != nil || string(v.Expose()) != kept {
			t.Errorf("%s: %v", d, err)
		}
		if err := w.client.RemoveDrawer(ctx, svc, d); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []local.Drawer{local.DrawerManagement, "nosuch"} {
		put := w.client.PutDrawer(ctx, svc, d, secret.FromString(kept))
		_, opened := w.client.Drawer(ctx, svc, d)
		for _, err := range []error{put, opened, w.client.RemoveDrawer(ctx, svc, d)} {
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeRequest {
				t.Errorf("%s: %v", d, err)
			}
		}
	}
}
