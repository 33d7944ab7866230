// Package s3blob keeps vault.Blobs in a bucket of S3 or of a server that speaks
// its protocol. Each call is signed with the session of the wallet whose key it
// is about, so that the store itself keeps wallets apart. It depends on vault
// and on the AWS SDK; whence credentials come it does not know.
//
// Laws:
//   - Nothing is read that was not given: no environment, no ~/.aws, no
//     instance metadata.
//   - Every write is conditional, and every read is bounded.
//   - What was asked for twice because an answer was lost is not taken for
//     somebody else's write.
package s3blob

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
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
	s3    *s3.Client
	creds func(agentkeys.Wallet) aws.CredentialsProvider
	retry aws.RetryerV2
	quick *quick
}

// From the documentation of S3's bucket names, for buckets of today.
var bucketShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`) })

// Open checks c and contacts nobody. creds is asked at every call; it is
// awssts.Sessions.Credentials. Errors wrap ErrConfig.
func Open(c Config, creds func(agentkeys.Wallet) aws.CredentialsProvider) (*Bucket, error) {
	switch {
	case creds == nil:
		return nil, fmt.Errorf("%w: no credentials", ErrConfig)
	case c.Region == "":
		return nil, fmt.Errorf("%w: region is empty: name the bucket's, such as eu-central-1", ErrConfig)
	case !bucketShape().MatchString(c.Bucket) || strings.Contains(c.Bucket, ".."):
		return nil, fmt.Errorf("%w: %q is no bucket name, which has 3 to 63 of a-z, 0-9, dots and hyphens", ErrConfig, c.Bucket)
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return nil, fmt.Errorf("%w: %q is a directory bucket, which lists in no order: use a general purpose one", ErrConfig, c.Bucket)
	case strings.Contains(c.Bucket, ".") && !c.PathStyle:
		return nil, fmt.Errorf("%w: bucket %q has a dot, which no TLS certificate of the store's covers: choose another or path style", ErrConfig, c.Bucket)
	}
	o := s3.Options{
		Region:       c.Region,
		UsePathStyle: c.PathStyle,
		HTTPClient:   c.Client,
		// Writes carry SHA-256, below; what is read is authenticated by its envelope.
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
	}
	if c.Endpoint != "" {
		if err := checkEndpoint(c.Endpoint, c.Plaintext); err != nil {
			return nil, err
		}
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	if c.Client == nil {
		o.HTTPClient = client()
	}
	// What may help is repeated, with the SDK's back-off, and also what S3
	// answers where two conditional calls met: nothing was done, try again.
	again := retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 5
		o.MaxBackoff = time.Second
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
			"ConditionalRequestConflict": {}, "OperationAborted": {},
		}})
	})
	q, err := newQuick(c, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	return &Bucket{c: c, s3: s3.New(o), creds: creds, retry: again, quick: q}, nil
}

// client follows no redirect, which could take a secret elsewhere, and asks no
// environment for a proxy.
func client() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = 32
	return &http.Client{
		Transport:     t,
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkEndpoint: a session token on the wire is a session to whoever reads it.
func checkEndpoint(s string, plaintext bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%w: endpoint is no address such as https://s3.eu-central-1.amazonaws.com", ErrConfig)
	}
	if u.Scheme == "http" && !plaintext && !loopback(u.Hostname()) {
		return fmt.Errorf("%w: endpoint %s is not https, and sessions would cross the network in the clear: use https", ErrConfig, u.Host)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// attempts counts how often one call was sent.
type attempts struct {
	aws.RetryerV2
	n int
}

func (a *attempts) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	a.n++
	return a.RetryerV2.GetAttemptToken(ctx)
}

// as signs a call for w, and counts it in n.
func (b *Bucket) as(w agentkeys.Wallet) (call func(*s3.Options), n *attempts) {
	n = &attempts{RetryerV2: b.retry}
	return func(o *s3.Options) {
		o.Credentials = b.creds(w)
		o.Retryer = n
	}, n
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
