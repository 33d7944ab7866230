// Package s3conn owns the way to an S3 server that every adapter goes: the
// checks of what is configured, a client that takes nothing elsewhere, the
// SDK's settings, and one plain signed request. What is asked for, and what an
// answer means, is the adapters' business. It depends on the AWS SDK only.
//
// Laws:
//   - Nothing is read that was not given: no environment, no ~/.aws, no
//     instance metadata.
//   - Redirects are not followed and proxies not asked.
//   - Nothing crosses a network in the clear unless that was asked for.
package s3conn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Config says where a bucket is.
type Config struct {
	Region, Bucket string
	// Endpoint is AWS's for the region if empty. It is https, except on
	// loopback addresses or if Plaintext.
	Endpoint  string
	Plaintext bool
	// PathStyle puts the bucket into the path, not into the host, as most
	// servers other than AWS want it.
	PathStyle bool
	// Client, if nil, is one that follows no redirects and knows no proxy.
	Client aws.HTTPClient
}

// Bucket is a way to one bucket, without credentials. Any number of goroutines
// may use it.
type Bucket struct {
	// SDK is the SDK's client, whose calls need As.
	SDK *s3.Client

	base   url.URL // of the bucket, by the SDK's own rules
	region string
	signer *v4.Signer
	client aws.HTTPClient
	retry  aws.RetryerV2
}

// New checks c and contacts nobody.
func New(c Config) (*Bucket, error) {
	switch {
	case c.Region == "":
		return nil, errors.New("region is empty: name the bucket's, such as eu-central-1")
	case !validBucket(c.Bucket):
		return nil, fmt.Errorf("%q is no bucket name, which has 3 to 63 of a-z, 0-9, dots and hyphens", c.Bucket)
	case strings.HasSuffix(c.Bucket, "--x-s3"):
		return nil, fmt.Errorf("%q is a directory bucket, which lists in no order: use a general purpose one", c.Bucket)
	case strings.Contains(c.Bucket, ".") && !c.PathStyle:
		return nil, fmt.Errorf("bucket %q has a dot, which no TLS certificate of the store's covers: choose another or path style", c.Bucket)
	}
	o := s3.Options{
		Region:       c.Region,
		UsePathStyle: c.PathStyle,
		HTTPClient:   c.Client,
		// Writes carry their own SHA-256, and what is read is authenticated by
		// its envelope, or is mail.
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
	}
	p := s3.EndpointParameters{Bucket: &c.Bucket, Region: &c.Region, ForcePathStyle: &c.PathStyle}.WithDefaults()
	if c.Endpoint != "" {
		if err := CheckEndpoint(c.Endpoint, "s3", c.Plaintext); err != nil {
			return nil, err
		}
		o.BaseEndpoint, p.Endpoint = &c.Endpoint, &c.Endpoint
	}
	if c.Client == nil {
		o.HTTPClient = Client(32, time.Minute)
	}
	e, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), p)
	if err != nil {
		return nil, err
	}
	return &Bucket{
		SDK: s3.New(o), base: e.URI, region: c.Region, client: o.HTTPClient,
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // as S3 wants it
		// What may help is repeated, with the SDK's back-off, and also what S3
		// answers where two conditional calls met: nothing was done, try again.
		retry: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 5
			o.MaxBackoff = time.Second
			o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{
				"ConditionalRequestConflict": {}, "OperationAborted": {},
			}})
		}),
	}, nil
}

// validBucket is from the documentation of S3's bucket names, for buckets of
// today. No regular expression: some programs are started for one message.
func validBucket(s string) bool {
	if len(s) < 3 || len(s) > 63 || strings.Contains(s, "..") || strings.Trim(s, ".-") != s {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// Client follows no redirect, which could take a secret elsewhere, and asks no
// environment for a proxy. It keeps up to idle connections, and gives a call up
// after patience.
func Client(idle int, patience time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = idle
	return &http.Client{
		Transport:     t,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CheckEndpoint checks the address of a service of AWS's, such as "s3": a
// session or a token on the wire is a session to whoever reads it.
func CheckEndpoint(s, service string, plaintext bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("endpoint is no address such as https://%s.eu-central-1.amazonaws.com", service)
	}
	if u.Scheme == "http" && !plaintext && !loopback(u.Hostname()) {
		return fmt.Errorf("endpoint %s is not https, and sessions would cross the network in the clear: use https", u.Host)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Attempts counts how often one call was sent.
type Attempts struct {
	aws.RetryerV2
	N int
}

// GetAttemptToken implements aws.RetryerV2.
func (a *Attempts) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	a.N++
	return a.RetryerV2.GetAttemptToken(ctx)
}

// As signs a call of the SDK's client with creds, and counts it in n.
func (b *Bucket) As(creds aws.CredentialsProvider) (call func(*s3.Options), n *Attempts) {
	n = &Attempts{RetryerV2: b.retry}
	return func(o *s3.Options) {
		o.Credentials = creds
		o.Retryer = n
	}, n
}
