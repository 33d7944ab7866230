package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/litentry/agentkeys/internal/secret"
)

// padUnit hides the length of a credential within 256 bytes.
const padUnit = 256

// maxTime is the last second of the year 9999.
const maxTime = 253402300799

// Record is the plaintext of an envelope: one JSON object in the canonical
// form of RFC 8785 (members in this order, no white space, only the escapes
// that JSON demands), then zero bytes to the next multiple of 256, none if it
// is one already. All seven members are always there:
//
//	expires_at   integer  Unix seconds, 0 = never or unknown, else 1–253402300799
//	key_id       string   the service's own id for the key, "" = unknown
//	kind         string   what the secret is, such as "api-key"
//	route        string   the door it came by, such as "import" or "mint"
//	secret       string   standard base64 with padding (RFC 4648 section 4), not empty
//	v            integer  1, the version of this object
//	verified_at  integer  Unix seconds, 0 = never, else 1–253402300799
//
// The secret is base64 because it may be any bytes: a JSON string can carry
// only Unicode, and would need escapes, so a second spelling. A reader accepts
// nothing but this one encoding: it re-encodes what it read and compares, so
// that duplicate, unknown or differently cased members, other spellings and
// any other padding are ErrRecord, and two readers never see two records.
type Record struct {
	Secret     secret.Value // any bytes, at least one
	Kind       string       // valid UTF-8, as are KeyID and Route
	KeyID      string
	Route      string
	VerifiedAt time.Time // zero = never; kept to the second, rounded down, in UTC
	ExpiresAt  time.Time // zero = never or unknown; likewise
}

// text is the JSON of a record around its secret: head and tail hold nothing
// secret, and the secret itself is written once, by put.
type text struct{ head, secret, tail []byte }

func (r Record) text() (text, error) {
	if r.Secret.IsZero() {
		return text{}, fmt.Errorf("%w: the secret is empty", ErrRecord)
	}
	// Also keeps the arithmetic of size far from overflow.
	if r.Secret.Len() > MaxPlaintext || len(r.Kind)+len(r.KeyID)+len(r.Route) > MaxPlaintext {
		return text{}, ErrTooLarge
	}
	if !utf8.ValidString(r.Kind) || !utf8.ValidString(r.KeyID) || !utf8.ValidString(r.Route) {
		return text{}, fmt.Errorf("%w: kind, key id and route are UTF-8", ErrRecord)
	}
	expires, err := fromTime(r.ExpiresAt)
	if err != nil {
		return text{}, err
	}
	verified, err := fromTime(r.VerifiedAt)
	if err != nil {
		return text{}, err
	}
	h := append([]byte(nil), `{"expires_at":`...)
	h = strconv.AppendInt(h, expires, 10)
	h = appendString(append(h, `,"key_id":`...), r.KeyID)
	h = appendString(append(h, `,"kind":`...), r.Kind)
	h = appendString(append(h, `,"route":`...), r.Route)
	h = append(h, `,"secret":"`...)
	t := strconv.AppendInt([]byte(`","v":1,"verified_at":`), verified, 10)
	return text{head: h, secret: r.Secret.Expose(), tail: append(t, '}')}, nil
}

// size returns the padded length.
func (t text) size() int {
	n := len(t.head) + base64.StdEncoding.EncodedLen(len(t.secret)) + len(t.tail)
	return (n + padUnit - 1) / padUnit * padUnit
}

// put writes the padded record over dst, which is size zero bytes.
func (t text) put(dst []byte) {
	n := copy(dst, t.head)
	base64.StdEncoding.Encode(dst[n:], t.secret)
	n += base64.StdEncoding.EncodedLen(len(t.secret))
	copy(dst[n:], t.tail)
}

// parseRecord parses a padded record. The secret is cut out first, so that
// encoding/json never holds a copy of it; a quote inside a string has a
// backslash before it, so what is cut can only be the member. No error of a
// decoder is passed on: some quote their input.
func parseRecord(plaintext []byte) (Record, error) {
	head, rest, _ := bytes.Cut(bytes.TrimRight(plaintext, "\x00"), []byte(`,"secret":"`))
	b64, tail, _ := bytes.Cut(rest, []byte(`"`))
	others := slices.Concat(head, tail)
	defer clear(others) // of a malformed record, this may be the secret
	var w struct {
		ExpiresAt  int64  `json:"expires_at"`
		KeyID      string `json:"key_id"`
		Kind       string `json:"kind"`
		Route      string `json:"route"`
		VerifiedAt int64  `json:"verified_at"`
	}
	if json.Unmarshal(others, &w) != nil {
		return Record{}, ErrRecord
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(b64)))
	n, err := base64.StdEncoding.Decode(b, b64)
	r := Record{
		Secret:     secret.New(b[:n]),
		Kind:       w.Kind,
		KeyID:      w.KeyID,
		Route:      w.Route,
		VerifiedAt: toTime(w.VerifiedAt),
		ExpiresAt:  toTime(w.ExpiresAt),
	}
	if err != nil || !r.encodesTo(plaintext) {
		r.Secret.Clear()
		return Record{}, ErrRecord
	}
	return r, nil
}

// encodesTo is what makes the decoding strict: see Record.
func (r Record) encodesTo(plaintext []byte) bool {
	t, err := r.text()
	if err != nil || t.size() != len(plaintext) {
		return false
	}
	b := make([]byte, t.size())
	defer clear(b)
	t.put(b)
	return bytes.Equal(b, plaintext)
}

func fromTime(t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	s := t.Unix()
	if s < 1 || s > maxTime {
		return 0, fmt.Errorf("%w: a time is in 1970 to 9999", ErrRecord)
	}
	return s, nil
}

func toTime(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// appendString appends s as RFC 8785 section 3.2.2.2 writes it. encoding/json
// also escapes U+2028 and U+2029, so it cannot be used here.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\t':
			b = append(b, '\\', 't')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
