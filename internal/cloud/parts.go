package cloud

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// ourPolicy is the name of the one inline policy that a role has.
const ourPolicy = "agentkeys"

// maxSession is the longest session of a role in seconds: the least IAM takes.
const maxSession = 3600

// Why a server goes without, by profile.
const (
	noSettings  = "VersityGW answers 501: the store encrypts and blocks by its own configuration"
	noLifecycle = "VersityGW answers 501: nothing expires"
	noRouter    = "VersityGW has no Lambda"
	noMail      = "VersityGW has no SES, SQS and Lambda: 'agentkeys mail serve' receives and sorts mail there"
	noBroker    = "VersityGW has no sts:AssumeRole: the broker is the user whom broker.principal names"
)

// parts are all there is to set, in the order in which they depend on each
// other: a bucket's policy comes after the roles, because until then they reach
// nothing, and mail comes last, when all that sorts it is there.
func (c *Cloud) parts() []part {
	list := []part{c.providerPart()}
	n := c.Names
	if c.Compatible == VersityGW {
		for _, w := range c.Wallets {
			form := cloudpolicy.Bare(w)
			list = append(list, c.roleParts(n.WalletRole(w), cloudpolicy.DataTrust(n, form), cloudpolicy.DataPermissions(n, form))...)
		}
		list = append(list,
			part{name: "role " + n.BrokerRole, left: noBroker}, c.userPart(cloudpolicy.BrokerPermissions(n)),
			part{name: "role " + n.RouterRole, left: noRouter})
	} else {
		form := cloudpolicy.Variables()
		list = append(list, c.roleParts(n.DataRole, cloudpolicy.DataTrust(n, form), cloudpolicy.DataPermissions(n, form))...)
		list = append(list, c.roleParts(n.BrokerRole, cloudpolicy.BrokerTrust(n), cloudpolicy.BrokerPermissions(n))...)
		list = append(list, c.roleParts(n.RouterRole, cloudpolicy.RouterTrust(n), cloudpolicy.RouterPermissions(n))...)
	}
	before, after := c.mailParts()
	list = append(list, before...)
	list = append(list, c.bucketParts()...)
	return append(list, after...)
}

func (c *Cloud) providerPart() part {
	type provider struct {
		Issuer     string
		Audience   string
		Thumbprint string `json:",omitempty"`
	}
	arn := c.Names.ProviderARN()
	get := func(ctx context.Context) (*iam.GetOpenIDConnectProviderOutput, error) {
		out, err := c.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		if isMissing(err) {
			return nil, nil
		}
		return out, err
	}
	return part{
		name: "identity provider " + c.Names.Issuer,
		want: pretty(provider{c.Names.Issuer, cloudpolicy.Audience, c.Thumbprint}),
		read: func(ctx context.Context) (string, error) {
			out, err := get(ctx)
			if err != nil || out == nil {
				return "", err
			}
			have := provider{Issuer: c.Names.Issuer}
			if slices.Contains(out.ClientIDList, cloudpolicy.Audience) { // others do no harm: the trust policy names ours
				have.Audience = cloudpolicy.Audience
			}
			if c.Thumbprint != "" {
				have.Thumbprint = strings.Join(out.ThumbprintList, " ")
			}
			return pretty(have), nil
		},
		write: func(ctx context.Context) error {
			out, err := get(ctx)
			if err != nil {
				return err
			}
			var thumbprints []string
			if c.Thumbprint != "" {
				thumbprints = []string{c.Thumbprint}
			}
			if out == nil {
				_, err := c.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
					Url: &c.Names.Issuer, ClientIDList: []string{cloudpolicy.Audience}, ThumbprintList: thumbprints, Tags: c.mark(),
				})
				return err
			}
			if !slices.Contains(out.ClientIDList, cloudpolicy.Audience) {
				if _, err := c.iam.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
					OpenIDConnectProviderArn: &arn, ClientID: aws.String(cloudpolicy.Audience),
				}); err != nil {
					return err
				}
			}
			if thumbprints != nil && !slices.Equal(thumbprints, out.ThumbprintList) {
				_, err = c.iam.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{
					OpenIDConnectProviderArn: &arn, ThumbprintList: thumbprints,
				})
			}
			return err
		},
	}
}

func (c *Cloud) mark() []iamtypes.Tag {
	return []iamtypes.Tag{{Key: aws.String(Mark), Value: aws.String(c.Names.Bucket)}}
}

func (c *Cloud) isMarked(tags []iamtypes.Tag) bool {
	return slices.ContainsFunc(tags, func(t iamtypes.Tag) bool {
		return aws.ToString(t.Key) == Mark && aws.ToString(t.Value) == c.Names.Bucket
	})
}

// role returns a role that is ours, nil if there is none of that name, or
// ErrNotOurs.
func (c *Cloud) role(ctx context.Context, name string) (*iamtypes.Role, error) {
	out, err := c.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	tags, err := c.iam.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: &name})
	if err != nil {
		return nil, err
	}
	if !c.isMarked(tags.Tags) {
		return nil, fmt.Errorf("%w: choose another name under roles, or tag it %s = %s to have it taken over", ErrNotOurs, Mark, c.Names.Bucket)
	}
	return out.Role, nil
}

func (c *Cloud) roleParts(name string, trust, permissions cloudpolicy.Document) []part {
	const seconds = `{"MaxSessionDuration": %d}` + "\n"
	session := part{
		name: "role " + name, want: fmt.Sprintf(seconds, maxSession),
		read: func(ctx context.Context) (string, error) {
			r, err := c.role(ctx, name)
			if r == nil || err != nil {
				return "", err
			}
			return fmt.Sprintf(seconds, aws.ToInt32(r.MaxSessionDuration)), nil
		},
		write: func(ctx context.Context) error {
			r, err := c.role(ctx, name)
			if err != nil {
				return err
			}
			if r == nil {
				_, err = c.iam.CreateRole(ctx, &iam.CreateRoleInput{
					RoleName: &name, AssumeRolePolicyDocument: aws.String(string(trust.Compact())), MaxSessionDuration: aws.Int32(maxSession), Tags: c.mark(),
					Description: aws.String("AgentKeys, see agentkeys cloud"),
				})
				return err
			}
			_, err = c.iam.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: &name, MaxSessionDuration: aws.Int32(maxSession)})
			return err
		},
	}
	others := part{
		name: "role " + name + ": other policies",
		read: func(ctx context.Context) (string, error) {
			list, err := c.otherPolicies(ctx, name)
			if len(list) == 0 {
				return "", err
			}
			return strings.Join(list, "\n") + "\n", err
		},
		write: func(ctx context.Context) error { return c.dropOtherPolicies(ctx, name) },
	}
	if c.Compatible == VersityGW {
		// It cannot change a role's longest session, and says 3600 s anyway.
		session.equal = func(have string) bool { return have != "" }
		session.want = "there\n"
	}
	return []part{
		session,
		{
			name: "role " + name + ": trust", kind: cloudpolicy.Trust, want: string(trust.Indented()),
			read: func(ctx context.Context) (string, error) {
				r, err := c.role(ctx, name)
				if r == nil || err != nil {
					return "", err
				}
				return policyText(aws.ToString(r.AssumeRolePolicyDocument)), nil
			},
			write: func(ctx context.Context) error {
				_, err := c.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: aws.String(string(trust.Compact()))})
				return err
			},
		},
		{
			name: "role " + name + ": policy", kind: cloudpolicy.Identity, want: string(permissions.Indented()),
			read: func(ctx context.Context) (string, error) {
				out, err := c.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String(ourPolicy)})
				if isMissing(err) {
					return "", nil
				}
				if err != nil {
					return "", err
				}
				return policyText(aws.ToString(out.PolicyDocument)), nil
			},
			write: func(ctx context.Context) error {
				_, err := c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String(ourPolicy), PolicyDocument: aws.String(string(permissions.Compact()))})
				return err
			},
		},
		others,
	}
}

// policyText reads a policy as IAM returns it, URL-encoded.
func policyText(s string) string {
	if !strings.HasPrefix(strings.TrimSpace(s), "{") {
		if plain, err := url.PathUnescape(s); err == nil {
			s = plain
		}
	}
	return canonical(s)
}

// otherPolicies are a role's policies but ours, which would widen it.
func (c *Cloud) otherPolicies(ctx context.Context, role string) (list []string, err error) {
	inline := iam.NewListRolePoliciesPaginator(c.iam, &iam.ListRolePoliciesInput{RoleName: &role})
	for inline.HasMorePages() {
		page, err := inline.NextPage(ctx)
		if isMissing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, name := range page.PolicyNames {
			if name != ourPolicy {
				list = append(list, "inline "+name)
			}
		}
	}
	if c.Compatible == VersityGW {
		return list, nil // it has inline policies only
	}
	attached := iam.NewListAttachedRolePoliciesPaginator(c.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	for attached.HasMorePages() {
		page, err := attached.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range page.AttachedPolicies {
			list = append(list, "attached "+aws.ToString(p.PolicyArn))
		}
	}
	return list, nil
}

func (c *Cloud) dropOtherPolicies(ctx context.Context, role string) error {
	list, err := c.otherPolicies(ctx, role)
	if err != nil {
		return err
	}
	for _, p := range list {
		kind, name, _ := strings.Cut(p, " ")
		if kind == "inline" {
			_, err = c.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &role, PolicyName: &name})
		} else {
			_, err = c.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &role, PolicyArn: &name})
		}
		if err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// brokerUser is the name of the user whom broker.principal names.
func (c *Cloud) brokerUser() string {
	return c.Names.Broker[strings.LastIndexByte(c.Names.Broker, '/')+1:]
}

// userPart gives the broker's policy to a user, where there is no role to take.
func (c *Cloud) userPart(permissions cloudpolicy.Document) part {
	user := c.brokerUser()
	return part{
		name: "user " + user + ": policy", kind: cloudpolicy.Identity, want: string(permissions.Indented()),
		read: func(ctx context.Context) (string, error) {
			out, err := c.iam.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: &user, PolicyName: aws.String(ourPolicy)})
			if isMissing(err) {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return policyText(aws.ToString(out.PolicyDocument)), nil
		},
		write: func(ctx context.Context) error {
			_, err := c.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String(ourPolicy), PolicyDocument: aws.String(string(permissions.Compact()))})
			return err
		},
	}
}

// dataRole is the role that a wallet's session takes.
func (c Config) dataRole(w agentkeys.Wallet) string {
	if c.Compatible == VersityGW {
		return c.Names.RoleARN(c.Names.WalletRole(w))
	}
	return c.Names.RoleARN(c.Names.DataRole)
}
