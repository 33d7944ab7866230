package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/secret"
)

// ErrKeyRejected says that the service itself refused the key.
var ErrKeyRejected = errors.New("the service refuses this key")

// ErrUnasked says that a key that nobody has vouched for yet could not be shown
// to its service, which has a request for that.
var ErrUnasked = errors.New("the service could not be asked about the key")

// ErrKeyForm says that the secret cannot be a key at all.
var ErrKeyForm = errors.New("this is not a key")

// verify asks the service whether it knows the key, with the harmless request
// that its catalogue entry names. Only the service's own clear no is an error,
// ErrKeyRejected; where it says neither yes nor no, or cannot be asked, the
// verdict is Unclear, with the reason.
func (h *Host) verify(ctx context.Context, e *catalog.Entry, v secret.Value) (catalog.Verdict, string, error) {
	if e.Owner.Federation != nil {
		// A key goes where keys go, and not where its tokens do.
		keyed, err := h.cat.with(e.ID, func(s *catalog.Settings) { s.Federation = nil })
		if err != nil {
			return catalog.Unclear, "", err
		}
		return verifyAs(ctx, keyed, v)
	}
	route, err := h.routes.Route(e.ID)
	if err != nil {
		return catalog.Unclear, "", err
	}
	return verifyOn(ctx, e, route, v)
}

// verifyAs is verify for an entry that need not be the one in force.
func verifyAs(ctx context.Context, e *catalog.Entry, v secret.Value) (verdict catalog.Verdict, note string, err error) {
	err = onRoute(e, func(r *inject.Route) error {
		verdict, note, err = verifyOn(ctx, e, r, v)
		return err
	})
	return verdict, note, err
}

func verifyOn(ctx context.Context, e *catalog.Entry, route *inject.Route, v secret.Value) (catalog.Verdict, string, error) {
	method, u, body, ok := e.VerifyRequest()
	if !ok {
		return catalog.Unclear, e.Name + " has no known request that checks a key for free", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		return catalog.Unclear, "", err
	}
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Body, req.GetBody = nil, nil
	}
	for k, vs := range route.Constant {
		req.Header[k] = vs
	}
	for k, vs := range route.Merged {
		req.Header[k] = vs
	}
	q := req.URL.Query()
	for _, p := range route.Place {
		if p.Header != "" {
			req.Header.Set(p.Header, p.Prefix+string(v.Expose()))
		} else {
			q.Set(p.Query, string(v.Expose()))
		}
	}
	req.URL.RawQuery = q.Encode()
	resp, err := route.Transport.RoundTrip(req)
	if err != nil {
		// Not the error itself: that of a request with a key in its query
		// would show the key.
		if errors.Is(err, netguard.ErrForbiddenAddress) {
			return catalog.Unclear, fmt.Sprintf("%s has an address that is not public and not allowed", u.Host), nil
		}
		return catalog.Unclear, u.Host + " could not be reached", nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	defer clear(answer) // it may echo the key
	verdict, note := e.Verify.Judge(resp.StatusCode, answer)
	switch verdict {
	case catalog.Bad, catalog.Refused:
		if note == "" {
			note = fmt.Sprintf("it answered %d", resp.StatusCode)
		}
		return verdict, "", fmt.Errorf("%w: %s: %s", ErrKeyRejected, e.Name, note)
	case catalog.Unclear:
		if note == "" {
			note = fmt.Sprintf("%s answered %d, which says neither yes nor no", e.Name, resp.StatusCode)
		}
	}
	return verdict, note, nil
}
