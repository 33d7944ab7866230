// Package cloud makes, proves and removes what AgentKeys needs of a cloud: the
// bucket, the issuer's OIDC provider, the roles with the policies of package
// cloudpolicy and, if it is to receive mail, what takes it in and sorts it. It
// speaks to AWS, or to a server that a profile names.
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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ses"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
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
	// ErrNotifies: somebody else's notification of the bucket is about the same
	// objects, and S3 takes one only.
	ErrNotifies = errors.New("another notification is about objects in inbound/ already")
	// ErrPackage: the function's zip cannot be read or is no function.
	ErrPackage = errors.New("the function's package cannot be used")
	// ErrAccount: the credentials are of another account than the configuration.
	ErrAccount = errors.New("the credentials are of another account")
)

// Cloud is a cloud under a configuration. It may be used by one goroutine at a
// time.
type Cloud struct {
	Config
	base   aws.Config
	s3     *s3.Client
	iam    *iam.Client
	sts    *sts.Client
	ses    *ses.Client
	sqs    *sqs.Client
	lambda *lambda.Client
	logs   *cloudwatchlogs.Client
	watch  *cloudwatch.Client
	code   *functionCode // read once

	// Pause is how long to wait before trying again what a change elsewhere in
	// the cloud has not reached yet; it doubles. Zero is half a second.
	Pause time.Duration
	// Tries is how often to try; zero is 8, some minute in all.
	Tries int
}

// Open connects with credentials, or with those of the environment and of
// profile if they are nil. Where the configuration names no endpoints, those of
// AWS's own settings are heeded, such as AWS_ENDPOINT_URL. Nothing is asked of
// the cloud yet.
func Open(ctx context.Context, c Config, credentials aws.CredentialsProvider, profile string) (*Cloud, error) {
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithRegion(c.Names.Region)}
	if credentials != nil {
		options = append(options, awsconfig.WithCredentialsProvider(credentials))
	} else {
		options = append(options, awsconfig.WithSharedConfigProfile(profile))
	}
	base, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS credentials: %w", err)
	}
	base.Logger = logging.Nop{} // its notes are not for who reads our output
	cl := &Cloud{Config: c, base: base}
	cl.s3 = cl.s3As(base.Credentials)
	cl.iam = iam.NewFromConfig(base, func(o *iam.Options) { at(&o.BaseEndpoint, c.Endpoints.IAM) })
	cl.sts = cl.stsAs(base.Credentials)
	cl.ses = ses.NewFromConfig(base, func(o *ses.Options) { o.Region = c.Names.SES.Region })
	cl.sqs = sqs.NewFromConfig(base)
	cl.lambda = lambda.NewFromConfig(base)
	cl.logs = cloudwatchlogs.NewFromConfig(base)
	cl.watch = cloudwatch.NewFromConfig(base)
	return cl, nil
}

// at overrides where a service is, if the configuration says so.
func at(e **string, s string) {
	if s != "" {
		*e = &s
	}
}

func (c *Cloud) s3As(p aws.CredentialsProvider) *s3.Client {
	return s3.NewFromConfig(c.base, func(o *s3.Options) {
		o.Credentials = p
		at(&o.BaseEndpoint, c.Endpoints.S3)
		o.UsePathStyle = c.Endpoints.S3 != ""
	})
}

func (c *Cloud) stsAs(p aws.CredentialsProvider) *sts.Client {
	return sts.NewFromConfig(c.base, func(o *sts.Options) {
		o.Credentials = p
		at(&o.BaseEndpoint, c.Endpoints.STS)
	})
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
		"OwnershipControlsNotFoundError", "ServerSideEncryptionConfigurationNotFoundError", "NotFound", "NoSuchTagSetError", "NoSuchKey",
		"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "ResourceNotFoundException", "ResourceNotFound",
		"RuleSetDoesNotExist", "RuleDoesNotExist":
		return true
	}
	return false
}

// isEarly reports whether err may be of a change that has not reached all of
// the cloud: a role made a second ago is no principal yet.
func isEarly(err error) bool {
	switch code(err) {
	case "NoSuchEntity", "NoSuchBucket", "MalformedPolicy", "MalformedPolicyDocument", "OperationAborted", "ConcurrentModification",
		"ResourceConflictException", "ResourceInUseException", "AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently", "TooManyRequestsException",
		"EntityTemporarilyUnmodifiable", "BucketAlreadyOwnedByYou", "ServiceUnavailable", "SlowDown", "Throttling", "DeleteConflict":
		return true
	case "InvalidParameterValueException", "InvalidArgument", "InvalidS3Configuration":
		// Lambda, S3 and SES look at once whether they may use a role, a queue or a
		// bucket, and the policy that lets them may still be on its way.
		text := strings.ToLower(err.Error())
		return strings.Contains(text, "cannot be assumed") || strings.Contains(text, "execution role does not have permissions") ||
			strings.Contains(text, "unable to validate the following destination") || strings.Contains(text, "could not write to bucket")
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
