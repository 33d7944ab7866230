package cloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// Removal is what Destroy would remove.
type Removal struct {
	Remove []string `json:"remove"`
	// Keep is what stays because it is not marked as ours.
	Keep []string `json:"keep,omitempty"`
	// Objects tells whether the bucket that would be removed holds anything.
	Objects bool `json:"objects"`

	bucket   bool
	roles    []string
	provider bool
	user     string
	mail     []piece
}

// Empty reports whether there is nothing to remove.
func (r Removal) Empty() bool { return len(r.Remove) == 0 }

// PlanRemoval looks for what is ours.
func (c *Cloud) PlanRemoval(ctx context.Context, tell func(string)) (r Removal, err error) {
	tell("looking for what is ours")
	if err := c.planMailRemoval(ctx, &r); err != nil {
		return r, err
	}
	s, err := c.bucketState(ctx)
	if err != nil {
		return r, err
	}
	switch s {
	case ours, fresh:
		r.bucket = true
		r.Remove = append(r.Remove, "bucket "+c.Names.Bucket)
		page, err := c.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &c.Names.Bucket, MaxKeys: aws.Int32(1)})
		if err != nil {
			return r, err
		}
		r.Objects = len(page.Versions)+len(page.DeleteMarkers) > 0
	case foreign:
		r.Keep = append(r.Keep, "bucket "+c.Names.Bucket+", which was there before")
	}
	roles := []string{c.Names.DataRole, c.Names.BrokerRole, c.Names.RouterRole}
	if c.Compatible == VersityGW {
		roles = nil
		for _, w := range c.Wallets {
			roles = append(roles, c.Names.WalletRole(w))
		}
		if have, err := c.userPart(cloudpolicy.Document{}).read(ctx); err != nil {
			return r, err
		} else if have != "" {
			r.user = c.brokerUser()
			r.Remove = append(r.Remove, "policy of user "+r.user)
		}
	}
	for _, name := range roles {
		role, err := c.role(ctx, name)
		switch {
		case errors.Is(err, ErrNotOurs):
			r.Keep = append(r.Keep, "role "+name+", which is not marked as ours")
		case err != nil:
			return r, err
		case role != nil:
			r.roles = append(r.roles, name)
			r.Remove = append(r.Remove, "role "+name)
		}
	}
	provider, err := c.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(c.Names.ProviderARN())})
	switch {
	case isMissing(err):
	case err != nil:
		return r, err
	case c.isMarked(provider.Tags):
		r.provider = true
		r.Remove = append(r.Remove, "identity provider "+c.Names.Issuer)
	default:
		r.Keep = append(r.Keep, "identity provider "+c.Names.Issuer+", which is not marked as ours")
	}
	return r, nil
}

// Destroy removes what r lists, and looks again before each whether it is ours.
// Objects are removed only if deleteData; otherwise a bucket that holds any
// stops it before anything is removed. Mail is stopped first and the roles go
// next: nobody writes into a bucket that is being emptied.
func (c *Cloud) Destroy(ctx context.Context, r Removal, deleteData bool, tell func(string)) error {
	if r.Objects && !deleteData {
		return fmt.Errorf("bucket %s: %w", c.Names.Bucket, ErrNotEmpty)
	}
	for _, p := range r.mail {
		tell("removing " + p.name)
		if err := c.settle(ctx, func() error { return p.do(ctx) }); err != nil && !isMissing(err) {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, name := range r.roles {
		tell("removing role " + name)
		if err := c.removeRole(ctx, name); err != nil {
			return fmt.Errorf("role %s: %w", name, err)
		}
	}
	if r.user != "" {
		tell("removing the policy of user " + r.user)
		_, err := c.iam.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &r.user, PolicyName: aws.String(ourPolicy)})
		if err != nil && !isMissing(err) {
			return fmt.Errorf("policy of user %s: %w", r.user, err)
		}
	}
	if r.provider {
		tell("removing the identity provider")
		_, err := c.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(c.Names.ProviderARN())})
		if err != nil && !isMissing(err) {
			return fmt.Errorf("identity provider: %w", err)
		}
	}
	if !r.bucket {
		return nil
	}
	switch s, err := c.bucketState(ctx); {
	case err != nil:
		return err
	case s == absent:
		return nil
	case s == foreign:
		return fmt.Errorf("bucket %s: %w", c.Names.Bucket, ErrChanged)
	}
	if deleteData {
		tell("removing every version of every object")
		if err := c.empty(ctx); err != nil {
			return fmt.Errorf("emptying the bucket: %w", err)
		}
	}
	tell("removing bucket " + c.Names.Bucket)
	err := c.settle(ctx, func() error {
		_, err := c.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &c.Names.Bucket})
		return err
	})
	if code(err) == "BucketNotEmpty" {
		err = ErrNotEmpty
	}
	if err != nil && !isMissing(err) {
		return fmt.Errorf("bucket %s: %w", c.Names.Bucket, err)
	}
	return nil
}

func (c *Cloud) removeRole(ctx context.Context, name string) error {
	role, err := c.role(ctx, name)
	if role == nil || err != nil {
		return err
	}
	if err := c.dropOtherPolicies(ctx, name); err != nil {
		return err
	}
	if _, err := c.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String(ourPolicy)}); err != nil && !isMissing(err) {
		return err
	}
	return c.settle(ctx, func() error {
		_, err := c.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
		if isMissing(err) {
			return nil
		}
		return err
	})
}

// empty removes every version of every object, a thousand at a time.
func (c *Cloud) empty(ctx context.Context) error {
	for {
		var batch []types.ObjectIdentifier
		full := errors.New("full")
		err := c.eachVersion(ctx, "", func(id types.ObjectIdentifier) error {
			if batch = append(batch, id); len(batch) == 1000 {
				return full
			}
			return nil
		})
		if err != nil && !errors.Is(err, full) {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		out, err := c.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &c.Names.Bucket, Delete: &types.Delete{Objects: batch, Quiet: aws.Bool(true)}})
		if err != nil {
			return err
		}
		if len(out.Errors) > 0 {
			return fmt.Errorf("%s: %s", aws.ToString(out.Errors[0].Key), aws.ToString(out.Errors[0].Code))
		}
	}
}
