package s3blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/litentry/agentkeys/internal/vault"
)

// Metadata of an object.
const (
	// metaWrite tells a write from any other of the same bytes: a random text,
	// new with each Put, that its repetitions share.
	metaWrite = "agentkeys-write"
	// metaClaim is on what is about to be deleted, and absent to everybody.
	metaClaim = "agentkeys-claim"
)

// Get implements vault.Blobs.
func (b *Bucket) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	if err := begin(ctx, k); err != nil {
		return nil, "", err
	}
	creds, err := b.creds(k.Wallet()).Retrieve(ctx)
	if err != nil {
		return nil, "", b.refused(ctx, k.String(), err)
	}
	a, ok := b.quick(ctx, k, creds)
	switch {
	case ok && a.status == http.StatusNotFound && a.code == "NoSuchKey":
		return nil, "", vault.ErrNotFound
	case ok && a.status == http.StatusForbidden && a.code == "AccessDenied":
		return nil, "", b.missing(ctx, k, fmt.Errorf("%s: %w", k, ErrDenied))
	case !ok || a.status != http.StatusOK:
		if a, err = b.get(ctx, k); err != nil {
			return nil, "", b.failed(ctx, k, err)
		}
	}
	if a.claim && b.c.ClaimDeletes {
		return nil, "", vault.ErrNotFound
	}
	v, err := version(&a.etag)
	switch {
	case err != nil:
		return nil, "", about(k, err)
	case a.large:
		return nil, v, vault.ErrSize
	}
	return a.data, v, nil
}

// get is quick with the SDK's client.
func (b *Bucket) get(ctx context.Context, k vault.Key) (answer, error) {
	as, _ := b.as(k.Wallet())
	out, err := b.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.c.Bucket, Key: aws.String(k.String())}, as)
	if err != nil {
		return answer{}, err
	}
	defer out.Body.Close()
	a := answer{status: http.StatusOK, etag: aws.ToString(out.ETag), claim: out.Metadata[metaClaim] != ""}
	if a.large = aws.ToInt64(out.ContentLength) > vault.MaxBlob; a.large {
		return a, nil
	}
	a.data, err = io.ReadAll(io.LimitReader(out.Body, vault.MaxBlob+1))
	a.large = len(a.data) > vault.MaxBlob
	return a, err
}

// Put implements vault.Blobs.
//
// Where the SDK repeated the request because an answer was lost, and the
// condition no longer holds, the object is looked at: if it is this very write,
// it was done. If it is not, ErrConflict is returned, though the write may have
// been done and replaced since.
func (b *Bucket) Put(ctx context.Context, k vault.Key, data []byte, c vault.Condition) (vault.Version, error) {
	if err := begin(ctx, k); err != nil {
		return "", err
	}
	create, v, err := c.Match()
	if err != nil {
		return "", err
	}
	if len(data) > vault.MaxBlob {
		return "", vault.ErrSize
	}
	if !create && !valid(v) {
		return "", vault.ErrConflict
	}
	for range 3 {
		var now vault.Version
		now, err = b.write(ctx, k, data, metaWrite, create, v)
		if !create || !b.c.ClaimDeletes || !errors.Is(err, vault.ErrConflict) {
			return now, err
		}
		// What is in the way may be a claim, which a deletion left behind or
		// is about to remove.
		o, herr := b.head(ctx, k)
		switch {
		case herr == nil && o.claimed:
			now, err = b.write(ctx, k, data, metaWrite, false, o.v)
			if !errors.Is(err, vault.ErrConflict) {
				return now, err
			}
		case !errors.Is(herr, vault.ErrNotFound):
			return "", err
		}
	}
	return "", err
}

// write is one conditional PutObject.
func (b *Bucket) write(ctx context.Context, k vault.Key, data []byte, meta string, create bool, v vault.Version) (vault.Version, error) {
	sum := sha256.Sum256(data)
	in := &s3.PutObjectInput{
		Bucket: &b.c.Bucket, Key: aws.String(k.String()), Body: bytes.NewReader(data),
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ContentType:    aws.String("application/octet-stream"),
		Metadata:       map[string]string{meta: rand.Text()},
	}
	if create {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = quote(v)
	}
	as, n := b.as(k.Wallet())
	out, err := b.s3.PutObject(ctx, in, as)
	if err == nil {
		v, err := version(out.ETag)
		return v, about(k, err)
	}
	if create {
		// A 403 is one, whatever is there, and a 404 no answer to this.
		if err = b.refused(ctx, k.String(), err); errors.Is(err, vault.ErrNotFound) {
			err = about(k, fmt.Errorf("%w: not found, to a write", ErrStore))
		}
	} else if err = b.failed(ctx, k, err); errors.Is(err, vault.ErrNotFound) {
		err = vault.ErrConflict
	}
	if errors.Is(err, vault.ErrConflict) && n.N > 1 {
		o, herr := b.head(ctx, k)
		switch {
		case herr == nil && o.meta[meta] == in.Metadata[meta]:
			return o.v, nil
		case herr != nil && !errors.Is(herr, vault.ErrNotFound):
			return "", herr
		}
		return "", fmt.Errorf("%w (the request had to be repeated)", err)
	}
	return "", err
}

// Delete implements vault.Blobs. It is one conditional DeleteObject.
//
// With ClaimDeletes the object is first replaced, if it is at version v, by a
// claim, a small object that all calls here take for none: exactly one caller
// can do that on any server with conditional writes. Then the claim is removed.
// Killed in between, the claim stays, does no harm, and is replaced by the next
// Create. What remains to the server's fault is a Create that meets the removal
// of the claim in the moment between its check and its deed.
//
// Where the SDK repeated the request and there is nothing any more, it was this
// call or another's: nil.
func (b *Bucket) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if v == "" {
		return vault.ErrInvalid
	}
	if err := begin(ctx, k); err != nil {
		return err
	}
	if !valid(v) {
		return b.unequal(ctx, k)
	}
	if b.c.ClaimDeletes {
		claim := "agentkeys claim " + rand.Text()
		mine, err := b.write(ctx, k, []byte(claim), metaClaim, false, v)
		if errors.Is(err, vault.ErrConflict) {
			return b.unequal(ctx, k)
		}
		if err != nil {
			return err
		}
		if err := b.remove(ctx, k, mine); err != nil && !errors.Is(err, vault.ErrNotFound) && !errors.Is(err, vault.ErrConflict) {
			// It is deleted to everybody all the same.
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}
	err := b.remove(ctx, k, v)
	if errors.Is(err, vault.ErrConflict) {
		return b.unequal(ctx, k)
	}
	return err
}

// claimSize is that of a claim.
var claimSize = int64(len("agentkeys claim " + rand.Text()))

func (b *Bucket) remove(ctx context.Context, k vault.Key, v vault.Version) error {
	as, n := b.as(k.Wallet())
	_, err := b.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.c.Bucket, Key: aws.String(k.String()), IfMatch: quote(v)}, as)
	if err == nil {
		return nil
	}
	err = b.failed(ctx, k, err)
	if errors.Is(err, vault.ErrNotFound) && n.N > 1 {
		return nil
	}
	return err
}

// unequal says why no object of k matched: ErrNotFound or ErrConflict.
func (b *Bucket) unequal(ctx context.Context, k vault.Key) error {
	o, err := b.head(ctx, k)
	switch {
	case err != nil:
		return err
	case o.claimed:
		return vault.ErrNotFound
	}
	return vault.ErrConflict
}

type state struct {
	v       vault.Version
	meta    map[string]string
	claimed bool
}

func (b *Bucket) head(ctx context.Context, k vault.Key) (state, error) {
	as, _ := b.as(k.Wallet())
	out, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.c.Bucket, Key: aws.String(k.String())}, as)
	if err != nil {
		return state{}, b.failed(ctx, k, err)
	}
	v, err := version(out.ETag)
	return state{v, out.Metadata, b.claimed(out.Metadata)}, about(k, err)
}

func (b *Bucket) claimed(meta map[string]string) bool {
	return b.c.ClaimDeletes && meta[metaClaim] != ""
}

// List implements vault.Blobs.
func (b *Bucket) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (vault.Page, error) {
	if err := ctx.Err(); err != nil {
		return vault.Page{}, err
	}
	if err := p.Check(after, limit); err != nil {
		return vault.Page{}, err
	}
	as, _ := b.as(p.Wallet())
	var page vault.Page
	for last := after.String(); ; {
		in := &s3.ListObjectsV2Input{Bucket: &b.c.Bucket, Prefix: aws.String(p.String()), MaxKeys: aws.Int32(int32(limit))}
		if last != "" {
			in.StartAfter = aws.String(last)
		}
		out, err := b.s3.ListObjectsV2(ctx, in, as)
		if err != nil {
			return vault.Page{}, b.refused(ctx, p.String(), err)
		}
		for _, o := range out.Contents {
			name := aws.ToString(o.Key)
			if name <= last || !strings.HasPrefix(name, p.String()) {
				return vault.Page{}, fmt.Errorf("%s: %w: a listing out of order", p, ErrStore)
			}
			last = name
			k, err := vault.ParseKey(name)
			if err != nil {
				continue
			}
			if b.c.ClaimDeletes && aws.ToInt64(o.Size) == claimSize {
				if s, err := b.head(ctx, k); errors.Is(err, vault.ErrNotFound) || err == nil && s.claimed {
					continue
				} else if err != nil {
					return vault.Page{}, err
				}
			}
			if len(page.Items) == limit {
				page.More = true
				return page, nil
			}
			page.Items = append(page.Items, vault.Item{Key: k, Size: aws.ToInt64(o.Size)})
		}
		switch truncated := aws.ToBool(out.IsTruncated); {
		case !truncated:
			return page, nil
		case len(page.Items) == limit:
			page.More = true
			return page, nil
		case len(out.Contents) == 0:
			return vault.Page{}, fmt.Errorf("%s: %w: an endless listing", p, ErrStore)
		}
	}
}

func begin(ctx context.Context, k vault.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.IsZero() {
		return vault.ErrInvalid
	}
	return nil
}

// failed maps an error of the SDK's.
func (b *Bucket) failed(ctx context.Context, k vault.Key, err error) error {
	if err = b.refused(ctx, k.String(), err); errors.Is(err, ErrDenied) {
		return b.missing(ctx, k, err)
	}
	return err
}

// missing says whether k was denied because it is not there: ErrNotFound, else
// denied. S3 says 403 for that to whoever may not list the whole bucket, and
// the data role may list its own prefix only; so that is asked.
func (b *Bucket) missing(ctx context.Context, k vault.Key, denied error) error {
	as, _ := b.as(k.Wallet())
	out, err := b.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.c.Bucket, Prefix: aws.String(k.String()), MaxKeys: aws.Int32(1)}, as)
	if err != nil {
		return denied
	}
	for _, o := range out.Contents {
		if aws.ToString(o.Key) == k.String() {
			return denied
		}
	}
	return vault.ErrNotFound
}

func (b *Bucket) refused(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
	var res *awshttp.ResponseError
	if !errors.As(err, &res) {
		return fmt.Errorf("%s: %w", name, err)
	}
	code := ""
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch status := res.HTTPStatusCode(); {
	case status == http.StatusPreconditionFailed:
		return vault.ErrConflict
	case status == http.StatusNotFound && code != "NoSuchBucket":
		return vault.ErrNotFound
	case status == http.StatusForbidden:
		return fmt.Errorf("%s: %w: %w", name, ErrDenied, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func about(k vault.Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", k, err)
}
