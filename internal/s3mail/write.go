package s3mail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Write implements mailstore.Spool. It is one conditional PutObject of bytes
// whose SHA-256 goes with them, so what r cannot read twice, being no
// io.ReadSeeker, is held in memory meanwhile.
//
// Where the request had to be repeated and there is a message then, it is
// ErrExists, though it may be this one.
func (b *Bucket) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	if err := begin(ctx, id); err != nil {
		return err
	}
	creds, err := b.router()
	switch {
	case err != nil:
		return err
	case size < 0 || r == nil:
		return mailstore.ErrInvalid
	case size > mailstore.MaxMessage:
		return mailstore.ErrTooLarge
	}
	key := inbound + id.String()
	body, ok := r.(io.ReadSeeker)
	if !ok {
		data, err := io.ReadAll(io.LimitReader(r, size+1))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		body = bytes.NewReader(data)
	}
	sum, err := hashed(body, size)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	_, err = b.conn.SDK.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.c.Bucket, Key: &key, Body: body, ContentLength: &size, ChecksumSHA256: &sum,
		IfNoneMatch: aws.String("*"), ContentType: aws.String("message/rfc822"),
	}, b.as(creds))
	if err == nil {
		return nil
	}
	err = sdkFault(err)
	if f, ok := err.(*fault); ok && f.status == http.StatusPreconditionFailed {
		return mailstore.ErrExists
	}
	return b.denied(ctx, key, err)
}

// hashed returns the SHA-256 of what r has left, which has to be size bytes,
// and goes back.
func hashed(r io.ReadSeeker, size int64) (string, error) {
	at, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, size+1))
	switch {
	case err != nil:
		return "", err
	case n > size:
		return "", fmt.Errorf("%w: beyond the %d bytes that were announced", mailstore.ErrTooLarge, size)
	case n < size:
		return "", fmt.Errorf("%w: %d bytes instead of %d", io.ErrUnexpectedEOF, n, size)
	}
	_, err = r.Seek(at, io.SeekStart)
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), err
}

// Remove implements mailstore.Arrived.
func (b *Bucket) Remove(ctx context.Context, id agentkeys.MessageID) error {
	if err := begin(ctx, id); err != nil {
		return err
	}
	creds, err := b.router()
	if err != nil {
		return err
	}
	key := inbound + id.String()
	_, err = b.conn.SDK.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.c.Bucket, Key: &key}, b.as(creds))
	if err == nil {
		return nil
	}
	err = sdkFault(err)
	if f, ok := err.(*fault); ok && f.status == http.StatusNotFound && f.code != "NoSuchBucket" {
		return nil
	}
	return b.denied(ctx, key, err)
}

// denied says what a failed call means that is denied or not, whatever is
// there.
func (b *Bucket) denied(ctx context.Context, key string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", key, ctx.Err())
	}
	if f, ok := err.(*fault); ok && f.status == http.StatusForbidden {
		return fmt.Errorf("%s: %w: %w", key, ErrDenied, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}
