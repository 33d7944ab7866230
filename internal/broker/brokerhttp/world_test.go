package brokerhttp_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// pages are the least that is a page.
type pages struct{}

func (pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { page(w, 200, "page "+r.URL.Path) }
func (pages) Code(w http.ResponseWriter, _ *http.Request, code string) {
	page(w, 200, "code "+code)
}
func (pages) Refused(w http.ResponseWriter, _ *http.Request, status int) { page(w, status, "refused") }

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// node is one replica, served.
type node struct {
	t   *testing.T
	w   *brokertest.World
	b   *broker.Broker
	url string
	srv *httptest.Server
	// stop ends the broker's feed.
	stop func()
}

// serve serves a replica over a state.
func serve(t *testing.T, w *brokertest.World, s broker.State, change ...func(*brokerhttp.Options)) *node {
	t.Helper()
	b, stop := w.Replica(t, s)
	o := options(w, b)
	for _, f := range change {
		f(&o)
	}
	h, err := brokerhttp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return &node{t, w, b, srv.URL, srv, stop}
}

func options(w *brokertest.World, b *broker.Broker) brokerhttp.Options {
	m := webserve.NewMetrics("test")
	return brokerhttp.Options{
		Broker: b, Issuer: w.Issuer, Config: brokerapi.Config{Version: "test"}, Pages: pages{},
		Log: slog.New(slog.NewTextHandler(w.Log, nil)), Now: w.Clock.Now, Metrics: m, Exposition: m.Handler(),
	}
}

// one serves one replica over a new SQLite state.
func one(t *testing.T) *node {
	w := brokertest.NewWorld(t)
	return serve(t, w, brokertest.SQLite(t, w))
}

// document is what each exchange of these tests is held against.
var document = sync.OnceValues(func() (routers.Router, error) {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(brokerapi.OpenAPI())
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc)
})

// call is one request. Its zero fields are left out.
type call struct {
	method, path string
	key          *ecdsa.PrivateKey // signs the proof
	token        string
	body         any        // sent as JSON
	raw          string     // sent as it is, as JSON
	form         url.Values // sent as a form
	header       http.Header
	odd          bool   // the request is not one of the document
	proof        string // in place of one by key
}

// reply is its answer.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

func (n *node) send(c call) reply {
	n.t.Helper()
	r, err := n.try(n.t.Context(), c)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

// try sends a call, and checks it and its answer against the document.
func (n *node) try(ctx context.Context, c call) (reply, error) {
	req, body, err := n.request(ctx, c)
	if err != nil {
		return reply{}, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	if err := conforms(req, body, res, text, c.odd); err != nil {
		n.t.Errorf("%s %s: %v", c.method, c.path, err)
	}
	return reply{n.t, res.StatusCode, res.Header, text}, nil
}

func (n *node) request(ctx context.Context, c call) (*http.Request, []byte, error) {
	var body []byte
	kind := "application/json"
	switch {
	case c.form != nil:
		body, kind = []byte(c.form.Encode()), "application/x-www-form-urlencoded"
	case c.raw != "":
		body = []byte(c.raw)
	case c.body != nil:
		var err error
		if body, err = json.Marshal(c.body); err != nil {
			return nil, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, c.method, n.url+c.path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if c.proof == "" && c.key != nil {
		path, _, _ := strings.Cut(c.path, "?")
		if c.proof, err = token.NewProof(c.key, c.method, brokertest.Origin+path, c.token, n.w.Clock.Now()); err != nil {
			return nil, nil, err
		}
	}
	if c.proof != "" {
		req.Header.Set("DPoP", c.proof)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "DPoP "+c.token)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	return req, body, nil
}

// conforms holds an exchange against the document. Paths that are not in it,
// and pages, are answered with problems or are pages.
func conforms(req *http.Request, body []byte, res *http.Response, text []byte, odd bool) error {
	router, err := document()
	if err != nil {
		return err
	}
	copied := req.Clone(context.Background())
	copied.URL.Scheme, copied.URL.Host = "", ""
	copied.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := router.FindRoute(copied)
	if err != nil {
		if odd {
			return nil
		}
		return fmt.Errorf("no route in the document: %w", err)
	}
	opts := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	in := &openapi3filter.RequestValidationInput{Request: copied, PathParams: params, Route: route, Options: opts}
	if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil && !odd {
		return fmt.Errorf("the request is not as the document says: %w", err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: opts}
	out.SetBodyBytes(text)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		return fmt.Errorf("the answer %d %s is not as the document says: %w", res.StatusCode, text, err)
	}
	return nil
}

// want checks the status.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// problem checks the code of a problem.
func (r reply) problem(status int, code string) reply {
	r.t.Helper()
	r.want(status)
	var p brokerapi.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || p.Code != code {
		r.t.Fatalf("not a problem %s: %s", code, r.body)
	}
	return r
}

// into decodes a good answer.
func into[T any](r reply) (v T) {
	r.t.Helper()
	r.want(200)
	if err := json.Unmarshal(r.body, &v); err != nil {
		r.t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// device is one with a session, perhaps.
type device struct {
	n   *node
	key *ecdsa.PrivateKey
	s   brokerapi.Session
}

// as is a call with the device's session.
func (d *device) as(method, path string, body any) call {
	return call{method: method, path: path, key: d.key, token: d.s.Token, body: body}
}

func (d *device) do(method, path string, body any) reply {
	d.n.t.Helper()
	return d.n.send(d.as(method, path, body))
}

// at is the same device at another replica.
func (d *device) at(n *node) *device { return &device{n, d.key, d.s} }

// begin begins a login.
func (n *node) begin(key *ecdsa.PrivateKey, q brokerapi.LoginRequest) brokerapi.Login {
	n.t.Helper()
	return into[brokerapi.Login](n.send(call{method: "POST", path: brokerapi.PathLogins, key: key, body: q}))
}

// end ends one.
func (n *node) end(key *ecdsa.PrivateKey, login, code string) reply {
	n.t.Helper()
	return n.send(call{method: "POST", path: "/v1/logins/" + login + "/session", key: key, body: brokerapi.HandoffProof{Code: code, Device: "laptop"}})
}

// mailed proves a mail login with the link in the last mail.
func (n *node) mailed() (login string, h brokerapi.Handoff) {
	n.t.Helper()
	login, secret := n.w.Mail.Link(n.t)
	return login, into[brokerapi.Handoff](n.send(call{method: "POST", path: "/v1/logins/" + login + "/mail", body: brokerapi.MailProof{Token: secret}}))
}

// login logs a new device in by mail.
func (n *node) login(email string) *device {
	n.t.Helper()
	key := brokertest.NewKey(n.t)
	n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: email})
	id, h := n.mailed()
	return &device{n, key, into[brokerapi.Session](n.end(key, id, h.Code))}
}

// agent makes an agent and enrols a device of it.
func (d *device) agent(label string) *device {
	d.n.t.Helper()
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": label}).want(200)
	return d.enrol(label)
}

func (d *device) enrol(label string) *device {
	d.n.t.Helper()
	e := into[brokerapi.Enrolment](d.do("POST", "/v1/agents/"+label+"/enrolment", nil))
	key := brokertest.NewKey(d.n.t)
	return &device{d.n, key, into[brokerapi.Session](d.n.redeem(key, e.Code))}
}

func (n *node) redeem(key *ecdsa.PrivateKey, code string) reply {
	n.t.Helper()
	return n.send(call{method: "POST", path: brokerapi.PathEnrol, key: key, body: brokerapi.EnrolRequest{Code: code, Device: "sandbox"}})
}

func (d *device) grant(label, service string) reply {
	d.n.t.Helper()
	return d.do("PUT", "/v1/agents/"+label+"/grants/"+service, map[string]any{
		"rules": []string{"POST /chat"}, "expires": d.n.w.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	})
}

// mint asks for a token.
func (d *device) mint(audience string, more ...string) reply {
	d.n.t.Helper()
	return d.n.send(d.mintCall(audience, more...))
}

func (d *device) mintCall(audience string, more ...string) call {
	form := url.Values{
		"grant_type": {brokerapi.GrantTokenExchange}, "subject_token": {d.s.Token},
		"subject_token_type": {brokerapi.TypeAccessToken}, "audience": {audience},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return call{method: "POST", path: brokerapi.PathToken, key: d.key, token: d.s.Token, form: form}
}
