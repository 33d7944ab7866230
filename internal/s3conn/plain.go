package s3conn

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// empty is the SHA-256 of no body.
const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Unsigned is in the place of the SHA-256 of a body that nobody has hashed.
const Unsigned = "UNSIGNED-PAYLOAD"

// Plain sends one request that only the SDK's signer has seen, and never
// repeats it: the SDK's client does the same with twice the processor time and
// four times the garbage, and some calls are made far more often than all
// others. Whatever is not a plain answer is best left to that client, which
// asks again with all its patience. key is ASCII without a character that a
// path would have to encode; header is the request's own from now on, and all
// of it is signed.
func (b *Bucket) Plain(ctx context.Context, method, key string, header http.Header, creds aws.Credentials) (*http.Response, error) {
	return b.send(ctx, method, key, header, nil, 0, empty, creds)
}

// Stream is Plain with a body of size bytes, which is not part of what is
// signed.
func (b *Bucket) Stream(ctx context.Context, method, key string, header http.Header, body io.Reader, size int64, creds aws.Credentials) (*http.Response, error) {
	return b.send(ctx, method, key, header, body, size, Unsigned, creds)
}

func (b *Bucket) send(ctx context.Context, method, key string, header http.Header, body io.Reader, size int64, sum string, creds aws.Credentials) (*http.Response, error) {
	u := b.base
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+key, ""
	header["X-Amz-Content-Sha256"] = []string{sum}
	header["Accept-Encoding"] = []string{"identity"}
	header["User-Agent"] = []string{"agentkeys"}
	req := (&http.Request{
		Method: method, URL: &u, Host: u.Host, Header: header, ContentLength: size,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if body != nil && size > 0 {
		req.Body = io.NopCloser(body)
	}
	if err := b.signer.SignHTTP(ctx, creds, req, sum, "s3", b.region, time.Now()); err != nil {
		return nil, err
	}
	return b.client.Do(req)
}
