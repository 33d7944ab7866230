package s3mail

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Read implements mailstore.Arrived. It is one ranged GetObject; from the end
// of a message on, which has no range, a HeadObject more.
func (b *Bucket) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	if err := begin(ctx, id); err != nil {
		return mailstore.Part{}, err
	}
	creds, err := b.router()
	switch {
	case err != nil:
		return mailstore.Part{}, err
	case off < 0 || n <= 0:
		return mailstore.Part{}, mailstore.ErrInvalid
	case v != "" && !valid(v):
		return mailstore.Part{}, mailstore.ErrChanged
	}
	n = min(n, math.MaxInt64-off)
	key := inbound + id.String()
	o, err := b.get(ctx, creds, key, fmt.Sprintf("bytes=%d-%d", off, off+n-1), v)
	if f, ok := err.(*fault); ok && f.status == http.StatusRequestedRangeNotSatisfiable {
		return b.head(ctx, creds, key, v)
	}
	if err != nil {
		return mailstore.Part{}, b.mean(ctx, key, creds, err)
	}
	defer o.body.Close()
	p := mailstore.Part{Size: o.size}
	if p.Version, err = version(key, o.etag); err != nil {
		return mailstore.Part{}, err
	}
	if v != "" && p.Version != v {
		return mailstore.Part{}, mailstore.ErrChanged
	}
	want := min(n, o.size-off)
	if o.off != off || want < 0 {
		return mailstore.Part{}, fmt.Errorf("%s: %w: from byte %d on instead of %d", key, ErrStore, o.off, off)
	}
	p.Data = make([]byte, want)
	if _, err := io.ReadFull(o.body, p.Data); err != nil {
		return mailstore.Part{}, b.mean(ctx, key, creds, err)
	}
	return p, nil
}

// Fetch implements mailstore.Inbox.
func (b *Bucket) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if err := begin(ctx, id); err != nil {
		return nil, err
	}
	creds, err := b.wallet(w)
	if err != nil {
		return nil, err
	}
	return b.fetch(ctx, creds, inbox(w)+id.String(), limit)
}

// FetchRefused is Fetch for mail that was refused, for whoever may list it.
func (b *Bucket) FetchRefused(ctx context.Context, reason string, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if err := begin(ctx, id); err != nil {
		return nil, err
	}
	creds, err := b.router()
	if err != nil {
		return nil, err
	}
	if !mailstore.ValidReason(reason) {
		return nil, mailstore.ErrInvalid
	}
	return b.fetch(ctx, creds, refused+reason+"/"+id.String(), limit)
}

func (b *Bucket) fetch(ctx context.Context, creds aws.CredentialsProvider, key string, limit int64) ([]byte, error) {
	if limit < 0 {
		return nil, mailstore.ErrInvalid
	}
	o, err := b.get(ctx, creds, key, "", "")
	if err != nil {
		return nil, b.mean(ctx, key, creds, err)
	}
	defer o.body.Close()
	if o.size > min(limit, mailstore.MaxMessage) {
		return nil, mailstore.ErrTooLarge
	}
	data := make([]byte, o.size)
	if _, err := io.ReadFull(o.body, data); err != nil {
		return nil, b.mean(ctx, key, creds, err)
	}
	return data, nil
}

// object is an object on its way here, from byte off on.
type object struct {
	body      io.ReadCloser
	off, size int64
	etag      string
}

// get asks for an object, or for a range of it, at v if that is given: with a
// plain request, and if the answer is not plain with the SDK's client. Errors
// of the server's are *fault.
func (b *Bucket) get(ctx context.Context, creds aws.CredentialsProvider, key, within string, v mailstore.Version) (object, error) {
	c, err := creds.Retrieve(ctx)
	if err != nil {
		return object{}, err
	}
	header := http.Header{}
	if within != "" {
		header["Range"] = []string{within}
	}
	if v != "" {
		header["If-Match"] = []string{quote(v)}
	}
	if res, err := b.conn.Plain(ctx, http.MethodGet, key, header, c); err == nil {
		if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
			return answered(key, res.Body, res.ContentLength, res.Header.Get("Content-Range"), res.Header.Get("ETag"))
		}
		f := plainFault(res)
		res.Body.Close()
		if f != nil {
			return object{}, f
		}
	}
	in := &s3.GetObjectInput{Bucket: &b.c.Bucket, Key: &key}
	if within != "" {
		in.Range = &within
	}
	if v != "" {
		in.IfMatch = aws.String(quote(v))
	}
	out, err := b.conn.SDK.GetObject(ctx, in, b.as(creds))
	if err != nil {
		return object{}, sdkFault(err)
	}
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	return answered(key, out.Body, length, aws.ToString(out.ContentRange), aws.ToString(out.ETag))
}

// answered is the object in an answer, whose body it closes if it is none.
func answered(key string, body io.ReadCloser, length int64, within, etag string) (object, error) {
	o := object{body: body, size: length, etag: etag}
	ok := length >= 0
	if within != "" {
		o.off, o.size, ok = parseRange(within, length)
	}
	if !ok {
		body.Close()
		return object{}, fmt.Errorf("%s: %w: %d bytes in the range %q", key, ErrStore, length, within)
	}
	return o, nil
}

// parseRange reads "bytes 0-2047/5000", which has to be of length bytes, as
// RFC 9110, section 14.4, has it.
func parseRange(s string, length int64) (off, size int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, whole, found := strings.Cut(s, "/")
	first, last, dash := strings.Cut(span, "-")
	var to int64
	for _, n := range []struct {
		s  string
		to *int64
	}{{first, &off}, {last, &to}, {whole, &size}} {
		x, err := strconv.ParseUint(n.s, 10, 62)
		*n.to, ok = int64(x), ok && err == nil
	}
	return off, size, ok && found && dash && off <= to && to < size && to-off+1 == length
}

// head is Read where there is nothing to read any more.
func (b *Bucket) head(ctx context.Context, creds aws.CredentialsProvider, key string, v mailstore.Version) (mailstore.Part, error) {
	in := &s3.HeadObjectInput{Bucket: &b.c.Bucket, Key: &key}
	if v != "" {
		in.IfMatch = aws.String(quote(v))
	}
	out, err := b.conn.SDK.HeadObject(ctx, in, b.as(creds))
	if err != nil {
		return mailstore.Part{}, b.mean(ctx, key, creds, sdkFault(err))
	}
	now, err := version(key, aws.ToString(out.ETag))
	if err == nil && v != "" && now != v {
		err = mailstore.ErrChanged
	}
	if err != nil {
		return mailstore.Part{}, err
	}
	return mailstore.Part{Size: aws.ToInt64(out.ContentLength), Version: now}, nil
}
