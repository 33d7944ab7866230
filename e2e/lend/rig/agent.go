package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
)

// Agent is a process that speaks as an agent over loopback or a socket.
type Agent struct {
	Label agentkeys.Agent
	Env   map[string]string
	Token string
	http  *http.Client
	base  func(service string) string
	key   string
}

// NewAgent creates an agent and opens a session for it.
func (h *Home) NewAgent(label string) *Agent {
	h.t.Helper()
	h.OK("agent", "create", label)
	return h.Session(label)
}

// Session opens another session for an agent. Its key is what stands where a
// client wants one.
func (h *Home) Session(label string) *Agent {
	h.t.Helper()
	name, err := agentkeys.ParseAgent(label)
	if err != nil {
		h.t.Fatal(err)
	}
	sess, err := h.Client().StartSession(h.t.Context(), control.SessionRequest{Agent: name, TTL: 3600})
	if err != nil {
		h.t.Fatal(err)
	}
	a := &Agent{Label: name, Env: map[string]string{}, Token: sess.Token, http: client(nil)}
	for _, v := range sess.Env.Set {
		a.Env[v.Name] = v.Value
	}
	addr := h.Status().Address
	a.base = func(service string) string { return "http://" + addr + "/" + service }
	a.key = "placeholder-agentkeys." + sess.Token
	return a
}

// Socket is the same agent on its own socket, where it needs no token.
func (a *Agent) Socket() *Agent { return OnSocket(a.Env["AGENTKEYS_SOCKET"]) }

// OnSocket is whoever may connect to an agent's socket.
func OnSocket(path string) *Agent {
	return &Agent{
		base: func(service string) string { return "http://agentkeys/" + service },
		http: client(func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}),
	}
}

// With is the same agent with another token.
func (a *Agent) With(token string) *Agent {
	b := *a
	b.Token, b.key = token, "placeholder-agentkeys."+token
	return &b
}

func client(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Answer is what an agent got.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Code   string // of a problem that agentkeys itself answered with
}

func (a Answer) String() string {
	return fmt.Sprintf("%d %s %.300s", a.Status, a.Code, a.Body)
}

// Open sends a request and returns when the headers of its answer are there.
func (a *Agent) Open(ctx context.Context, method, service, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base(service)+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.key != "" {
		req.Header.Set("Authorization", "Bearer "+a.key)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	return a.http.Do(req)
}

// Do sends a request and reads the whole answer.
func (a *Agent) Do(method, service, path, body string) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := a.Open(ctx, method, service, path, body)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	ans := Answer{Status: resp.StatusCode, Header: resp.Header}
	ans.Body, err = io.ReadAll(resp.Body)
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		var p struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(ans.Body, &p)
		ans.Code = p.Code
	}
	return ans, err
}

// Chat asks a question of a service that speaks OpenAI's protocol.
func (a *Agent) Chat(service, question string) (Answer, error) {
	return a.Do("POST", service, "/chat/completions", ChatBody("some-model", question, false))
}

// ChatBody is a question in OpenAI's protocol.
func ChatBody(model, question string, stream bool) string {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(map[string]any{
		"model": model, "stream": stream, "messages": []map[string]string{{"role": "user", "content": question}},
	})
	return b.String()
}
