package remotetest

import (
	"crypto/md5"
	"crypto/rand"
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

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/token"
)

// Bucket is the one there is.
const Bucket = "agentkeys-data"

// Cloud stands in for S3 and STS over a real socket: it makes sessions of the
// broker's tokens, and lets each at its wallet's own prefix only. It does not
// check signatures; that a real server does is tested elsewhere.
type Cloud struct {
	URL string

	verify token.Verifier
	mu     sync.Mutex
	owners map[string]agentkeys.Wallet // by access key id
	all    map[string]object
	down   bool
}

type object struct {
	data []byte
	etag string
	meta http.Header
}

func startCloud(t testing.TB, v token.Verifier) *Cloud {
	c := &Cloud{verify: v, owners: map[string]agentkeys.Wallet{}, all: map[string]object{}}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.URL = srv.URL
	return c
}

// Down makes every request fail while it is set.
func (c *Cloud) Down(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Names lists what is stored.
func (c *Cloud) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.all))
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

// ServeHTTP is both services.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name, isS3 := strings.CutPrefix(r.URL.Path, "/"+Bucket)
	switch {
	case c.down:
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable")
	case isS3:
		c.s3(w, r, strings.TrimPrefix(name, "/"), body)
	default:
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		c.sts(w, r)
	}
}

func (c *Cloud) sts(w http.ResponseWriter, r *http.Request) {
	id, err := c.verify.Identity(r.FormValue("WebIdentityToken"), time.Now())
	if err != nil || r.FormValue("Action") != "AssumeRoleWithWebIdentity" {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>")
		return
	}
	key := "ASIA" + rand.Text()[:16]
	c.owners[key] = id.Wallet
	_, _ = fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, key, time.Now().Add(15*time.Minute).UTC().Format(time.RFC3339))
}

// s3 is called with mu held.
func (c *Cloud) s3(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	_, cred, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(cred, "/")
	owner, known := c.owners[key]
	prefix := "bots/" + owner.String() + "/"
	if listed := r.URL.Query().Get("prefix"); !known || name != "" && !strings.HasPrefix(name, prefix) || name == "" && !strings.HasPrefix(listed, prefix) {
		refuse(w, http.StatusForbidden, "AccessDenied")
		return
	}
	if name == "" {
		c.list(w, r)
		return
	}
	o, there := c.all[name]
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match != "" && !there, !there && r.Method != http.MethodPut:
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	case match != "" && match != o.etag, none == "*" && there:
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	switch r.Method {
	case http.MethodPut:
		sum := md5.Sum(body)
		o = object{body, `"` + hex.EncodeToString(sum[:]) + `"`, http.Header{}}
		for k, v := range r.Header {
			if strings.HasPrefix(k, "X-Amz-Meta-") {
				o.meta[k] = v
			}
		}
		c.all[name] = o
		w.Header().Set("ETag", o.etag)
	case http.MethodGet, http.MethodHead:
		maps.Copy(w.Header(), o.meta)
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(o.data)
		}
	case http.MethodDelete:
		delete(c.all, name)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (c *Cloud) list(w http.ResponseWriter, r *http.Request) {
	type item struct{ Key, ETag, Size string }
	var out struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		IsTruncated bool
		Contents    []item
	}
	q := r.URL.Query()
	most, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil {
		most = 1000
	}
	for _, name := range slices.Sorted(maps.Keys(c.all)) {
		if !strings.HasPrefix(name, q.Get("prefix")) || name <= q.Get("start-after") {
			continue
		}
		if out.IsTruncated = len(out.Contents) == most; out.IsTruncated {
			break
		}
		out.Contents = append(out.Contents, item{name, c.all[name].etag, strconv.Itoa(len(c.all[name].data))})
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out)
}
