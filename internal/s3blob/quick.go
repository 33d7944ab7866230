package s3blob

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys/internal/vault"
)

// quick reads objects with one request that only the SDK's signer has seen: its
// client does the same with twice the processor time and four times the
// garbage, and a credential is read far more often than anything else is done.
// Whatever is not a plain answer is left to the client, which asks again with
// all its patience.
type quick struct {
	base   url.URL // of the bucket, by the SDK's own rules
	region string
	signer *v4.Signer
	client aws.HTTPClient
}

func newQuick(c Config, client aws.HTTPClient) (*quick, error) {
	p := s3.EndpointParameters{Bucket: &c.Bucket, Region: &c.Region, ForcePathStyle: &c.PathStyle}.WithDefaults()
	if c.Endpoint != "" {
		p.Endpoint = &c.Endpoint
	}
	e, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), p)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	q := &quick{base: e.URI, region: c.Region, client: client}
	q.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	return q, nil
}

// empty is the SHA-256 of no body.
const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// answer is a plain one.
type answer struct {
	status int
	code   string // of an error
	etag   string
	claim  bool
	data   []byte
	large  bool
}

// get asks for an object. ok is false if the answer is not plain.
func (q *quick) get(ctx context.Context, k vault.Key, creds aws.Credentials) (a answer, ok bool) {
	// A key is ASCII without a character that a path would have to encode.
	u := q.base
	u.Path, u.RawPath = joined(u.Path, k.String()), ""
	req := (&http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: http.Header{
		"X-Amz-Content-Sha256": {empty}, "Accept-Encoding": {"identity"}, "User-Agent": {"agentkeys"},
	}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if err := q.signer.SignHTTP(ctx, creds, req, empty, "s3", q.region, time.Now()); err != nil {
		return answer{}, false
	}
	res, err := q.client.Do(req)
	if err != nil {
		return answer{}, false
	}
	defer res.Body.Close()
	a = answer{status: res.StatusCode, etag: res.Header.Get("ETag"), claim: res.Header.Get("X-Amz-Meta-"+metaClaim) != ""}
	switch {
	case a.status == http.StatusOK && res.ContentLength > vault.MaxBlob:
		a.large = true
		return a, true
	case a.status != http.StatusOK && a.status != http.StatusNotFound && a.status != http.StatusForbidden:
		return answer{}, false
	}
	buf := bytes.NewBuffer(make([]byte, 0, min(max(res.ContentLength, 0), vault.MaxBlob)+bytes.MinRead))
	if _, err := io.Copy(buf, io.LimitReader(res.Body, vault.MaxBlob+1)); err != nil {
		return answer{}, false // the transport also holds the body to its length
	}
	a.data, a.large = buf.Bytes(), buf.Len() > vault.MaxBlob
	if a.status != http.StatusOK {
		var e struct {
			Code string `xml:"Code"`
		}
		if xml.Unmarshal(a.data, &e) != nil {
			return answer{}, false
		}
		a.code, a.data = e.Code, nil
	}
	return a, true
}

func joined(base, key string) string {
	if base == "" || base[len(base)-1] != '/' {
		base += "/"
	}
	return base + key
}
