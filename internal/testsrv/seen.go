package testsrv

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Seen is one request as it arrived. Wherever an accepted key stood in the
// path, the query or a header, Seen has the key's label in braces, so that a
// test can print it; any other value, a placeholder that leaked through
// included, stands as it came.
type Seen struct {
	At         time.Time
	Proto      string // HTTP/1.1 or HTTP/2.0
	ServerName string // SNI, empty for an address
	Host       string
	Method     string
	Path       string // as it came, still escaped
	Query      string
	Header     http.Header
	BodySize   int64
	BodyDigest string // hexadecimal SHA-256
	Key        string // label of the accepted key where the vendor wants one, or empty
}

// recorder keeps the last requests. The keys are plain text because a key has
// to be found wherever it stands, not only where a digest could be compared.
type recorder struct {
	keys  map[string]string
	ring  func(string) string // Options.Keyring
	limit int

	mu   sync.Mutex
	list []Seen
}

func (rec *recorder) add(r *http.Request, body []byte, label string) {
	digest := sha256.Sum256(body)
	path, query, _ := strings.Cut(r.RequestURI, "?")
	s := Seen{
		At:         time.Now(),
		Proto:      r.Proto,
		Host:       r.Host,
		Method:     r.Method,
		Path:       rec.relabel(path),
		Query:      rec.relabel(query),
		Header:     http.Header{},
		BodySize:   int64(len(body)),
		BodyDigest: hex.EncodeToString(digest[:]),
		Key:        label,
	}
	if r.TLS != nil {
		s.ServerName = r.TLS.ServerName
	}
	for name, values := range r.Header {
		for _, v := range values {
			s.Header[name] = append(s.Header[name], rec.relabel(v))
		}
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.list) >= rec.limit {
		// Forget a tenth at a time: moving the whole list for every request
		// would make a long run quadratic.
		n := copy(rec.list, rec.list[rec.limit/10+1:])
		clear(rec.list[n:])
		rec.list = rec.list[:n]
	}
	rec.list = append(rec.list, s)
}

func (rec *recorder) all() []Seen {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]Seen(nil), rec.list...)
}

func (rec *recorder) relabel(text string) string {
	for label, key := range rec.keys {
		text = strings.ReplaceAll(text, key, "{"+label+"}")
	}
	return text
}

// label names an accepted key, or is empty.
func (rec *recorder) label(credential string) string {
	for label, key := range rec.keys {
		if key == credential {
			return label
		}
	}
	if rec.ring != nil && credential != "" {
		return rec.ring(credential)
	}
	return ""
}
