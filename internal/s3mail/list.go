package s3mail

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Waiting implements mailstore.Spool.
func (b *Bucket) Waiting(ctx context.Context, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	creds, err := b.router()
	if err != nil {
		return mailstore.Page{}, err
	}
	return b.list(ctx, creds, inbound, after, limit)
}

// List implements mailstore.Inbox.
func (b *Bucket) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	creds, err := b.wallet(w)
	if err != nil {
		return mailstore.Page{}, err
	}
	return b.list(ctx, creds, inbox(w), after, limit)
}

// list lists what lies directly under dir, in the order of S3's listings,
// which is that of the keys' bytes. Other names cost a request for each page
// of them, and nobody but the receiver and the router can make any.
func (b *Bucket) list(ctx context.Context, creds aws.CredentialsProvider, dir string, after agentkeys.MessageID, limit int) (page mailstore.Page, err error) {
	if err := ctx.Err(); err != nil {
		return page, err
	}
	if limit < 1 || limit > mailstore.MaxPage {
		return page, mailstore.ErrInvalid
	}
	last := ""
	if !after.IsZero() {
		last = dir + after.String()
	}
	for {
		in := &s3.ListObjectsV2Input{Bucket: &b.c.Bucket, Prefix: &dir, MaxKeys: aws.Int32(int32(limit))}
		if last != "" {
			in.StartAfter = aws.String(last)
		}
		out, err := b.conn.SDK.ListObjectsV2(ctx, in, b.as(creds))
		if err != nil {
			return mailstore.Page{}, b.denied(ctx, dir, sdkFault(err))
		}
		for _, o := range out.Contents {
			name := aws.ToString(o.Key)
			if name <= last || !strings.HasPrefix(name, dir) {
				return mailstore.Page{}, fmt.Errorf("%s: %w: a listing out of order", dir, ErrStore)
			}
			last = name
			id, err := agentkeys.ParseMessageID(name[len(dir):])
			if err != nil {
				continue
			}
			if len(page.Items) == limit {
				page.More = true
				return page, nil
			}
			page.Items = append(page.Items, mailstore.Item{ID: id, Size: aws.ToInt64(o.Size), At: aws.ToTime(o.LastModified).UTC()})
		}
		switch {
		case !aws.ToBool(out.IsTruncated):
			return page, nil
		case len(page.Items) == limit:
			page.More = true
			return page, nil
		case len(out.Contents) == 0:
			return mailstore.Page{}, fmt.Errorf("%s: %w: an endless listing", dir, ErrStore)
		}
	}
}
