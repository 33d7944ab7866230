package s3blob_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// request is what goes over the wire, letter for letter: an SDK would encode a
// hostile key into a tame one.
type request struct {
	method string
	key    string // percent-encoded as sent; "" is the bucket
	query  string
	header map[string]string
	body   string
}

func (r request) String() string {
	s := r.method + " " + r.key
	if r.query != "" {
		s += "?" + r.query
	}
	for k, v := range r.header {
		s += " " + k + ": " + v
	}
	return s
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// code is the error code, as far as there is a body.
func (a answer) code() string {
	_, rest, _ := strings.Cut(string(a.body), "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

var (
	wire   = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}, Timeout: 30 * time.Second}
	signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
)

// send signs r with creds and sends it.
func send(t testing.TB, c *cloudtest.Cloud, creds aws.Credentials, r request) answer {
	sent := "/" + cloudtest.Bucket
	if r.key != "" {
		sent += "/" + r.key
	}
	a, err := sendPath(c, creds, r, sent, sent)
	if err == nil && a.code() == "SignatureDoesNotMatch" {
		// The server reads another path than was signed. Sign what it reads:
		// the policy, not the signature, is to be the one that refuses.
		for _, signed := range readings(sent) {
			if b, berr := sendPath(c, creds, r, sent, signed); berr == nil && b.code() != "SignatureDoesNotMatch" {
				return b
			}
		}
	}
	if err != nil {
		t.Errorf("%s: %v", r, err)
	}
	return a
}

// readings are what a server may make of a path before it checks a signature.
func readings(sent string) []string {
	once, err := url.PathUnescape(sent)
	if err != nil {
		return nil
	}
	clean := path.Clean(once)
	slash := ""
	if strings.HasSuffix(once, "/") {
		slash = "/"
	}
	return []string{escape(once), escape(clean + slash), escape(clean), path.Clean(sent), clean}
}

// escape is how S3 writes a path to sign it.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c == '/' || c == '-' || c == '.' || c == '_' || c == '~' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func sendPath(c *cloudtest.Cloud, creds aws.Credentials, r request, sent, signed string) (answer, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return answer{}, err
	}
	u.RawQuery = r.query
	target := *u
	if target.Path, err = url.PathUnescape(sent); err != nil {
		return answer{}, err
	}
	target.RawPath = sent
	u.Opaque = "//" + u.Host + signed // which the signer takes as it is
	req, err := http.NewRequestWithContext(context.Background(), r.method, c.Endpoint, bytes.NewReader([]byte(r.body)))
	if err != nil {
		return answer{}, err
	}
	req.URL = u
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	sum := sha256.Sum256([]byte(r.body))
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := signer.SignHTTP(context.Background(), creds, req, hash, "s3", versity.Region, time.Now()); err != nil {
		return answer{}, err
	}
	req.URL = &target
	res, err := wire.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return answer{res.StatusCode, res.Header, b}, err
}

// withMD5 adds what some calls demand of their bodies.
func withMD5(r request) request {
	if r.body == "" {
		return r
	}
	sum := md5.Sum([]byte(r.body))
	h := map[string]string{"Content-Md5": base64.StdEncoding.EncodeToString(sum[:])}
	maps.Copy(h, r.header)
	r.header = h
	return r
}
