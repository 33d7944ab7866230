package cloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// state is whose the bucket is.
type state int

const (
	absent state = iota
	ours
	fresh   // made and not marked: an apply was interrupted
	foreign // imported: tightened, and never removed
)

func (c *Cloud) bucketState(ctx context.Context) (state, error) {
	b := &c.Names.Bucket
	if _, err := c.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: b}); isMissing(err) {
		return absent, nil
	} else if err != nil {
		return absent, fmt.Errorf("bucket %s: %w", *b, err)
	}
	tags, err := c.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: b})
	if err != nil && !isMissing(err) {
		return absent, err
	}
	if err == nil && len(tags.TagSet) > 0 {
		if slices.ContainsFunc(tags.TagSet, func(t types.Tag) bool { return aws.ToString(t.Key) == Mark && aws.ToString(t.Value) == *b }) {
			return ours, nil
		}
		return foreign, nil
	}
	_, policy := c.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: b})
	versions, err := c.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: b, MaxKeys: aws.Int32(1)})
	if err != nil {
		return absent, err
	}
	if isMissing(policy) && len(versions.Versions) == 0 && len(versions.DeleteMarkers) == 0 {
		return fresh, nil
	}
	return foreign, nil
}

func (c *Cloud) bucketParts() []part {
	b, name := &c.Names.Bucket, "bucket "+c.Names.Bucket
	// setting reads what a bucket may have none of.
	setting := func(read func(ctx context.Context) (string, error)) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			text, err := read(ctx)
			if isMissing(err) {
				return "", nil
			}
			return text, err
		}
	}
	list := []part{
		c.bucketPart(name),
		{
			name: name + ": ownership", want: string(types.ObjectOwnershipBucketOwnerEnforced) + "\n",
			read: setting(func(ctx context.Context) (string, error) {
				out, err := c.s3.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: b})
				if err != nil || out.OwnershipControls == nil || len(out.OwnershipControls.Rules) == 0 {
					return "", err
				}
				return string(out.OwnershipControls.Rules[0].ObjectOwnership) + "\n", nil
			}),
			write: func(ctx context.Context) error {
				_, err := c.s3.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: b, OwnershipControls: &types.OwnershipControls{
					Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}},
				}})
				return err
			},
		},
		{
			name: name + ": public access", want: pretty(cloudpolicy.NoPublicAccess()),
			read: setting(func(ctx context.Context) (string, error) {
				out, err := c.s3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: b})
				if err != nil || out.PublicAccessBlockConfiguration == nil {
					return "", err
				}
				p := out.PublicAccessBlockConfiguration
				return pretty(cloudpolicy.PublicAccessBlock{
					BlockPublicAcls: aws.ToBool(p.BlockPublicAcls), IgnorePublicAcls: aws.ToBool(p.IgnorePublicAcls),
					BlockPublicPolicy: aws.ToBool(p.BlockPublicPolicy), RestrictPublicBuckets: aws.ToBool(p.RestrictPublicBuckets),
				}), nil
			}),
			write: func(ctx context.Context) error {
				yes := aws.Bool(true)
				_, err := c.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: b, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: yes, IgnorePublicAcls: yes, BlockPublicPolicy: yes, RestrictPublicBuckets: yes,
				}})
				return err
			},
		},
		{
			name: name + ": versioning", want: string(types.BucketVersioningStatusEnabled) + "\n",
			read: setting(func(ctx context.Context) (string, error) {
				out, err := c.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: b})
				if err != nil || out.Status == "" {
					return "", err
				}
				return string(out.Status) + "\n", nil
			}),
			write: func(ctx context.Context) error {
				_, err := c.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: b, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
				return err
			},
		},
		{
			name: name + ": encryption", want: string(types.ServerSideEncryptionAes256) + "\n",
			equal: func(have string) bool { return have != "" }, // with a KMS key is as good
			read: setting(func(ctx context.Context) (string, error) {
				out, err := c.s3.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: b})
				if err != nil || out.ServerSideEncryptionConfiguration == nil {
					return "", err
				}
				for _, r := range out.ServerSideEncryptionConfiguration.Rules {
					if d := r.ApplyServerSideEncryptionByDefault; d != nil {
						return string(d.SSEAlgorithm) + "\n", nil
					}
				}
				return "", nil
			}),
			write: func(ctx context.Context) error {
				_, err := c.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: b, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
					Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256}}},
				}})
				return err
			},
		},
		c.lifecyclePart(name),
		{
			name: name + ": policy", kind: cloudpolicy.Bucket, want: string(cloudpolicy.BucketPolicy(c.Names, c.form()).Indented()),
			read: setting(func(ctx context.Context) (string, error) {
				out, err := c.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: b})
				if err != nil {
					return "", err
				}
				return canonical(aws.ToString(out.Policy)), nil
			}),
			write: func(ctx context.Context) error {
				text := string(cloudpolicy.BucketPolicy(c.Names, c.form()).Compact())
				_, err := c.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: b, Policy: &text})
				return err
			},
		},
	}
	if c.Compatible == VersityGW {
		for i := range list {
			switch strings.TrimPrefix(list[i].name, name+": ") {
			case "public access", "encryption":
				list[i].left = noSettings
			case "lifecycle":
				list[i].left = noLifecycle
			}
		}
	}
	return list
}

func (c *Cloud) bucketPart(name string) part {
	b := &c.Names.Bucket
	return part{
		name: name, want: "marked " + Mark + "\n",
		equal: func(have string) bool { return have == "marked "+Mark+"\n" || have == "imported\n" },
		read: func(ctx context.Context) (string, error) {
			s, err := c.bucketState(ctx)
			return map[state]string{absent: "", ours: "marked " + Mark + "\n", fresh: "unmarked and empty\n", foreign: "imported\n"}[s], err
		},
		write: func(ctx context.Context) error {
			s, err := c.bucketState(ctx)
			if err != nil {
				return err
			}
			if s == absent {
				in := &s3.CreateBucketInput{Bucket: b}
				if c.Compatible == "" && c.Names.Region != "us-east-1" {
					in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(c.Names.Region)}
				}
				if _, err := c.s3.CreateBucket(ctx, in); err != nil && code(err) != "BucketAlreadyOwnedByYou" {
					return err
				}
			}
			_, err = c.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: b, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String(Mark), Value: b}}}})
			return err
		},
	}
}

// rule is a lifecycle rule of ours, as it is compared.
type rule struct {
	ID              string
	Prefix          string
	Tag             string `json:",omitempty"` // key=value; of more than one, all
	ExpireDays      int32  `json:",omitempty"`
	VersionDays     int32  `json:",omitempty"`
	AbortUploadDays int32  `json:",omitempty"`
}

// rules expire what nobody reads again: mail, and what stands behind a newer
// version or a deletion. What the router wrote is known by its tag, since a
// prefix has no wildcards and sealed keys lie below bots/ too.
func (c *Cloud) rules() []rule {
	return []rule{
		{ID: "agentkeys-mail", Prefix: "inbound/", ExpireDays: int32(c.MailDays)},
		{ID: "agentkeys-sorted", Tag: cloudpolicy.MailTag + "=" + cloudpolicy.MailTagValue, ExpireDays: int32(c.MailDays)},
		{ID: "agentkeys-versions", VersionDays: int32(c.VersionDays), AbortUploadDays: 1},
	}
}

// filter is what r is about, as S3 takes it.
func (r rule) filter() *types.LifecycleRuleFilter {
	if key, value, ok := strings.Cut(r.Tag, "="); ok {
		return &types.LifecycleRuleFilter{Tag: &types.Tag{Key: &key, Value: &value}}
	}
	return &types.LifecycleRuleFilter{Prefix: &r.Prefix}
}

// read takes a filter for what it is; sizes, which ours have not, it shows as
// what no rule of ours has.
func (r *rule) read(f *types.LifecycleRuleFilter) {
	if f == nil {
		return
	}
	r.Prefix = aws.ToString(f.Prefix)
	tags, and := []types.Tag{}, f.And
	if f.Tag != nil {
		tags = append(tags, *f.Tag)
	}
	sized := f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
	if and != nil {
		r.Prefix += aws.ToString(and.Prefix)
		tags = append(tags, and.Tags...)
		sized = sized || and.ObjectSizeGreaterThan != nil || and.ObjectSizeLessThan != nil
	}
	var list []string
	for _, t := range tags {
		list = append(list, aws.ToString(t.Key)+"="+aws.ToString(t.Value))
	}
	if sized {
		list = append(list, "and a size")
	}
	r.Tag = strings.Join(list, " ")
}

func (c *Cloud) lifecyclePart(name string) part {
	b := &c.Names.Bucket
	get := func(ctx context.Context) ([]types.LifecycleRule, error) {
		out, err := c.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: b})
		if isMissing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return out.Rules, nil
	}
	isOurs := func(r types.LifecycleRule) bool { return strings.HasPrefix(aws.ToString(r.ID), "agentkeys-") }
	return part{
		name: name + ": lifecycle", want: pretty(c.rules()),
		read: func(ctx context.Context) (string, error) {
			all, err := get(ctx)
			var have []rule
			for _, r := range all {
				if !isOurs(r) || r.Status != types.ExpirationStatusEnabled {
					continue // the user's own rules stay as they are
				}
				h := rule{ID: aws.ToString(r.ID)}
				h.read(r.Filter)
				if r.Expiration != nil {
					h.ExpireDays = aws.ToInt32(r.Expiration.Days)
				}
				if r.NoncurrentVersionExpiration != nil {
					h.VersionDays = aws.ToInt32(r.NoncurrentVersionExpiration.NoncurrentDays)
				}
				if r.AbortIncompleteMultipartUpload != nil {
					h.AbortUploadDays = aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation)
				}
				have = append(have, h)
			}
			if err != nil || have == nil {
				return "", err
			}
			slices.SortFunc(have, func(x, y rule) int { return strings.Compare(x.ID, y.ID) })
			return pretty(have), nil
		},
		write: func(ctx context.Context) error {
			all, err := get(ctx)
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, isOurs)
			for _, r := range c.rules() {
				t := types.LifecycleRule{ID: &r.ID, Status: types.ExpirationStatusEnabled, Filter: r.filter()}
				if r.ExpireDays > 0 {
					t.Expiration = &types.LifecycleExpiration{Days: &r.ExpireDays}
				}
				if r.VersionDays > 0 {
					t.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: &r.VersionDays}
					t.Expiration = &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)}
				}
				if r.AbortUploadDays > 0 {
					t.AbortIncompleteMultipartUpload = &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: &r.AbortUploadDays}
				}
				all = append(all, t)
			}
			_, err = c.s3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: b, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: all}})
			return err
		},
	}
}
