package brokerhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/webserve"
)

// writeTime is how long one event may take to go out: who does not read is let
// go, and takes a snapshot when it comes back.
const writeTime = 5 * time.Second

// events streams what changes, as server-sent events.
func (s *server) events(w http.ResponseWriter, r *http.Request, c broker.Caller) error {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	go func() {
		select {
		case <-webserve.Stopping(ctx):
			stop()
		case <-ctx.Done():
		}
	}()
	stream, err := s.b.Subscribe(ctx, c)
	if err != nil {
		return err
	}
	defer stream.Close()
	rc := http.NewResponseController(w)
	// The server bounds how long a request may take to come in; this one has.
	_ = rc.SetReadDeadline(time.Time{})
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the stream back
	if r.Method != http.MethodGet {
		return nil
	}
	for {
		e, err := stream.Next(ctx)
		if err != nil {
			return nil //nolint:nilerr // the stream has begun: all that is left is to end it
		}
		data, err := json.Marshal(e.Data)
		if err != nil {
			s.o.Log.Error("an event cannot be written", "err", err)
			return nil
		}
		_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Name, data); err != nil {
			return nil //nolint:nilerr // whoever read it is gone
		}
		if err := rc.Flush(); err != nil {
			return nil //nolint:nilerr // whoever read it is gone
		}
	}
}
