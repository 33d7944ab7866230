package har

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/litentry/agentkeys/internal/secret"
)

// ErrLeak is returned by WriteTo in place of an archive that still holds what
// was to be hidden.
var ErrLeak = errors.New("the recording still holds a secret")

// Bounds of what is recorded. What is beyond is left out, and said to be.
const (
	maxBody    = 2 << 20
	maxTotal   = 48 << 20
	maxEntries = 10_000
)

// Options are what a Recorder is made with. Creator is needed.
type Options struct {
	Creator Creator
	Browser *Creator
	// Key reports whether something fits a pattern of the service's keys. One
	// that says so of any word makes pages unreadable.
	Key func([]byte) bool
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Request is what a browser sends.
type Request struct {
	Method, URL string
	HTTPVersion string // "" if not known
	Headers     []Pair
	Body        []byte
}

// Response is the head of an answer.
type Response struct {
	Status      int
	StatusText  string
	HTTPVersion string
	Headers     []Pair
	MimeType    string // "": that of the headers
	ServerIP    string
}

// Recorder collects what a browser sends and gets. It is safe for use by
// several goroutines. What it holds is not scrubbed until it is written.
type Recorder struct {
	o Options

	mu      sync.Mutex
	pages   []Page
	entries []*Entry
	open    map[string]*Entry // by the browser's id
	total   int64
	hidden  []secret.Value
}

// NewRecorder makes a Recorder.
func NewRecorder(o Options) *Recorder {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Key == nil {
		o.Key = func([]byte) bool { return false }
	}
	return &Recorder{o: o, open: map[string]*Entry{}}
}

// Hide has a value scrubbed from all that was recorded and will be. Of a link
// its query, fragment and long words of its path are hidden too. Values of less
// than minHidden bytes are hidden by the names of their fields only.
func (r *Recorder) Hide(v secret.Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hidden = append(r.hidden, parts(v)...)
}

// Page begins a new page: entries belong to it from now on.
func (r *Recorder) Page(title string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pages) < maxEntries {
		r.pages = append(r.pages, Page{Started: r.o.Now(), ID: pageID(len(r.pages)), Title: title})
	}
}

// Begin records a request. id is the browser's; one that comes again, as for a
// redirect, begins another entry.
func (r *Recorder) Begin(id string, q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, id)
	u, err := url.Parse(q.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || len(r.entries) >= maxEntries {
		return // data: and blob: are no requests
	}
	e := &Entry{
		Started: r.o.Now(),
		Request: Sent{
			Method: q.Method, URL: q.URL, HTTPVersion: q.HTTPVersion, Headers: r.keep(q.Headers),
			HeadersSize: -1, BodySize: int64(len(q.Body)),
		},
		Response: Got{HeadersSize: -1, BodySize: -1, Comment: "no answer"},
	}
	if len(r.pages) > 0 {
		e.PageRef = r.pages[len(r.pages)-1].ID
	}
	if len(q.Body) > 0 {
		e.Request.Post = &PostData{MimeType: header(q.Headers, "Content-Type"), Params: []Param{}}
		e.Request.Post.Text, e.Request.Post.Comment = r.text(e.Request.Post.MimeType, q.Body)
	}
	r.entries = append(r.entries, e)
	r.open[id] = e
}

// Response records the head of an answer.
func (r *Recorder) Response(id string, p Response) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.open[id]
	if e == nil || p.Status < 100 || p.Status > 999 {
		return
	}
	if p.MimeType == "" {
		p.MimeType = header(p.Headers, "Content-Type")
	}
	e.ServerIP = p.ServerIP
	e.Response = Got{
		Status: p.Status, StatusText: p.StatusText, HTTPVersion: p.HTTPVersion, Headers: r.keep(p.Headers),
		Content: Content{MimeType: p.MimeType}, RedirectURL: header(p.Headers, "Location"), HeadersSize: -1, BodySize: -1,
	}
	if e.Request.HTTPVersion == "" {
		e.Request.HTTPVersion = p.HTTPVersion
	}
	e.Timings.Wait = r.since(e)
	e.Time = e.Timings.Wait
}

// Body records the body of an answer, decoded. One that is no text is dropped.
func (r *Recorder) Body(id string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.open[id]
	if e == nil || e.Response.Status == 0 {
		return
	}
	c := &e.Response.Content
	c.Size = int64(len(body))
	c.Text, c.Comment = r.text(c.MimeType, body)
	e.Time = r.since(e)
	e.Timings.Receive = max(0, e.Time-e.Timings.Wait)
}

// Failed records that no answer came, or not all of it. why is not the page's.
func (r *Recorder) Failed(id, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.open[id]; e != nil {
		e.Comment = "failed: " + why
		e.Time = r.since(e)
		delete(r.open, id)
	}
}

// WriteTo writes what was recorded, scrubbed.
func (r *Recorder) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	a, s := r.scrubbed()
	// A fake may hold a short code by chance: another one does not.
	for try := 0; try < 2 && s.finds(reflect.ValueOf(a)); try++ {
		a, s = r.scrubbed()
	}
	r.mu.Unlock()
	if s.finds(reflect.ValueOf(a)) {
		return 0, ErrLeak
	}
	b, err := a.encode()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (r *Recorder) since(e *Entry) float64 {
	return max(0, float64(r.o.Now().Sub(e.Started).Microseconds())/1000)
}

// text returns a body as text, or why it was left out.
func (r *Recorder) text(mimeType string, body []byte) (text, comment string) {
	switch {
	case !isText(mimeType) || !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0: // UTF-16 would be UTF-8 with zeroes in it
		return "", "left out: it is no text"
	case len(body) > maxBody || r.total+int64(len(body)) > maxTotal:
		return "", "left out: it is too large"
	}
	r.total += int64(len(body))
	return string(body), ""
}

// keep copies headers; those of HTTP/2 that are no headers are left out.
func (r *Recorder) keep(headers []Pair) []Pair {
	list := []Pair{}
	for _, h := range headers {
		if !strings.HasPrefix(h.Name, ":") && r.total < maxTotal {
			r.total += int64(len(h.Value))
			list = append(list, h)
		}
	}
	return list
}

func header(list []Pair, name string) string {
	for _, h := range list {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

func isText(mimeType string) bool {
	t, _, err := mime.ParseMediaType(mimeType)
	if err != nil {
		return false
	}
	sub := t[strings.LastIndexAny(t, "/+")+1:]
	return strings.HasPrefix(t, "text/") || sub == "json" || sub == "xml" || sub == "javascript" || sub == "x-javascript" || sub == "x-www-form-urlencoded" || t == "multipart/form-data"
}
