package s3mail

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Place implements mailstore.Arrived. It is one conditional CopyObject.
func (b *Bucket) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (created bool, err error) {
	if w.IsZero() {
		return false, mailstore.ErrInvalid
	}
	return b.copy(ctx, id, v, inbox(w))
}

// Refuse implements mailstore.Arrived. It is one conditional CopyObject.
func (b *Bucket) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (created bool, err error) {
	if !mailstore.ValidReason(reason) {
		return false, mailstore.ErrInvalid
	}
	return b.copy(ctx, id, v, refused+reason+"/")
}

func (b *Bucket) copy(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, where string) (created bool, err error) {
	if err := begin(ctx, id); err != nil {
		return false, err
	}
	creds, err := b.router()
	switch {
	case err != nil:
		return false, err
	case v == "":
		return false, mailstore.ErrInvalid
	case !valid(v):
		return false, mailstore.ErrChanged
	}
	from, to := inbound+id.String(), where+id.String()
	do := b.serverCopy
	if b.c.StreamCopies {
		do = b.streamCopy
	}
	err = do(ctx, creds, from, v, to)
	f, ok := err.(*fault)
	switch {
	case err == nil:
		return true, nil
	case !ok || f.status != http.StatusPreconditionFailed:
		return false, b.mean(ctx, from, creds, err)
	case f.condition == "If-None-Match":
		return false, nil
	}
	// One of two conditions, and the server did not say which.
	if _, err := b.head(ctx, creds, from, v); err != nil {
		return false, err
	}
	return false, nil
}

// serverCopy has the server copy: with a plain request, and if the answer is
// not plain with the SDK's client.
func (b *Bucket) serverCopy(ctx context.Context, creds aws.CredentialsProvider, from string, v mailstore.Version, to string) error {
	source := b.c.Bucket + "/" + from
	c, err := creds.Retrieve(ctx)
	if err != nil {
		return err
	}
	header := http.Header{
		"X-Amz-Copy-Source":          {source},
		"X-Amz-Copy-Source-If-Match": {quote(v)},
		"If-None-Match":              {"*"},
		// Otherwise a tag of the source would take more permissions on tags.
		"X-Amz-Tagging-Directive": {string(types.TaggingDirectiveReplace)},
	}
	var tag *string
	if b.c.TagCopies {
		tag = aws.String(Tag)
		header["X-Amz-Tagging"] = []string{Tag}
	}
	res, err := b.conn.Plain(ctx, http.MethodPut, to, header, c)
	if err == nil {
		done, f := copied(res), plainFault(res)
		res.Body.Close()
		if done {
			return nil
		}
		if f != nil {
			return f
		}
	}
	_, err = b.conn.SDK.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &b.c.Bucket, Key: &to, CopySource: &source,
		CopySourceIfMatch: aws.String(quote(v)), IfNoneMatch: aws.String("*"),
		TaggingDirective: types.TaggingDirectiveReplace, Tagging: tag,
	}, b.as(creds))
	if err != nil {
		return sdkFault(err)
	}
	return nil
}

// copied reports whether an answer says that an object was copied. That the
// status is 200 does not: S3 sends it before it is done, to keep the
// connection, and what went wrong then stands in the body.
func copied(res *http.Response) bool {
	if res.StatusCode != http.StatusOK {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return false
	}
	var x struct {
		XMLName xml.Name `xml:"CopyObjectResult"`
		ETag    string
	}
	return xml.Unmarshal(body, &x) == nil && x.ETag != ""
}

// streamCopy copies through here.
func (b *Bucket) streamCopy(ctx context.Context, creds aws.CredentialsProvider, from string, v mailstore.Version, to string) error {
	o, err := b.get(ctx, creds, from, "", v)
	if err != nil {
		if f, ok := err.(*fault); ok && f.status == http.StatusPreconditionFailed {
			f.condition = "If-Match" // whatever the server calls it
		}
		return err
	}
	defer o.body.Close()
	if now, err := version(from, o.etag); err != nil || now != v {
		return &fault{status: http.StatusPreconditionFailed, condition: "If-Match", cause: err}
	}
	if o.size > mailstore.MaxMessage {
		return mailstore.ErrTooLarge
	}
	return b.put(ctx, creds, to, o.body, o.size)
}

// put stores size bytes of r where there is nothing, and is not repeated.
func (b *Bucket) put(ctx context.Context, creds aws.CredentialsProvider, key string, r io.Reader, size int64) error {
	c, err := creds.Retrieve(ctx)
	if err != nil {
		return err
	}
	res, err := b.conn.Stream(ctx, http.MethodPut, key, http.Header{
		"If-None-Match": {"*"}, "Content-Type": {"message/rfc822"},
	}, r, size, c)
	if err != nil {
		// A server that has it already may cut the connection in the middle of
		// the body, so that its answer is lost.
		if b.there(ctx, key, c) {
			return &fault{status: http.StatusPreconditionFailed, condition: "If-None-Match"}
		}
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	f := plainFault(res)
	switch {
	case f == nil:
		return fmt.Errorf("the server answered %s", res.Status)
	case f.status == http.StatusPreconditionFailed:
		f.condition = "If-None-Match" // there was no other
	case f.status == http.StatusNotFound:
		return fmt.Errorf("%w: not found, to a write", ErrStore)
	}
	return f
}

// there reports whether there is an object for certain, to whoever may write it
// and not read it: with a write that cannot be done, as no object has its ETag.
func (b *Bucket) there(ctx context.Context, key string, c aws.Credentials) bool {
	res, err := b.conn.Plain(ctx, http.MethodPut, key, http.Header{"If-Match": {`"none-has-this"`}}, c)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusPreconditionFailed
}
