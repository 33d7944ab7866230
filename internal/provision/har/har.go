// Package har owns recordings of what a browser sent and got, in the form of
// HAR 1.2: making them without what is secret, reading them, and answering from
// them. It must not depend on a browser, a network or a store.
//
// Laws:
//   - What is written is scrubbed, and is looked through once more: if a hidden
//     value is left in any spelling that is known here, nothing is written.
//   - A secret is replaced by a fake of its shape, the same one everywhere, so
//     that a recipe can be played against the recording.
//   - What is read is bounded, and refused if it is not HAR 1.2.
package har

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// ErrHAR is every refusal of Parse, with what is wrong.
var ErrHAR = errors.New("not HAR 1.2")

// Archive is a recording.
type Archive struct {
	Log Log `json:"log"`

	used map[string]int // how often Match has answered, by method and URL
}

// Log is the recording itself. Field names are those of HAR 1.2, as are those
// of the types below; the fields that it calls optional may be missing.
type Log struct {
	Version string   `json:"version"`
	Creator Creator  `json:"creator"`
	Browser *Creator `json:"browser,omitempty"`
	Pages   []Page   `json:"pages"`
	Entries []Entry  `json:"entries"`
	Comment string   `json:"comment,omitempty"`
}

// Creator names a program.
type Creator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Comment string `json:"comment,omitempty"`
}

// Page is what was shown while entries were made.
type Page struct {
	Started time.Time   `json:"startedDateTime"`
	ID      string      `json:"id"`
	Title   string      `json:"title"`
	Timings PageTimings `json:"pageTimings"`
	Comment string      `json:"comment,omitempty"`
}

// PageTimings are in milliseconds from the page's start; nil: not known.
type PageTimings struct {
	ContentLoad *float64 `json:"onContentLoad,omitempty"`
	Load        *float64 `json:"onLoad,omitempty"`
	Comment     string   `json:"comment,omitempty"`
}

// Entry is one request and its answer.
type Entry struct {
	PageRef    string    `json:"pageref,omitempty"`
	Started    time.Time `json:"startedDateTime"`
	Time       float64   `json:"time"` // milliseconds
	Request    Sent      `json:"request"`
	Response   Got       `json:"response"`
	Cache      struct{}  `json:"cache"`
	Timings    Timings   `json:"timings"`
	ServerIP   string    `json:"serverIPAddress,omitempty"`
	Connection string    `json:"connection,omitempty"`
	Comment    string    `json:"comment,omitempty"`
}

// Sent is the request of an entry.
type Sent struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	HTTPVersion string    `json:"httpVersion"`
	Cookies     []Cookie  `json:"cookies"`
	Headers     []Pair    `json:"headers"`
	Query       []Pair    `json:"queryString"`
	Post        *PostData `json:"postData,omitempty"`
	HeadersSize int64     `json:"headersSize"` // -1: not known
	BodySize    int64     `json:"bodySize"`
	Comment     string    `json:"comment,omitempty"`
}

// Got is the answer of an entry. Status 0: there was none.
type Got struct {
	Status      int      `json:"status"`
	StatusText  string   `json:"statusText"`
	HTTPVersion string   `json:"httpVersion"`
	Cookies     []Cookie `json:"cookies"`
	Headers     []Pair   `json:"headers"`
	Content     Content  `json:"content"`
	RedirectURL string   `json:"redirectURL"`
	HeadersSize int64    `json:"headersSize"`
	BodySize    int64    `json:"bodySize"`
	Comment     string   `json:"comment,omitempty"`
}

// Pair is a header, or a parameter of a query.
type Pair struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Comment string `json:"comment,omitempty"`
}

// Cookie is a cookie that was sent or set.
type Cookie struct {
	Name     string     `json:"name"`
	Value    string     `json:"value"`
	Path     string     `json:"path,omitempty"`
	Domain   string     `json:"domain,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
	HTTPOnly bool       `json:"httpOnly,omitempty"`
	Secure   bool       `json:"secure,omitempty"`
	Comment  string     `json:"comment,omitempty"`
}

// PostData is what a request carried: the fields of a form, or else a text.
type PostData struct {
	MimeType string  `json:"mimeType"`
	Params   []Param `json:"params"`
	Text     string  `json:"text"`
	Comment  string  `json:"comment,omitempty"`
}

// Param is a field of a form.
type Param struct {
	Name        string `json:"name"`
	Value       string `json:"value,omitempty"`
	FileName    string `json:"fileName,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Comment     string `json:"comment,omitempty"`
}

// Content is a body, decoded.
type Content struct {
	Size        int64  `json:"size"`
	Compression *int64 `json:"compression,omitempty"`
	MimeType    string `json:"mimeType"`
	Text        string `json:"text,omitempty"`
	Encoding    string `json:"encoding,omitempty"` // base64, or "" for UTF-8
	Comment     string `json:"comment,omitempty"`
}

// Timings are in milliseconds; -1 is for what does not apply.
type Timings struct {
	Blocked *float64 `json:"blocked,omitempty"`
	DNS     *float64 `json:"dns,omitempty"`
	Connect *float64 `json:"connect,omitempty"`
	SSL     *float64 `json:"ssl,omitempty"`
	Send    float64  `json:"send"`
	Wait    float64  `json:"wait"`
	Receive float64  `json:"receive"`
	Comment string   `json:"comment,omitempty"`
}

// Body returns the body as it is to be given again, without any encoding.
func (e Entry) Body() []byte {
	if e.Response.Content.Encoding == "base64" {
		b, _ := base64.StdEncoding.DecodeString(e.Response.Content.Text) // Parse has seen that it is one
		return b
	}
	return []byte(e.Response.Content.Text)
}

// Headers returns the answer's headers that go with Body: those that speak of
// how it was carried are left out.
func (e Entry) Headers() (list []Pair) {
	for _, h := range e.Response.Headers {
		switch strings.ToLower(h.Name) {
		case "content-encoding", "content-length", "transfer-encoding", "connection", "alt-svc", "strict-transport-security":
		default:
			if !strings.HasPrefix(h.Name, ":") {
				list = append(list, h)
			}
		}
	}
	return list
}

// WriteTo writes the archive as JSON. It scrubs nothing.
func (a *Archive) WriteTo(w io.Writer) (int64, error) {
	b, err := a.encode()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (a *Archive) encode() ([]byte, error) {
	b, err := json.MarshalIndent(a, "", " ")
	return append(b, '\n'), err
}
