package signerclient

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/strictjson"
)

const (
	tries     = 3
	firstWait = 100 * time.Millisecond
	// longestWait bounds what a server may ask for before a retry.
	longestWait = 2 * time.Second
)

// do makes a call, again after a while if there was no answer: to derive
// changes nothing. The caller clears what it returns, if that is a key.
func (c *caller) do(ctx context.Context, method, path, token string, body any) ([]byte, error) {
	wait := firstWait
	for n := 1; ; n++ {
		answer, err := c.once(ctx, method, path, token, body)
		var again *retry
		if err == nil || n == tries || !errors.As(err, &again) {
			return answer, err
		}
		t := time.NewTimer(min(max(wait, again.after), longestWait))
		wait *= 3
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-t.C:
		}
	}
}

// retry says that the same call may work after a while. It is ErrUnreachable.
type retry struct {
	err   error
	after time.Duration
}

func (r *retry) Error() string   { return fmt.Sprintf("%v: %v", ErrUnreachable, r.err) }
func (r *retry) Unwrap() []error { return []error{ErrUnreachable, r.err} }

func (c *caller) once(ctx context.Context, method, path, token string, body any) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	try, stop := context.WithTimeout(ctx, c.timeout)
	defer stop()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(try, method, c.base+path, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, &retry{err: err}
	}
	defer res.Body.Close()
	answer, err := readAnswer(res.Body)
	if cause := ctx.Err(); cause != nil {
		clear(answer) // or what a server says to one who has hung up
		return nil, cause
	}
	if err != nil {
		if errors.Is(err, ErrUnreachable) {
			return nil, &retry{err: err}
		}
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer clear(answer)
	return nil, failure(res, answer)
}

// failure gives a status other than 200 its meaning.
func failure(res *http.Response, body []byte) error {
	var p brokerapi.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" || p.Status != res.StatusCode {
		// Not our signer: a proxy on the way, or something else altogether.
		if res.StatusCode >= 500 {
			return &retry{err: fmt.Errorf("status %d", res.StatusCode)}
		}
		return fmt.Errorf("%w: status %d", ErrAnswer, res.StatusCode)
	}
	switch {
	case p.Code == signerapi.CodeEpoch:
		return fmt.Errorf("%w: %w", signer.ErrUnknownEpoch, &p)
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 500:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return &retry{err: &p, after: time.Duration(max(0, min(seconds, 60))) * time.Second}
	}
	return fmt.Errorf("%w: %w", ErrRefused, &p)
}

// decode reads an answer. Its errors quote nothing of it.
func decode(body []byte, v any) error {
	if strictjson.Unmarshal(body, v) != nil {
		return ErrAnswer
	}
	return nil
}

// readKEK reads a signerapi.KEKAnswer, of which it makes no copies: a JSON
// decoder would leave some.
func readKEK(body []byte) (kek []byte, epoch uint32, err error) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"kek":"`))
	text, rest, ok2 := bytes.Cut(rest, []byte(`","epoch":`))
	digits, ok3 := bytes.CutSuffix(rest, []byte("}"))
	n, err := strconv.ParseUint(string(digits), 10, 32)
	if !ok || !ok2 || !ok3 || err != nil || n == 0 || len(text) != 44 {
		return nil, 0, ErrAnswer
	}
	b := make([]byte, 33) // what DecodedLen says of 44, and it may write
	if m, err := base64.StdEncoding.Strict().Decode(b, text); err != nil || m != 32 {
		clear(b)
		return nil, 0, ErrAnswer
	}
	return b[:32:32], uint32(n), nil
}
