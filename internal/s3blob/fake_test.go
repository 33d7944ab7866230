package s3blob_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/s3blob"
)

// fakeS3 speaks S3 over a real socket as AWS documents it where VersityGW does
// otherwise: a conditional delete is one step, and answers 404 where there is
// nothing; what is not there may be 403. And it loses answers on demand. It
// checks no signature, which the real server does.
type fakeS3 struct {
	*httptest.Server
	mu       sync.Mutex
	objects  map[string]fakeObject
	log      []string // method, key and the access key of the signature
	hide     bool     // 403 for what is not there, as without the right to list
	unlisted bool     // 403 for listings
	pages    int      // how many keys a listing has at most; 0 is 1000
	// fault says what becomes of a request.
	fault func(method string, n int) fault
	n     map[string]int
	// rewrite changes an answer.
	rewrite func(w http.ResponseWriter, r *http.Request) bool
}

type fakeObject struct {
	data []byte
	meta http.Header
}

func (o fakeObject) etag() string { s := md5.Sum(o.data); return `"` + hex.EncodeToString(s[:]) + `"` }

type fault int

const (
	none     fault = iota
	lose           // not done, and no answer
	loseDone       // done, and no answer
	fail           // not done, and 500
	failDone       // done, and 500
	meet           // not done, and 409: another conditional call is under way
)

func newFake(t testing.TB) *fakeS3 {
	f := &fakeS3{objects: map[string]fakeObject{}, n: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeS3) open(t testing.TB, change ...func(*s3blob.Config)) *s3blob.Bucket {
	t.Helper()
	c := s3blob.Config{Region: "eu-central-1", Bucket: "the-bucket", Endpoint: f.URL, PathStyle: true}
	for _, f := range change {
		f(&c)
	}
	return open(t, c, static)
}

// static are credentials whose access key is the wallet.
func static(w agentkeys.Wallet) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		return credentials.NewStaticCredentialsProvider(w.String(), "secret", "session").Retrieve(ctx)
	})
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/the-bucket"), "/")
	_, cred, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	cred, _, _ = strings.Cut(cred, "/")
	f.log = append(f.log, r.Method+" "+key+" by "+cred)
	what, n := none, f.n[r.Method]
	f.n[r.Method]++
	if f.fault != nil {
		what = f.fault(r.Method, n)
	}
	switch what {
	case lose:
		panic(http.ErrAbortHandler)
	case fail:
		problem(w, http.StatusInternalServerError, "InternalError")
		return
	case meet:
		problem(w, http.StatusConflict, "ConditionalRequestConflict")
		return
	}
	if f.rewrite != nil && f.rewrite(w, r) {
		return
	}
	out := w
	if what != none {
		out = httptest.NewRecorder()
	}
	if key == "" {
		f.list(out, r)
	} else {
		f.object(out, r, key, body)
	}
	switch what {
	case loseDone:
		panic(http.ErrAbortHandler)
	case failDone:
		problem(w, http.StatusInternalServerError, "InternalError")
	}
}

func (f *fakeS3) object(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	o, there := f.objects[key]
	if match := r.Header.Get("If-Match"); (match != "" || r.Method == "GET" || r.Method == "HEAD") && !there {
		if f.hide {
			problem(w, http.StatusForbidden, "AccessDenied")
		} else {
			problem(w, http.StatusNotFound, "NoSuchKey")
		}
		return
	} else if match != "" && match != o.etag() || r.Header.Get("If-None-Match") == "*" && there {
		problem(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	switch r.Method {
	case "PUT":
		o = fakeObject{body, http.Header{}}
		for k, v := range r.Header {
			if strings.HasPrefix(k, "X-Amz-Meta-") {
				o.meta[k] = v
			}
		}
		f.objects[key] = o
		w.Header().Set("ETag", o.etag())
	case "DELETE":
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		for k, v := range o.meta {
			w.Header()[k] = v
		}
		w.Header().Set("ETag", o.etag())
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		if r.Method == "GET" {
			_, _ = w.Write(o.data)
		}
	}
}

func (f *fakeS3) list(w http.ResponseWriter, r *http.Request) {
	if f.unlisted {
		problem(w, http.StatusForbidden, "AccessDenied")
		return
	}
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil || limit < 1 || limit > 1000 {
		problem(w, http.StatusBadRequest, "InvalidArgument")
		return
	}
	if f.pages > 0 {
		limit = min(limit, f.pages)
	}
	var keys []string
	for k := range f.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > q.Get("start-after") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	more := len(keys) > limit
	if more {
		keys = keys[:limit]
	}
	listing(w, more, keys, func(k string) int { return len(f.objects[k].data) })
}

func listing(w io.Writer, more bool, keys []string, size func(string) int) {
	fmt.Fprintf(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>%t</IsTruncated>`, more)
	for _, k := range keys {
		fmt.Fprint(w, "<Contents><Key>")
		_ = xml.EscapeText(w, []byte(k))
		fmt.Fprintf(w, "</Key><Size>%d</Size></Contents>", size(k))
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>m</Message></Error>", code)
}

// count is how many requests begin with s.
func (f *fakeS3) count(s string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.log {
		if strings.HasPrefix(l, s) {
			n++
		}
	}
	return n
}
