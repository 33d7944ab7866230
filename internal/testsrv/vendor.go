package testsrv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"path"
	"strings"
)

// Shape is which vendor's API a Server plays; the values are catalogue ids.
type Shape string

// The shapes. There is no default.
const (
	OpenRouter Shape = "openrouter"
	OpenAI     Shape = "openai"
	Anthropic  Shape = "anthropic"
)

var vendors = map[Shape]*vendor{
	OpenRouter: &openRouter,
	OpenAI:     &openAI,
	Anthropic:  &anthropic,
}

// vendor is what sets one API apart from the others.
type vendor struct {
	base   string // base path of the live service
	routes []route
	// stamp puts on the headers that every answer of the vendor carries.
	stamp func(h http.Header, c *call)
	// failure is the body of an error answer, and of an error event in a stream.
	failure    func(f *failure, c *call) any
	errorEvent string // name of that event
	// xAPIKey says that x-api-key is looked at beside Authorization.
	xAPIKey bool
	// Errors for no key and a wrong one.
	noKey, wrongKey func(presented string) *failure
}

type route struct {
	method, path string // path is below the vendor's base
	open         bool   // answered without a key, as the live one
	serve        func(s *Server, c *call) (answer, error)
}

// call is one request to a vendor's API.
type call struct {
	*http.Request
	body       []byte
	credential string // as presented, without its scheme
	label      string // of the accepted key that it is, or empty
}

// decode reads the body as JSON.
func (c *call) decode(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return &failure{status: http.StatusBadRequest, message: "We could not parse the JSON body of your request."}
	}
	return nil
}

// answer is what a route returns. Exactly one of body and events is set.
type answer struct {
	status int // 200 if zero
	header http.Header
	body   any
	events iter.Seq[event]
}

// failure is an answer in the vendor's error shape.
type failure struct {
	status      int
	message     string
	param, code string // OpenAI only
	header      http.Header
}

func (f *failure) Error() string { return f.message }

const maxBody = 64 << 20

// handler routes to the vendor's API and to the hostile paths, which stand at
// /hostile/ and also below the base, for a proxy that reaches only that.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range s.vendor.routes {
		mux.HandleFunc(rt.method+" "+s.vendor.base+rt.path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt) })
	}
	for _, tr := range tricks() {
		serve := func(w http.ResponseWriter, r *http.Request) { s.trick(w, r, tr) }
		mux.HandleFunc("/hostile/"+tr.path, serve)
		mux.HandleFunc(s.vendor.base+"/hostile/"+tr.path, serve)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.opts.Extra != nil {
			s.opts.Extra.ServeHTTP(w, r)
			return
		}
		s.serve(w, r, route{open: true, serve: func(*Server, *call) (answer, error) {
			return answer{}, &failure{status: http.StatusNotFound, message: "Not found: " + r.Method + " " + r.URL.Path}
		}})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.handlers.Done()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			panic(http.ErrAbortHandler) // the client left, or sends without end
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		credential, _ := s.credential(r)
		s.seen.add(r, body, s.seen.label(credential))
		// Routed as by a lenient vendor, who resolves dot segments, escaped ones
		// included, where ServeMux would redirect: an odd spelling of a shut
		// path must have something real behind it.
		r.URL.Path, r.URL.RawPath = path.Clean("/"+r.URL.Path), ""
		mux.ServeHTTP(w, r)
	})
}

// credential is what the request presents where the vendor looks; it is not
// ok if two of them differ.
func (s *Server) credential(r *http.Request) (credential string, ok bool) {
	found := append([]string(nil), r.Header.Values("Authorization")...)
	for i, v := range found {
		scheme, token, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return v, false
		}
		found[i] = strings.TrimSpace(token)
	}
	if s.vendor.xAPIKey {
		found = append(found, r.Header.Values("X-Api-Key")...)
	}
	for _, v := range found {
		if v != found[0] {
			return v, false
		}
	}
	if len(found) == 0 {
		return "", true
	}
	return found[0], true
}

// serve answers a call: the one place where an answer or an error is rendered.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt route) {
	c := &call{Request: r}
	c.body, _ = io.ReadAll(r.Body)
	var one bool
	c.credential, one = s.credential(r)
	c.label = s.seen.label(c.credential)

	var a answer
	var err error
	switch {
	case !rt.open && c.credential == "":
		err = s.vendor.noKey("")
	case !rt.open && (c.label == "" || !one):
		err = s.vendor.wrongKey(c.credential)
	default:
		a, err = rt.serve(s, c)
	}
	if err != nil {
		f, ok := err.(*failure)
		if !ok {
			f = &failure{status: http.StatusInternalServerError, message: err.Error()}
		}
		a = answer{status: f.status, header: f.header, body: s.vendor.failure(f, c)}
	}
	s.vendor.stamp(w.Header(), c)
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.events != nil {
		s.stream(w, r, a.events)
		return
	}
	body, err := json.Marshal(a.body)
	if err != nil {
		panic(fmt.Sprintf("testsrv: answer: %v", err))
	}
	w.Header().Set("Content-Type", "application/json")
	out := s.out(w, r)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = out.Write(append(body, '\n'))
	out.close()
}
