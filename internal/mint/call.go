package mint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/retryafter"
	"github.com/litentry/agentkeys/internal/secret"
)

const (
	// patience bounds one call with all its requests.
	patience = 20 * time.Second
	// maxAnswer and maxList bound an answer, in bytes: that to a change, and a
	// page of a list.
	maxAnswer = 64 << 10
	maxList   = 1 << 20
	// maxPages bounds a list.
	maxPages = 200
)

// answer is what a service said.
type answer struct {
	status int
	body   []byte // it may hold a key
}

func (a *answer) clear() { clear(a.body) }

// send makes one request below the base. path is escaped already.
func (m *Minter) send(ctx context.Context, management secret.Value, method, path string, in any) (*answer, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, none{err}
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.base.String()+path, body)
	if err != nil {
		return nil, none{fmt.Errorf("%w: no request can be made of it", ErrSetup)}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "agentkeys")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, c := range management.Expose() {
		if c <= ' ' || c >= 0x7f {
			return nil, none{fmt.Errorf("%w: it cannot stand in a header", ErrRefused)}
		}
	}
	req.Header.Set(m.shape.header, m.shape.prefix+string(management.Expose()))
	if method == http.MethodPost {
		// No second try of the transport's: it would make a second key.
		req.GetBody = nil
	}
	resp, err := m.rt.RoundTrip(req)
	if err != nil {
		// Not the error itself, which has the URL.
		why := m.base.Host + " does not answer"
		if errors.Is(err, context.DeadlineExceeded) {
			why = m.base.Host + " takes too long"
		}
		return nil, &Unavailable{Why: why}
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode}
	limit := maxAnswer
	if method == http.MethodGet {
		limit = maxList
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		a.clear()
		return nil, &Unavailable{Why: m.base.Host + " broke its answer off"}
	}
	if len(a.body) > limit {
		a.clear()
		return nil, fmt.Errorf("%w: more than %d bytes", ErrAnswer, limit)
	}
	if a.status == http.StatusTooManyRequests || a.status == http.StatusRequestTimeout || a.status >= 500 {
		a.clear()
		u := &Unavailable{Why: fmt.Sprintf("%s answered %d", m.base.Host, a.status), RetryAfter: retryafter.Parse(resp.Header.Get("Retry-After"), MaxRetryAfter)}
		if a.status == http.StatusTooManyRequests {
			return nil, none{u}
		}
		return nil, u
	}
	return a, nil
}

// MaxRetryAfter bounds what a service can have us wait.
const MaxRetryAfter = time.Hour

// refused turns an answer that is no success into an error.
func (m *Minter) refused(a *answer) error {
	switch {
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return none{fmt.Errorf("%w: %s answered %d", ErrRefused, m.base.Host, a.status)}
	case a.status >= 400 && a.status != http.StatusConflict:
		return none{fmt.Errorf("%w: %s answered %d", ErrAnswer, m.base.Host, a.status)}
	}
	return fmt.Errorf("%w: %s answered %d", ErrAnswer, m.base.Host, a.status)
}

// call is send for requests whose answer is JSON in out.
func (m *Minter) call(ctx context.Context, management secret.Value, method, path string, in, out any) error {
	a, err := m.send(ctx, management, method, path, in)
	if err != nil {
		return err
	}
	defer a.clear()
	if a.status < 200 || a.status > 299 {
		return m.refused(a)
	}
	if out == nil {
		return nil
	}
	if json.Unmarshal(a.body, out) != nil { // its error may quote the body
		return fmt.Errorf("%w: not JSON as documented", ErrAnswer)
	}
	return nil
}

// drop sends a DELETE; gone says that the service knows no such key.
func (m *Minter) drop(ctx context.Context, management secret.Value, path string) (gone bool, err error) {
	a, err := m.send(ctx, management, http.MethodDelete, path, nil)
	if err != nil {
		return false, err
	}
	defer a.clear()
	switch {
	case a.status >= 200 && a.status <= 299:
		return false, nil
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return true, nil
	}
	return false, m.refused(a)
}

// made checks what a service says of a new key.
func made(id, key string) (Key, error) {
	if !segment(id) {
		return Key{}, fmt.Errorf("%w: a new key without an id", ErrAnswer)
	}
	// As long as what can be injected, and nothing that cannot.
	if len(key) < 8 || len(key) > 4<<10 || strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0 {
		return Key{}, fmt.Errorf("%w: a new key that is none", ErrAnswer)
	}
	return Key{ID: id, Secret: secret.FromString(key)}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return &Unavailable{Why: "it takes too long"}
	}
}
