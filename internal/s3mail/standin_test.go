package s3mail_test

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/s3mail"
)

const bucket = "the-bucket"

// standIn is S3 as its documentation has it where the real server of these
// tests differs: the condition on what a copy writes to, the element Condition
// of an error, 403 for what is not there, 200 for a copy that then failed.
type standIn struct {
	*httptest.Server
	hide  bool // 403, not 404, for what is not there
	vague bool // no Condition in an error
	// forget does not keep copies, so that they can be made over and over.
	forget bool
	// before may answer in the server's place, and says whether it did.
	before func(http.ResponseWriter, *http.Request) bool
	// after may spoil the answer to what was done.
	after func(*http.Request) bool

	mu      sync.Mutex
	objects map[string]object
	log     []string
}

type object struct {
	data []byte
	etag string
	at   time.Time
	tag  string
}

func newStandIn(t testing.TB) *standIn {
	s := &standIn{objects: map[string]object{}}
	s.listen()
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) listen() { s.Server = httptest.NewServer(s) }

func (s *standIn) config() s3mail.Config {
	return s3mail.Config{Region: "eu-central-1", Bucket: bucket, Endpoint: s.URL, PathStyle: true}
}

// open gives each side credentials of its own, named in the log.
func (s *standIn) open(t testing.TB) *s3mail.Bucket {
	t.Helper()
	b, err := s3mail.Open(s.config(), s3mail.Credentials{
		Router: static("router"), Wallet: func(w agentkeys.Wallet) aws.CredentialsProvider { return static(w.String()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func static(id string) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(id, "example", "example")
}

func (s *standIn) put(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = newObject(data)
}

func newObject(data []byte) object {
	sum := md5.Sum(data)
	return object{data, `"` + hex.EncodeToString(sum[:]) + `"`, time.Now().Truncate(time.Second), ""}
}

func (s *standIn) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// took returns what was asked since it was called last.
func (s *standIn) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log
	s.log = nil
	return l
}

func fail(w http.ResponseWriter, status int, code, condition string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if condition != "" {
		condition = "<Condition>" + condition + "</Condition>"
	}
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>no</Message>%s<RequestId>1</RequestId></Error>", code, condition)
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, who, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	who, _, _ = strings.Cut(who, "/")
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+bucket), "/")
	s.mu.Lock()
	if len(s.log) < 1000 {
		s.log = append(s.log, r.Method+" "+key+" by "+who)
	}
	s.mu.Unlock()
	if s.before != nil && s.before(w, r) {
		return
	}
	if s.after != nil && s.after(r) {
		s.serve(httptest.NewRecorder(), r, key)
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", "")
		return
	}
	s.serve(w, r, key)
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request, key string) {
	if r.Method == http.MethodGet && key == "" {
		s.list(w, r)
		return
	}
	condition := func(c string) string {
		if s.vague {
			return ""
		}
		return c
	}
	missing := func() {
		if s.hide {
			fail(w, http.StatusForbidden, "AccessDenied", "")
		} else {
			fail(w, http.StatusNotFound, "NoSuchKey", "")
		}
	}
	var body []byte
	if r.Method == http.MethodPut {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil || int64(len(body)) != r.ContentLength {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, there := s.objects[key]
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch match := r.Header.Get("If-Match"); {
		case !there:
			missing()
		case match != "" && match != o.etag:
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed", condition("If-Match"))
		default:
			s.mu.Unlock() // whoever does not read holds up nobody else
			s.send(w, r, o)
			s.mu.Lock()
		}
	case http.MethodPut:
		from, isCopy := strings.CutPrefix(r.Header.Get("X-Amz-Copy-Source"), bucket+"/")
		source, ok := s.objects[from]
		switch {
		case isCopy && !ok:
			missing()
		case isCopy && r.Header.Get("X-Amz-Copy-Source-If-Match") != source.etag:
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed", condition("x-amz-copy-source-If-Match"))
		case r.Header.Get("If-Match") != "" && !there:
			fail(w, http.StatusNotFound, "NoSuchKey", "")
		case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != o.etag:
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed", condition("If-Match"))
		case r.Header.Get("If-None-Match") == "*" && there:
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed", condition("If-None-Match"))
		case isCopy:
			if !s.forget {
				o := object{source.data, source.etag, time.Now(), source.tag}
				if r.Header.Get("X-Amz-Tagging-Directive") == "REPLACE" {
					o.tag = r.Header.Get("X-Amz-Tagging")
				}
				s.objects[key] = o
			}
			fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;%s&quot;</ETag></CopyObjectResult>", strings.Trim(source.etag, `"`))
		default:
			s.objects[key] = newObject(body)
			w.Header().Set("ETag", s.objects[key].etag)
		}
	case http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "")
	}
}

func (s *standIn) send(w http.ResponseWriter, r *http.Request, o object) {
	data, status := o.data, http.StatusOK
	if span, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		a, b, _ := strings.Cut(span, "-")
		from, _ := strconv.Atoi(a)
		to, _ := strconv.Atoi(b)
		if from >= len(data) {
			fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "")
			return
		}
		to = min(to, len(data)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		data, status = data[from:to+1], http.StatusPartialContent
	}
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Last-Modified", o.at.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(data)
	}
}

func (s *standIn) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(cmp.Or(q.Get("max-keys"), "1000"))
	type item struct {
		Key, ETag    string
		Size         int
		LastModified string
	}
	out := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []item
	}{}
	for _, k := range s.keys() {
		if !strings.HasPrefix(k, q.Get("prefix")) || k <= q.Get("start-after") {
			continue
		}
		if len(out.Contents) == limit {
			out.IsTruncated = true
			break
		}
		s.mu.Lock()
		o := s.objects[k]
		s.mu.Unlock()
		out.Contents = append(out.Contents, item{k, o.etag, len(o.data), o.at.UTC().Format("2006-01-02T15:04:05.000Z")})
	}
	_ = xml.NewEncoder(w).Encode(out)
}
