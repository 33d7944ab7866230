// Package cloud makes, proves and removes what AgentKeys needs of a cloud: the
// bucket, the issuer's OIDC provider, and the roles with the policies of
// package cloudpolicy. It speaks to S3, IAM and STS, of AWS or of a server that
// a profile names.
//
// Laws:
//   - Nothing is changed that a Plan did not show, and a change that somebody
//     made after the plan stops it.
//   - Apply can be repeated and resumed: it changes what differs and nothing
//     else, and a second plan is empty.
//   - What is not marked as ours is never removed, and a role that is not ours
//     is not taken over.
//   - What a server cannot do is left out by its profile, by name, in every plan
//     and report; it is never skipped because it failed.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// The tag that marks what is ours; its value is the bucket's name.
const Mark = "agentkeys:managed"

var (
	// ErrNotOurs: something of that name is there, and is not marked as ours.
	ErrNotOurs = errors.New("it is there already and is not ours")
	// ErrChanged: somebody changed something after the plan was made.
	ErrChanged = errors.New("it changed after the plan was made")
	// ErrNotEmpty: the bucket has objects.
	ErrNotEmpty = errors.New("the bucket is not empty")
	// ErrAccount: the credentials are of another account than the configuration.
	ErrAccount = errors.New("the credentials are of another account")
)

// Cloud is a cloud under a configuration. It may be used by one goroutine at a
// time.
type Cloud struct {
	Config
	s3          *s3.Client
	iam         *iam.Client
	sts         *sts.Client
	credentials aws.CredentialsProvider

	// Pause is how long to wait before trying again what a change elsewhere in
	// the cloud has not reached yet; it doubles. Zero is half a second.
	Pause time.Duration
	// Tries is how often to try; zero is 8, some minute in all.
	Tries int
}

// Open connects with credentials, or with those of the environment and of
// profile if they are nil. Nothing is asked of the cloud yet.
func Open(ctx context.Context, c Config, credentials aws.CredentialsProvider, profile string) (*Cloud, error) {
	if credentials == nil {
		ac, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Names.Region), awsconfig.WithSharedConfigProfile(profile))
		if err != nil {
			return nil, fmt.Errorf("reading the AWS credentials: %w", err)
		}
		credentials = ac.Credentials
	}
	cl := &Cloud{Config: c, credentials: credentials}
	cl.s3 = cl.s3As(credentials)
	cl.iam = iam.New(iam.Options{Region: c.Names.Region, Credentials: credentials, BaseEndpoint: endpoint(c.Endpoints.IAM)})
	cl.sts = cl.stsAs(credentials)
	return cl, nil
}

func endpoint(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (c *Cloud) s3As(p aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{Region: c.Names.Region, Credentials: p, BaseEndpoint: endpoint(c.Endpoints.S3), UsePathStyle: c.Endpoints.S3 != ""})
}

func (c *Cloud) stsAs(p aws.CredentialsProvider) *sts.Client {
	return sts.New(sts.Options{Region: c.Names.Region, Credentials: p, BaseEndpoint: endpoint(c.Endpoints.STS)})
}

// CheckAccount asks whose credentials these are, so that nothing is made in the
// wrong account.
func (c *Cloud) CheckAccount(ctx context.Context) (arn string, err error) {
	who, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", fmt.Errorf("asking who these credentials are: %w", err)
	}
	if aws.ToString(who.Account) != c.Names.Account {
		return "", fmt.Errorf("%w: %s, and cloud.yaml says %s", ErrAccount, aws.ToString(who.Account), c.Names.Account)
	}
	return aws.ToString(who.Arn), nil
}

// code is the error code of an answer of the API.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// isMissing reports whether err says that what was asked for is not there.
func isMissing(err error) bool {
	switch code(err) {
	case "NoSuchEntity", "NoSuchBucket", "NoSuchBucketPolicy", "NoSuchLifecycleConfiguration", "NoSuchPublicAccessBlockConfiguration", "NoSuchTagSet",
		"OwnershipControlsNotFoundError", "ServerSideEncryptionConfigurationNotFoundError", "NotFound", "NoSuchTagSetError", "NoSuchKey":
		return true
	}
	return false
}

// isEarly reports whether err may be of a change that has not reached all of
// the cloud: a role made a second ago is no principal yet.
func isEarly(err error) bool {
	switch code(err) {
	case "NoSuchEntity", "NoSuchBucket", "MalformedPolicy", "MalformedPolicyDocument", "OperationAborted", "ConcurrentModification",
		"EntityTemporarilyUnmodifiable", "BucketAlreadyOwnedByYou", "ServiceUnavailable", "SlowDown", "Throttling", "DeleteConflict":
		return true
	}
	return false
}

// settle tries do until it succeeds, fails for good, or has had its chances.
func (c *Cloud) settle(ctx context.Context, do func() error) error {
	pause, tries := c.Pause, c.Tries
	if pause == 0 {
		pause = 500 * time.Millisecond
	}
	if tries == 0 {
		tries = 8
	}
	for try := 1; ; try++ {
		err := do()
		if err == nil || !isEarly(err) || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
			pause *= 2
		}
	}
}
