package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// Verdict is what a service says of a key.
type Verdict string

// The verdicts there are.
const (
	Good    Verdict = "good"
	Unknown Verdict = "unknown"
)

// ErrKeyRejected says that the service itself refused the key.
var ErrKeyRejected = errors.New("the service refuses this key")

// ErrKeyForm says that the secret cannot be a key at all.
var ErrKeyForm = errors.New("this is not a key")

// verify asks the service whether it knows the key, with the harmless request
// that its catalogue entry names. Only the service's own clear yes is Good and
// only its clear no is ErrKeyRejected; whatever else happens is Unknown, with
// the reason.
func (h *Host) verify(ctx context.Context, svc agentkeys.Service, e *catalog.Entry, v secret.Value) (Verdict, string, error) {
	if e.Verify == nil {
		return Unknown, e.Name + " has no known request that checks a key for free", nil
	}
	route, err := h.routes.Route(svc)
	if err != nil {
		return Unknown, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, e.Verify.Method, route.Base.JoinPath(e.Verify.Path).String(), nil)
	if err != nil {
		return Unknown, "", err
	}
	req.Header.Set("Accept", "application/json")
	for _, p := range route.Place {
		if p.Header != "" {
			req.Header.Set(p.Header, p.Prefix+string(v.Expose()))
		} else {
			q := req.URL.Query()
			q.Set(p.Query, string(v.Expose()))
			req.URL.RawQuery = q.Encode()
		}
	}
	for k, vs := range route.Constant {
		req.Header[k] = vs
	}
	resp, err := route.Transport.RoundTrip(req)
	if err != nil {
		// The error of a request with a key in its query would show the key.
		return Unknown, fmt.Sprintf("%s could not be reached", route.Base.Host), nil
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch {
	case slices.Contains(e.Verify.OK, resp.StatusCode):
		return Good, "", nil
	case slices.Contains(e.Verify.Bad, resp.StatusCode):
		return Unknown, "", fmt.Errorf("%w: %s answered %d", ErrKeyRejected, e.Name, resp.StatusCode)
	}
	return Unknown, fmt.Sprintf("%s answered %d, which says neither yes nor no", e.Name, resp.StatusCode), nil
}
