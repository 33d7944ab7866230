package s3blob

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys/internal/vault"
)

// answer is a plain one.
type answer struct {
	status int
	code   string // of an error
	etag   string
	claim  bool
	data   []byte
	large  bool
}

// quick asks for an object with one plain request, since a credential is read
// far more often than anything else is done. ok is false if the answer is not
// plain; then the SDK's client asks again with all its patience.
func (b *Bucket) quick(ctx context.Context, k vault.Key, creds aws.Credentials) (a answer, ok bool) {
	res, err := b.conn.Plain(ctx, http.MethodGet, k.String(), http.Header{}, creds)
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
