package versity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ProviderARN is the issuer's name in trust policies.
const ProviderARN = "arn:aws:iam::" + Account + ":oidc-provider/" + IssuerHost

// RoleARN is the name of a role.
func RoleARN(role string) string { return "arn:aws:iam::" + Account + ":role/" + role }

// IAM is a client of the administrator's.
func (s *Server) IAM() *iam.Client {
	return iam.New(iam.Options{Region: Region, BaseEndpoint: aws.String(s.STS), Credentials: s.root})
}

// S3 is a client with the given credentials, such as Root's.
func (s *Server) S3(c aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{Region: Region, BaseEndpoint: aws.String(s.Endpoint), Credentials: c, UsePathStyle: true})
}

// PutProvider registers the issuer for the given audiences.
func (s *Server) PutProvider(ctx context.Context, audiences ...string) error {
	_, err := s.IAM().CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(IssuerURL), ClientIDList: audiences, ThumbprintList: []string{s.Thumbprint()},
	})
	if err != nil {
		return fmt.Errorf("versity: register the issuer: %w", err)
	}
	return nil
}

// Role says what a role is. Its documents are JSON.
type Role struct {
	Name          string
	Trust, Policy string
	// Tags are what aws:PrincipalTag is here; a token's are ignored.
	Tags map[string]string
}

// PutRole makes a role, or gives the one that is there other documents.
func (s *Server) PutRole(ctx context.Context, r Role) (arn string, err error) {
	var tags []iamtypes.Tag
	for k, v := range r.Tags {
		tags = append(tags, iamtypes.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	c := s.IAM()
	_, err = c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(r.Name), AssumeRolePolicyDocument: aws.String(r.Trust), Tags: tags})
	if there := new(iamtypes.EntityAlreadyExistsException); errors.As(err, &there) {
		_, err = c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String(r.Name), PolicyDocument: aws.String(r.Trust)})
	}
	if err != nil {
		return "", fmt.Errorf("versity: role %s: %w", r.Name, err)
	}
	_, err = c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String(r.Name), PolicyName: aws.String("agentkeys"), PolicyDocument: aws.String(r.Policy)})
	if err != nil {
		return "", fmt.Errorf("versity: policy of role %s: %w", r.Name, err)
	}
	return RoleARN(r.Name), nil
}

// PutBucket makes a bucket, with versions or without.
func (s *Server) PutBucket(ctx context.Context, name string, versions bool) error {
	c := s.S3(s.root)
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		return fmt.Errorf("versity: bucket %s: %w", name, err)
	}
	if !versions {
		return nil
	}
	_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: aws.String(name), VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		return fmt.Errorf("versity: versions of bucket %s: %w", name, err)
	}
	return nil
}

// PutBucketPolicy replaces the policy of a bucket.
func (s *Server) PutBucketPolicy(ctx context.Context, bucket, policy string) error {
	_, err := s.S3(s.root).PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(policy)})
	if err != nil {
		return fmt.Errorf("versity: policy of bucket %s: %w", bucket, err)
	}
	return nil
}

// Stored returns the SHA-256 of every file that the gateway keeps for buckets
// and their versions, by path: what is there in fact, whatever it answers. The
// gateway's own lock files are left out.
func (s *Server) Stored() (map[string][sha256.Size]byte, error) {
	all := map[string][sha256.Size]byte{}
	for _, root := range []string{"s3", "versions"} {
		err := filepath.WalkDir(filepath.Join(s.dir, root), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == ".vgwlocks":
				return fs.SkipDir
			case d.IsDir():
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(s.dir, path)
			all[rel] = sha256.Sum256(b)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
