package manage

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

type object = map[string]any

// play is one service.
type play struct {
	base   string
	header string // where its management key stands
	prefix string
	refuse int // the status for a wrong one
	routes []route
}

type route struct {
	pattern string
	serve   func(*Server, *call) (status int, answer any)
}

type call struct {
	*http.Request
	body object
}

func (c *call) text(name string) string {
	s, _ := c.body[name].(string)
	return s
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, p play, f func(*Server, *call) (int, any)) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	outage := s.outage
	s.mu.Unlock()
	status, answer := 0, any(nil)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, Seen{r.Method, r.URL.Path, r.URL.RawQuery, string(text), status})
	}()
	if s.opts.Before != nil {
		s.opts.Before(r.Method, r.URL.Path)
	}
	switch outage {
	case Cut:
		panic(http.ErrAbortHandler)
	case Silent:
		select {
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
		panic(http.ErrAbortHandler)
	case Unavailable:
		status, answer = http.StatusServiceUnavailable, object{"error": "unavailable"}
	case Busy:
		w.Header().Set("Retry-After", "7")
		status, answer = http.StatusTooManyRequests, object{"error": "slow down"}
	default:
		status, answer = s.answer(r, p, text, f)
	}
	if s.opts.After != nil {
		s.opts.After(r.Method, r.URL.Path)
	}
	if outage == CutAfter {
		panic(http.ErrAbortHandler)
	}
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *Server) answer(r *http.Request, p play, text []byte, f func(*Server, *call) (int, any)) (int, any) {
	given, ok := strings.CutPrefix(r.Header.Get(p.header), p.prefix)
	if !ok || given != s.management {
		return p.refuse, object{"error": object{"code": p.refuse, "message": "no such management key"}}
	}
	c := &call{Request: r, body: object{}}
	if len(text) > 0 {
		if r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(text, &c.body) != nil {
			return http.StatusBadRequest, object{"error": object{"code": 400, "message": "the body is not JSON"}}
		}
	}
	return f(s, c)
}

// remove deletes the key that the path names.
func (s *Server) remove(id string) bool {
	k := s.byID(id)
	if k != nil {
		s.Remove(id)
	}
	return k != nil
}

// each lists the keys that were not deleted, expired ones too.
func (s *Server) each(f func(k Key) object) []object {
	out := []object{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.Key.Live {
			out = append(out, f(k.Key))
		}
	}
	return out
}
