package testsrv

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// event is one server-sent event: a comment, or data with or without a name.
type event struct {
	name    string
	comment string
	raw     string // data as it is
	data    any    // data as JSON
	cut     bool   // cut the connection instead
}

func (e event) bytes() []byte {
	if e.comment != "" {
		return []byte(": " + e.comment + "\n\n")
	}
	data := []byte(e.raw)
	if e.data != nil {
		var err error
		if data, err = json.Marshal(e.data); err != nil {
			panic(fmt.Sprintf("testsrv: event: %v", err))
		}
	}
	if e.name != "" {
		return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", e.name, data)
	}
	return fmt.Appendf(nil, "data: %s\n\n", data)
}

// stream writes events as they come and flushes each, so that whatever holds
// them back is not this server.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, events func(yield func(event) bool)) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	out := s.out(w, r)
	_ = out.flush() // the headers, before the first gate
	k := 0
	for e := range events {
		if k > 0 && !sleep(r.Context(), s.opts.Gap) {
			panic(http.ErrAbortHandler)
		}
		if s.opts.Gate != nil && s.opts.Gate(r.Context(), k) != nil {
			panic(http.ErrAbortHandler)
		}
		if e.cut {
			panic(http.ErrAbortHandler)
		}
		if _, err := out.Write(e.bytes()); err != nil {
			panic(http.ErrAbortHandler)
		}
		if out.flush() != nil {
			panic(http.ErrAbortHandler)
		}
		k++
	}
	out.close()
}

// output is a response body, in gzip if z is set.
type output struct {
	io.Writer
	z       *gzip.Writer
	control *http.ResponseController
}

// out must be had before the header is written.
func (s *Server) out(w http.ResponseWriter, r *http.Request) output {
	o := output{Writer: w, control: http.NewResponseController(w)}
	if s.opts.Compress && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Vary", "Accept-Encoding")
		o.z = gzip.NewWriter(w)
		o.Writer = o.z
	}
	return o
}

func (o output) flush() error {
	if o.z != nil {
		if err := o.z.Flush(); err != nil {
			return err
		}
	}
	return o.control.Flush()
}

func (o output) close() {
	if o.z != nil {
		_ = o.z.Close()
	}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
