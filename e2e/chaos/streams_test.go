package chaos_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// dead are the grants that are no more, and when that was acknowledged.
type dead struct {
	mu  sync.Mutex
	ids map[string]time.Time
}

func (d *dead) add(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[string]time.Time{}
	}
	if id != "" {
		d.ids[id] = time.Now()
	}
}

func (d *dead) at(id string) *time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.ids[id]; ok {
		return &t
	}
	return nil
}

// listening reads one replica's streams, as they come, until ctx ends. A beat
// says that what was revoked before it has been told: here all have one clock,
// so that can be held against what was acknowledged.
func (g *granter) listening(ctx context.Context, replica int) {
	for ctx.Err() == nil {
		_ = g.listen(ctx, replica)
		time.Sleep(50 * time.Millisecond)
	}
}

func (g *granter) listen(ctx context.Context, replica int) error {
	w := g.w
	s, err := g.master.at[replica].Session(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.origin+brokerapi.PathEvents, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "DPoP "+s.Token)
	req.Header.Set("DPoP", w.proof(g.master.key, http.MethodGet, brokerapi.PathEvents, s.Token))
	req.Header.Set("User-Agent", "chaos/"+strconv.Itoa(replica))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lent := map[string]string{} // grant by agent
	var name string
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		field, value, _ := strings.Cut(in.Text(), ":")
		if value = strings.TrimSpace(value); field == "event" {
			name = value
		}
		if field == "data" {
			if err := g.hold(lent, name, []byte(value), replica); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold takes in one event.
func (g *granter) hold(lent map[string]string, name string, data []byte, replica int) (err error) {
	switch name {
	case brokerapi.EventSnapshot:
		var s brokerapi.Snapshot
		err = json.Unmarshal(data, &s)
		for _, have := range s.Grants {
			lent[have.Agent.String()] = have.ID
		}
	case brokerapi.EventGrant:
		var have grant.Grant
		err = json.Unmarshal(data, &have)
		lent[have.Agent.String()] = have.ID
	case brokerapi.EventRevoked:
		var r brokerapi.Revoked
		if err = json.Unmarshal(data, &r); lent[r.Agent.String()] == r.Grant {
			delete(lent, r.Agent.String())
		}
	case brokerapi.EventBeat:
		var b brokerapi.Beat
		err = json.Unmarshal(data, &b)
		if at := g.revoked.at(lent[g.agent.String()]); at != nil && at.Before(b.At) {
			g.w.t.Errorf("replica %d beats at %v, and has not told of a revocation that was acknowledged %v before", replica, b.At, b.At.Sub(*at))
		}
		g.w.beats.Add(1)
	}
	return err
}
