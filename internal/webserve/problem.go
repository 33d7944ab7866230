// Package webserve owns what every HTTP service of ours does the same way:
// strict bodies, RFC 9457 problems, request ids, the address of a peer, limits
// by peer, structured logs, metrics, health, and serving until it is told to
// stop. It knows nothing of what is served.
//
// Laws: no query, fragment, header or body of a request comes into a log, a
// metric or a problem; what a client says of its own address counts only where
// the operator trusts the proxy that passed it on.
package webserve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/strictjson"
)

// MaxBody bounds the body of a request, in bytes.
const MaxBody = 64 << 10

// ProblemType is what the type of a problem begins with.
const ProblemType = "urn:agentkeys:problem:"

// WriteProblem answers with p. Its type and request id are filled in.
func WriteProblem(w http.ResponseWriter, r *http.Request, p *brokerapi.Problem) {
	out := *p
	if out.Status == 0 {
		out.Status = http.StatusInternalServerError
	}
	out.Type, out.Request = ProblemType+out.Code, RequestID(r.Context())
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if out.OAuth != "" {
		h.Set("Content-Type", "application/json") // all that OAuth clients read
	}
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(out.Status)
	_ = json.NewEncoder(w).Encode(out)
}

// WriteLimited answers that a peer asks too often, and when it may again.
func WriteLimited(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := max(1, int64((wait+time.Second-1)/time.Second))
	w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	WriteProblem(w, r, &brokerapi.Problem{
		Code: brokerapi.CodeRate, Status: http.StatusTooManyRequests, Title: "Too many requests",
		Fix: fmt.Sprintf("wait %d s", seconds),
	})
}

// WriteJSON answers with v, which nobody on the way may keep.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// DecodeJSON reads the body of a request into v, strictly: see strictjson.
// What is wrong is a *brokerapi.Problem.
func DecodeJSON(r *http.Request, v any, free ...string) error {
	data, err := Body(r)
	if err != nil {
		return err
	}
	if err := strictjson.Unmarshal(data, v, free...); err != nil {
		return malformed(err.Error())
	}
	return nil
}

// Body reads the body of a request that says it is JSON. What is wrong is a
// *brokerapi.Problem.
func Body(r *http.Request) ([]byte, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil, &brokerapi.Problem{
			Code: brokerapi.CodeRequest, Status: http.StatusUnsupportedMediaType, Title: "The body is not JSON",
			Fix: "send Content-Type: application/json",
		}
	}
	return readAll(r)
}

func readAll(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &brokerapi.Problem{
			Code: brokerapi.CodeRequest, Status: http.StatusRequestEntityTooLarge, Title: "The body is too large",
			Detail: fmt.Sprintf("it has more than %d bytes", MaxBody),
		}
	case err != nil:
		return nil, malformed("the body could not be read")
	}
	return data, nil
}

func malformed(detail string) error {
	return &brokerapi.Problem{
		Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed", Detail: detail,
	}
}
