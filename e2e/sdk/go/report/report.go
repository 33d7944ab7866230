// Package report is how an SDK client tells what happened to it: a JSON object
// a step on standard output, and everything that it received in the file that
// SDK_DUMP names. It depends on the standard library only.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
)

// Step is one line on standard output.
type Step struct {
	Client string `json:"client"`
	Step   string `json:"step"`
	Event  int    `json:"event,omitempty"` // of a stream, from 1; its last line has none
	OK     bool   `json:"ok"`
	Status int    `json:"status,omitempty"`
	Prompt string `json:"prompt,omitempty"`
	Text   string `json:"text,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Report collects what a client receives.
type Report struct {
	client string
	failed bool

	mu       sync.Mutex
	lines    bytes.Buffer
	received []*exchange
}

type exchange struct {
	heading string
	status  int
	header  http.Header
	body    bytes.Buffer
}

// New makes the report of a client, such as "go/openai".
func New(client string) *Report { return &Report{client: client} }

// Prompt is the text that the client asks in a step; it differs between
// clients and steps, and so does its answer.
func (r *Report) Prompt(step string) string { return r.client + " asks in step " + step }

// Print writes a step. It fails the client if the step is not OK.
func (r *Report) Print(s Step) {
	s.Client = r.client
	line, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	r.failed = r.failed || !s.OK
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines.Write(append(line, '\n'))
	fmt.Println(string(line))
}

// Done prints the end of a step, with the status of the last answer.
func (r *Report) Done(step, text string, err error) {
	s := Step{Step: step, OK: err == nil, Status: r.lastStatus(), Text: text}
	if err != nil {
		s.Error = err.Error()
	}
	switch step {
	case "chat", "stream", "responses", "responses-stream":
		s.Prompt = r.Prompt(step)
	}
	r.Print(s)
}

// Expect prints a step that should have ended in an error with a status.
func (r *Report) Expect(step string, want int, err error) {
	s := Step{Step: step, Status: r.lastStatus()}
	s.OK = err != nil && s.Status == want
	if err != nil {
		s.Error = err.Error()
	}
	r.Print(s)
}

func (r *Report) lastStatus() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.received) == 0 {
		return 0
	}
	return r.received[len(r.received)-1].status
}

// Middleware is both SDKs' hook around a request: it keeps a copy of the
// answer, as it is read.
func (r *Report) Middleware(req *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	resp, err := next(req)
	e := &exchange{heading: req.Method + " " + req.URL.String()}
	r.mu.Lock()
	r.received = append(r.received, e)
	r.mu.Unlock()
	if resp != nil {
		e.status, e.header = resp.StatusCode, resp.Header.Clone()
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, &e.body), resp.Body}
	}
	return resp, err
}

// Exit writes the dump and ends the process: 1 if a step went wrong.
func (r *Report) Exit() {
	err := r.dump(os.Getenv("SDK_DUMP"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || r.failed {
		os.Exit(1)
	}
	os.Exit(0)
}

// dump writes plain text, not JSON: no escaping shall hide a key from a search.
func (r *Report) dump(path string) error {
	if path == "" {
		return errors.New("SDK_DUMP names no file")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	fmt.Fprintf(&b, "== arguments\n%q\n== environment\n", os.Args)
	for _, v := range os.Environ() {
		fmt.Fprintln(&b, v)
	}
	for _, e := range r.received {
		fmt.Fprintf(&b, "== %s\n%d\n", e.heading, e.status)
		for _, name := range slices.Sorted(maps.Keys(e.header)) {
			for _, v := range e.header[name] {
				fmt.Fprintf(&b, "%s: %s\n", name, v)
			}
		}
		fmt.Fprintf(&b, "\n%s\n", e.body.Bytes())
	}
	fmt.Fprintf(&b, "== steps\n%s", r.lines.Bytes())
	return os.WriteFile(path, b.Bytes(), 0o600)
}
