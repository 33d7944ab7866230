package federate

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/retryafter"
	"github.com/litentry/agentkeys/internal/secret"
)

// bearer is a token in an answer. It is taken over as bytes, since a string
// could not be cleared.
type bearer struct{ b []byte }

var errBearer = errors.New("not a bearer token")

// UnmarshalJSON takes a string of the characters of RFC 6750 §2.1 only: what
// becomes a header must not end one.
func (t *bearer) UnmarshalJSON(data []byte) error {
	if len(data) < 3 || data[0] != '"' {
		return errBearer
	}
	b := bytes.ReplaceAll(data[1:len(data)-1], []byte(`\/`), []byte("/"))
	body := bytes.TrimRight(b, "=")
	if len(body) == 0 || len(b) > MaxAssertion || bytes.ContainsFunc(body, func(r rune) bool { return !isBase64URL(r) && !strings.ContainsRune(".~+/", r) }) {
		clear(b)
		return errBearer
	}
	clear(t.b) // of a key that is there twice
	t.b = b
	return nil
}

// token reads an answer of status 200. detail says why it is none.
func (s *shape) token(answer []byte) (_ secret.Value, life time.Duration, detail string) {
	if len(answer) > maxAnswer {
		return secret.Value{}, 0, "it is too long"
	}
	var a struct {
		Token   bearer       `json:"access_token"`
		Type    string       `json:"token_type"`
		Expires *json.Number `json:"expires_in"`
	}
	// The error is not shown: it may quote the answer.
	if json.Unmarshal(answer, &a) != nil {
		clear(a.Token.b)
		return secret.Value{}, 0, "it cannot be read"
	}
	life = s.unsaid
	if a.Expires != nil {
		n, err := a.Expires.Int64()
		if err != nil {
			n = 0
		}
		life = time.Duration(min(n, int64(maxLife/time.Second))) * time.Second
	}
	switch {
	case len(a.Token.b) == 0:
		detail = "it has no access_token"
	case a.Type != "" && !strings.EqualFold(a.Type, "bearer"):
		detail = "its token_type is not bearer"
	case life <= 0:
		detail = "it does not say when the token ends"
	}
	if detail != "" {
		clear(a.Token.b)
		return secret.Value{}, 0, detail
	}
	return secret.New(a.Token.b), life, ""
}

// refusal is the error of an answer that is not 200.
func refusal(host string, res *http.Response, answer, assertion []byte) error {
	status := res.StatusCode
	e := &Error{Host: host, Status: status, Err: ErrRefused}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		e.Err, e.RetryAfter = ErrTemporary, retryafter.Parse(res.Header.Get("Retry-After"), MaxRetryAfter)
	case status >= 300 && status < 400:
		e.Err, e.Detail = ErrAnswer, "it sends the token elsewhere, which is not followed"
	case status < 400:
		e.Err = ErrAnswer
	}
	if e.Err != ErrAnswer {
		e.Code = codeWord(answer, assertion)
	}
	return e
}

// codeWord returns what an answer calls its error: error of OAuth (RFC 6749
// §5.2), or error.type or error.code of APIs. Only a word of small letters that
// is no piece of our token may be shown.
func codeWord(answer, assertion []byte) string {
	if len(answer) > maxAnswer {
		return ""
	}
	var a struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return ""
	}
	var word string
	if json.Unmarshal(a.Error, &word) != nil {
		var in struct{ Type, Code json.RawMessage }
		if json.Unmarshal(a.Error, &in) != nil {
			return ""
		}
		if json.Unmarshal(in.Code, &word) != nil || word == "" {
			word = ""
			_ = json.Unmarshal(in.Type, &word)
		}
	}
	if word == "" || len(word) > 48 || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_") != "" || bytes.Contains(assertion, []byte(word)) {
		return ""
	}
	return word
}
