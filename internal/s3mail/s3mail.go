// Package s3mail keeps stored mail in a bucket of S3 or of a server that speaks
// its protocol. The router reads as little as it has to of what has arrived and
// has the server make the copies; a wallet reads its inbox with its own
// session, so that the server itself keeps wallets apart. It depends on
// mailstore, s3conn and the AWS SDK; whence credentials come it does not know.
//
// Laws:
//   - Nothing is read that was not given: no environment, no ~/.aws, no
//     instance metadata.
//   - Every write has the condition that nothing is there, every read has a
//     bound, and a copy is of the very bytes that were read before.
//   - The two sides never lend each other their credentials.
//   - Neither mail nor addresses are in an error.
//
// # Gone or denied
//
// S3 answers 403, not 404, for an object that is not there, to whoever may not
// list the whole bucket; and the router may not, lest a fault in it showed who
// has mail. So what is denied is asked for again with a listing of that one
// key: nothing there means ErrGone, anything else ErrDenied, which is
// temporary. The router's role therefore has s3:ListBucket on the bucket under
// the condition StringLike s3:prefix inbound/*. Without it deleted messages
// come back until the queue gives them up, and nothing worse.
//
// What else the role needs: s3:GetObject on inbound/*, s3:PutObject on
// bots/*/inbound/* and refused/*, s3:PutObjectTagging there as well if copies
// are tagged, and s3:DeleteObject on inbound/* if sorted mail is removed.
//
// # Tags
//
// A copy is tagged so that the bucket's lifecycle can remove it in time: its
// rules know prefixes without wildcards, and sealed keys lie below the same
// bots/<wallet>/. The tag is named in the copy's own request, with the directive
// REPLACE: COPY would also take s3:GetObjectTagging on what has arrived.
package s3mail

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/s3conn"
)

// What a Bucket answers besides the errors of mailstore.
var (
	// ErrDenied: the store refused these credentials, or there are none for
	// this side of it.
	ErrDenied = errors.New("the mail store denied this")
	// ErrConfig: a Config that cannot work.
	ErrConfig = errors.New("bad mail store configuration")
	// ErrStore: an answer that no S3 gives.
	ErrStore = errors.New("the mail store answers nonsense")
)

// Config says where the bucket is.
type Config struct {
	Region, Bucket string
	// Endpoint is AWS's for the region if empty. It is https, except on
	// loopback addresses or if Plaintext.
	Endpoint  string
	Plaintext bool
	// PathStyle puts the bucket into the path, not into the host, as most
	// servers other than AWS want it.
	PathStyle bool
	// StreamCopies is for servers that copy an object over what is there
	// whatever the request's If-None-Match says, as VersityGW 1.8 does: then
	// copies go through here, piece by piece, as one conditional PutObject.
	StreamCopies bool
	// TagCopies puts Tag on every copy. It is not for StreamCopies: what writes
	// an object there has no tags.
	TagCopies bool
	// Client, if nil, is one that follows no redirects and knows no proxy.
	Client aws.HTTPClient
}

// Credentials are those of the two sides. A nil one denies its calls.
type Credentials struct {
	// Router is asked at every call of mailstore.Arrived and mailstore.Spool.
	Router aws.CredentialsProvider
	// Wallet is asked at every call of mailstore.Inbox; it is
	// awssts.Sessions.Credentials.
	Wallet func(agentkeys.Wallet) aws.CredentialsProvider
}

// Bucket is a mailstore.Arrived, Spool and Inbox. Any number of goroutines may
// use it.
//
// A version is the object's ETag: MD5 of the bytes, or, where the bucket
// encrypts with KMS, opaque. MD5 collisions can be made on purpose, but only
// the receiver writes to inbound/, each message once under a name of its own.
//
// Where an answer was lost and the request had to be repeated, a copy may be
// told as not created though this call created it.
type Bucket struct {
	c     Config
	conn  *s3conn.Bucket
	creds Credentials
}

// Open checks c and contacts nobody. Errors wrap ErrConfig.
func Open(c Config, creds Credentials) (*Bucket, error) {
	conn, err := s3conn.New(s3conn.Config{
		Region: c.Region, Bucket: c.Bucket, Endpoint: c.Endpoint, Plaintext: c.Plaintext, PathStyle: c.PathStyle, Client: c.Client,
	})
	switch {
	case err != nil:
	case creds.Router == nil && creds.Wallet == nil:
		err = errors.New("no credentials")
	case c.TagCopies && c.StreamCopies:
		err = errors.New("copies that are streamed carry no tags")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Bucket{c, conn, creds}, nil
}

// Tag is what copies carry if Config.TagCopies, as a URL's query; it is
// cloudpolicy's MailTag.
const Tag = "agentkeys=mail"

// The places of mail, as package mailstore draws them.
const (
	inbound = "inbound/"
	refused = "refused/"
)

func inbox(w agentkeys.Wallet) string { return "bots/" + w.String() + "/" + inbound }

// router returns the credentials of that side.
func (b *Bucket) router() (aws.CredentialsProvider, error) {
	if b.creds.Router == nil {
		return nil, fmt.Errorf("%w: there are no credentials of a router here", ErrDenied)
	}
	return b.creds.Router, nil
}

// wallet returns the credentials of w.
func (b *Bucket) wallet(w agentkeys.Wallet) (aws.CredentialsProvider, error) {
	switch {
	case w.IsZero():
		return nil, mailstore.ErrInvalid
	case b.creds.Wallet == nil:
		return nil, fmt.Errorf("%w: there are no sessions of wallets here", ErrDenied)
	}
	return b.creds.Wallet(w), nil
}

// as signs a call of the SDK's client.
func (b *Bucket) as(creds aws.CredentialsProvider) func(*s3.Options) {
	call, _ := b.conn.As(creds)
	return call
}

// begin refuses what need not be asked.
func begin(ctx context.Context, id agentkeys.MessageID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if id.IsZero() {
		return mailstore.ErrInvalid
	}
	return nil
}

// version takes an ETag for a version. Its quotes are no part of it.
func version(key, etag string) (mailstore.Version, error) {
	v := mailstore.Version(strings.Trim(etag, `"`))
	if !valid(v) {
		return "", fmt.Errorf("%s: %w: an ETag of %d bytes", key, ErrStore, len(v))
	}
	return v, nil
}

// valid refuses what cannot be a version, above all "*", which any matches.
func valid(v mailstore.Version) bool {
	if v == "" || v == "*" || len(v) > 256 {
		return false
	}
	for _, c := range []byte(v) {
		if c <= ' ' || c == '"' || c >= 0x7f {
			return false
		}
	}
	return true
}

func quote(v mailstore.Version) string { return `"` + string(v) + `"` }
