package local

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// ended is what the broker was asked to end, and forgets it.
func (f *far) ended() (told []string) {
	f.set(func() { told, f.told = f.told, nil })
	return told
}

// TestRemoveAgentAway: an agent's device is out whatever fails after, and the
// agent itself is there until its copies are gone.
func TestRemoveAgentAway(t *testing.T) {
	f, master, agent, _ := farWorld(t)
	ctx, coder := t.Context(), agentOf(t, "coder")
	f.set(func() {
		f.devices = append(f.devices, brokerapi.Device{ID: "c", Agent: coder}, brokerapi.Device{ID: "o", Agent: agentOf(t, "other")})
		f.away = ErrAway
	})
	if err := master.RemoveAgent(ctx, coder); !errors.Is(err, ErrAway) {
		t.Error(err)
	}
	if told := f.ended(); !slices.Equal(told, []string{"codes coder", "device c"}) {
		t.Errorf("ended: %q", told)
	}
	if n := len(f.grants); n != 0 {
		t.Errorf("%d grants", n)
	}
	f.set(func() { f.away = nil })
	if err := master.RemoveAgent(ctx, coder); err != nil {
		t.Error(err)
	}
	if told := f.ended(); !slices.Equal(told, []string{"codes coder", "agent coder"}) || agent.copies(agent.wallet) != "" {
		t.Errorf("ended: %q, copies: %q", told, agent.copies(agent.wallet))
	}
}

// TestUnrecordedOut: a log that cannot be written keeps no device and no agent
// in.
func TestUnrecordedOut(t *testing.T) {
	f, master, _, _ := farWorld(t)
	ctx, coder := context.Background(), agentOf(t, "coder")
	f.set(func() { f.devices = append(f.devices, brokerapi.Device{ID: "c", Agent: coder}) })
	if err := master.audit.Close(); err != nil {
		t.Fatal(err)
	}
	if err := master.RevokeDevice(ctx, "d"); err == nil {
		t.Error("it is on record")
	}
	if told := f.ended(); !slices.Equal(told, []string{"device d"}) {
		t.Errorf("ended: %q", told)
	}
	if err := master.RemoveAgent(ctx, coder); err == nil {
		t.Error("it is on record")
	}
	if told := f.ended(); !slices.Equal(told, []string{"codes coder", "device c"}) || len(f.grants) != 0 {
		t.Errorf("ended: %q, and %d grants are left", told, len(f.grants))
	}
	if _, err := master.Host.dir.RemoveAgent(ctx, coder, time.Now()); err == nil {
		t.Error("it is on record")
	}
	if told := f.ended(); !slices.Equal(told, []string{"agent coder"}) {
		t.Errorf("ended: %q", told)
	}
	master.Host = nil // it cannot be closed in order
}
