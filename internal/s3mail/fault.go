package s3mail

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/litentry/agentkeys/internal/mailstore"
)

// fault is an error that the server answered.
type fault struct {
	status int
	code   string
	// condition is the one that did not hold, "" where that is not known. S3
	// says it in the body only, where the SDK does not look.
	condition string
	cause     error
}

func (f *fault) Error() string {
	if f.cause != nil {
		return f.cause.Error()
	}
	return fmt.Sprintf("%d %s", f.status, f.code)
}

func (f *fault) Unwrap() error { return f.cause }

// plainFault reads the error out of an answer to a plain request; nil if it is
// one that repeating may help, or none of S3's.
func plainFault(res *http.Response) *fault {
	switch res.StatusCode {
	case http.StatusForbidden, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
	default:
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil
	}
	var x struct {
		XMLName         xml.Name `xml:"Error"`
		Code, Condition string
	}
	if xml.Unmarshal(body, &x) != nil || x.Code == "" {
		return nil
	}
	f := &fault{status: res.StatusCode, code: x.Code, condition: x.Condition}
	if f.status == http.StatusForbidden && f.code != "AccessDenied" {
		return nil // such as a session that has just ended, or a clock that is wrong
	}
	return f
}

// sdkFault is what the SDK's client says after all its patience: a *fault if
// the server answered.
func sdkFault(err error) error {
	var res *awshttp.ResponseError
	if !errors.As(err, &res) {
		return err
	}
	f := &fault{status: res.HTTPStatusCode(), cause: err}
	var api smithy.APIError
	if errors.As(err, &api) {
		f.code = api.ErrorCode()
	}
	return f
}

// mean says what a failed call about key, which was there or not, means.
func (b *Bucket) mean(ctx context.Context, key string, creds aws.CredentialsProvider, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", key, ctx.Err())
	}
	var f *fault
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", key, err)
	}
	switch {
	case f.status == http.StatusPreconditionFailed:
		return mailstore.ErrChanged
	case f.status == http.StatusNotFound && f.code != "NoSuchBucket":
		return mailstore.ErrGone
	case f.status == http.StatusForbidden:
		return b.missing(ctx, key, creds, fmt.Errorf("%s: %w: %w", key, ErrDenied, err))
	}
	return fmt.Errorf("%s: %w", key, err)
}

// missing says whether key was denied because it is not there: ErrGone, else
// denied.
func (b *Bucket) missing(ctx context.Context, key string, creds aws.CredentialsProvider, denied error) error {
	out, err := b.conn.SDK.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.c.Bucket, Prefix: &key, MaxKeys: aws.Int32(1)}, b.as(creds))
	if err != nil {
		return denied
	}
	// The key itself is the first of all that begin with it.
	for _, o := range out.Contents {
		if aws.ToString(o.Key) == key {
			return denied
		}
	}
	return mailstore.ErrGone
}
