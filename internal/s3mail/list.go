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
	return b.list(ctx, creds, inbound, after.String(), limit, messages)
}

// List implements mailstore.Inbox.
func (b *Bucket) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	creds, err := b.wallet(w)
	if err != nil {
		return mailstore.Page{}, err
	}
	return b.list(ctx, creds, inbox(w), after.String(), limit, messages)
}

// Refused lists up to limit refused messages, in the byte order of their keys,
// refused/<reason>/<message id>, from the first beyond after on; the zero item
// starts from the beginning. It is for whoever looks after the bucket: neither
// the router's role nor a wallet's may list there.
func (b *Bucket) Refused(ctx context.Context, after mailstore.Item, limit int) (mailstore.Page, error) {
	creds, err := b.router()
	if err != nil {
		return mailstore.Page{}, err
	}
	name := ""
	switch {
	case after.Reason == "" && after.ID.IsZero():
	case !mailstore.ValidReason(after.Reason):
		return mailstore.Page{}, mailstore.ErrInvalid
	default:
		name = after.Reason + "/" + after.ID.String()
	}
	return b.list(ctx, creds, refused, name, limit, func(name string) (i mailstore.Item, err error) {
		reason, id, _ := strings.Cut(name, "/")
		if !mailstore.ValidReason(reason) {
			return i, mailstore.ErrInvalid
		}
		i, err = messages(id)
		i.Reason = reason
		return i, err
	})
}

// messages are named by their ids.
func messages(name string) (i mailstore.Item, err error) {
	i.ID, err = agentkeys.ParseMessageID(name)
	return i, err
}

// list lists what lies under dir and has a name that named knows, from the
// first beyond after on, in the order of S3's listings, which is that of the
// keys' bytes. Other names cost a request for each page of them, and nobody but
// the receiver and the router can make any.
func (b *Bucket) list(ctx context.Context, creds aws.CredentialsProvider, dir, after string, limit int, named func(string) (mailstore.Item, error)) (page mailstore.Page, err error) {
	if err := ctx.Err(); err != nil {
		return page, err
	}
	if limit < 1 || limit > mailstore.MaxPage {
		return page, mailstore.ErrInvalid
	}
	last := ""
	if after != "" {
		last = dir + after
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
			i, err := named(name[len(dir):])
			if err != nil {
				continue
			}
			if len(page.Items) == limit {
				page.More = true
				return page, nil
			}
			i.Size, i.At = aws.ToInt64(o.Size), aws.ToTime(o.LastModified).UTC()
			page.Items = append(page.Items, i)
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
