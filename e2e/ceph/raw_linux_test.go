package ceph_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// request is what goes over the wire, letter for letter: an SDK would encode a
// hostile key into a tame one.
type request struct {
	method, key string // the key as sent; "" is the bucket
	query       string
	header      map[string]string
	body        string
}

type answer struct {
	status int
	body   string
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// code is the error code, as far as there is a body.
func (a answer) code() string {
	_, rest, _ := strings.Cut(a.body, "<Code>")
	code, _, _ := strings.Cut(rest, "</Code>")
	return code
}

var (
	wire   = &http.Client{Timeout: 30 * time.Second}
	signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
)

// send signs r and sends it. If the server reads another path than was signed,
// that is signed: the policy, not the signature, is to be the one that refuses.
func send(t *testing.T, creds aws.Credentials, bucket string, r request) answer {
	t.Helper()
	sent := "/" + bucket
	if r.key != "" {
		sent += "/" + r.key
	}
	a := sendAs(t, creds, r, sent, sent)
	once, err := url.PathUnescape(sent)
	if err != nil {
		return a
	}
	for _, signed := range []string{escape(once), escape(path.Clean(once)), path.Clean(sent), once} {
		if a.code() != "SignatureDoesNotMatch" {
			break
		}
		a = sendAs(t, creds, r, sent, signed)
	}
	return a
}

func sendAs(t *testing.T, creds aws.Credentials, r request, sent, signed string) answer {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = r.query
	target := *u
	if target.Path, err = url.PathUnescape(sent); err != nil {
		t.Fatal(err)
	}
	target.RawPath = sent
	u.Opaque = "//" + u.Host + signed // which the signer takes as it is
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), r.method, endpoint, bytes.NewReader([]byte(r.body)))
	if err != nil {
		t.Fatal(err)
	}
	req.URL = u
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if r.body != "" {
		sum := md5.Sum([]byte(r.body))
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	sum := sha256.Sum256([]byte(r.body))
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if creds.AccessKeyID != "" {
		if err := signer.SignHTTP(req.Context(), creds, req, hash, "s3", region, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	req.URL = &target
	res, err := wire.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, string(b)}
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
