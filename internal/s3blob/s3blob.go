// Package s3blob keeps vault.Blobs in a bucket of S3 or of a server that speaks
// its protocol. Each call is signed with the session of the wallet whose key it
// is about, so that the store itself keeps wallets apart. It depends on vault,
// s3conn and the AWS SDK; whence credentials come it does not know.
//
// Laws:
//   - Nothing is read that was not given: no environment, no ~/.aws, no
//     instance metadata.
//   - Every write is conditional, and every read is bounded.
//   - What was asked for twice because an answer was lost is not taken for
//     somebody else's write.
package s3blob

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/s3conn"
	"github.com/litentry/agentkeys/internal/vault"
)

// What a Bucket answers besides the errors of vault.Blobs.
var (
	// ErrDenied: the store refused this session. Where the object may simply
	// not be there, the store was asked again with a listing, which it allows
	// in the wallet's own prefix: it is there, or listing is refused too.
	ErrDenied = errors.New("the object store denied this")
	// ErrConfig: a Config that cannot work.
	ErrConfig = errors.New("bad object store configuration")
	// ErrStore: an answer that no S3 gives.
	ErrStore = errors.New("the object store answers nonsense")
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
	// ClaimDeletes is for servers that check the condition of a DeleteObject
	// and then delete, not both at once, or that say it was done where there
	// was nothing: see Bucket.Delete. AWS needs it not; VersityGW 1.8 does.
	ClaimDeletes bool
	// Client, if nil, is one that follows no redirects and knows no proxy.
	Client aws.HTTPClient
}

// Bucket is a vault.Blobs. Objects have the names of their keys; a version is
// the object's ETag.
//
// Equal versions mean equal bytes as far as the ETag does: it is MD5 of the
// bytes, or, where the bucket encrypts with KMS, opaque and new with each
// write. MD5 collisions can be made on purpose only by whoever makes the bytes,
// which is the wallet's own session. That the same bytes written again have the
// same version is no ABA: an envelope has a random salt, so it is the same
// write.
//
// The bucket may keep versions on AWS, whose deleted objects are absent to
// conditions; to VersityGW 1.8 they are there, so that a key could be created
// only once.
type Bucket struct {
	c     Config
	conn  *s3conn.Bucket
	s3    *s3.Client
	creds func(agentkeys.Wallet) aws.CredentialsProvider
}

// Open checks c and contacts nobody. creds is asked at every call; it is
// awssts.Sessions.Credentials. Errors wrap ErrConfig.
func Open(c Config, creds func(agentkeys.Wallet) aws.CredentialsProvider) (*Bucket, error) {
	if creds == nil {
		return nil, fmt.Errorf("%w: no credentials", ErrConfig)
	}
	conn, err := s3conn.New(s3conn.Config{
		Region: c.Region, Bucket: c.Bucket, Endpoint: c.Endpoint, Plaintext: c.Plaintext, PathStyle: c.PathStyle, Client: c.Client,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &Bucket{c: c, conn: conn, s3: conn.SDK, creds: creds}, nil
}

// as signs a call for w, and counts it in n.
func (b *Bucket) as(w agentkeys.Wallet) (call func(*s3.Options), n *s3conn.Attempts) {
	return b.conn.As(b.creds(w))
}

// version takes an ETag for a version. Its quotes are no part of it.
func version(etag *string) (vault.Version, error) {
	v := vault.Version(strings.Trim(aws.ToString(etag), `"`))
	if !valid(v) {
		return "", fmt.Errorf("%w: an ETag of %d bytes", ErrStore, len(v))
	}
	return v, nil
}

// valid refuses what cannot be a version, above all "*", which any matches.
func valid(v vault.Version) bool {
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

func quote(v vault.Version) *string { return aws.String(`"` + string(v) + `"`) }
