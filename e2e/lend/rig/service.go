package rig

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/internal/testsrv"
)

// Key makes a key of the form that a service's catalogue entry wants, new each
// time; without a shape, one of no service that there is.
func Key(shape testsrv.Shape) string {
	switch shape {
	case testsrv.OpenAI:
		return "sk-proj-" + Random(20) + "T3BlbkFJ" + Random(20)
	case testsrv.Anthropic:
		return "sk-ant-api03-" + Random(47)[:93] + "AA"
	case testsrv.OpenRouter:
		return "sk-or-v1-" + Random(32)
	}
	return "key-of-the-test-" + Random(32)
}

// base is what a service's base URL has after its origin.
var base = map[testsrv.Shape]string{testsrv.OpenAI: "/v1", testsrv.OpenRouter: "/api/v1", testsrv.Anthropic: ""}

// Service is a service of the catalogue with a stand-in in its place, and the
// key that the stand-in knows as "real".
type Service struct {
	*testsrv.Server
	Name string
	Key  string
}

// StandIn starts a stand-in and has the background process reach the service
// of its shape there. Without keys in opts it accepts one, which is stored.
func (h *Home) StandIn(opts testsrv.Options) *Service {
	h.t.Helper()
	s := &Service{Name: string(opts.Shape)}
	if opts.Keys == nil {
		s.Key = Key(opts.Shape)
		opts.Keys = map[string]string{"real": s.Key}
	}
	s.Server = h.Serve(opts)
	h.Reach(s.Name, s.URL()+base[opts.Shape], s.CAPEM())
	if s.Key != "" {
		h.Store(s.Name, s.Key)
	}
	return s
}

// Serve starts a stand-in that ends with the test.
func (h *Home) Serve(opts testsrv.Options) *testsrv.Server {
	h.t.Helper()
	s, err := testsrv.Start(opts)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close() })
	return s
}

// Reach has a service reached at a stand-in.
func (h *Home) Reach(service, baseURL string, ca []byte) {
	h.t.Helper()
	u, err := url.Parse(baseURL)
	if err != nil {
		h.t.Fatal(err)
	}
	h.OK("services", "set", service, "--base-url", baseURL, "--ca", h.File(service+"-ca.pem", ca), "--allow-address", u.Host)
}

// File writes a file for a command to read.
func (h *Home) File(name string, data []byte) string {
	h.t.Helper()
	path := filepath.Join(filepath.Dir(h.Dir), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// Store stores a key.
func (h *Home) Store(service, key string, flags ...string) {
	h.t.Helper()
	h.OKWith(key+"\n", append([]string{"store", service, "--stdin"}, flags...)...)
}

// Custom adds a service of the user's own, whose base is the origin of a
// stand-in, and which lends everything.
func (h *Home) Custom(service string, s *testsrv.Server) {
	h.t.Helper()
	h.CustomAt(service, s.URL(), s.CAPEM())
}

// CustomAt is Custom for any server.
func (h *Home) CustomAt(service, baseURL string, ca []byte) {
	h.t.Helper()
	text := strings.NewReplacer("NAME", service, "UPPER", strings.ToUpper(strings.ReplaceAll(service, "-", "_"))).Replace(customService)
	h.OK("services", "add", h.File(service+".yaml", []byte(text)))
	h.Reach(service, baseURL, ca)
}

const customService = `id: NAME
name: NAME
summary: A service of the test's own.
aliases: none
docs: https://NAME.example/docs
base_url: https://NAME.example
hosts: none
inject:
  - header: Authorization
    prefix: "Bearer "
headers: none
strip: none
env:
  key: [UPPER_KEY]
  base_url: none
  unset: none
key:
  patterns: unknown
  others: unknown
  refuse: none
  placeholder: cu-
  shown_once: unknown
verify:
  path: unknown
  note: There is none.
allow:
  - "* /**"
shut: none
usage:
  pricing: unknown
  cost: unknown
  tokens: none
  unpriced: none
stream:
  kind: sse
  usage: none
rate_headers: unknown
terms:
  url: unknown
  finding: None.
  review:
    state: not-reviewed
doors:
  federate:
    state: unknown
    fact: None.
  mint:
    state: unknown
    fact: None.
  consent:
    state: unknown
    fact: None.
  signup:
    state: unknown
    fact: None.
  import:
    state: known
    fact: Made by the test.
mail_tag: none
sources:
  - ref: The test itself.
    grade: assumed
live_tested: never
`
