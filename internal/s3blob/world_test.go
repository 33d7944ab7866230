package s3blob_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// sessions are real ones, of the cloud's STS.
func sessions(t testing.TB, c *cloudtest.Cloud) func(agentkeys.Wallet) aws.CredentialsProvider {
	t.Helper()
	s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: c.STS, RoleARN: cloudtest.Roles}, c.Token)
	if err != nil {
		t.Fatal(err)
	}
	return s.Credentials
}

func config(c *cloudtest.Cloud) s3blob.Config {
	return s3blob.Config{Region: versity.Region, Bucket: cloudtest.Bucket, Endpoint: c.Endpoint, PathStyle: true, ClaimDeletes: true}
}

func open(t testing.TB, c s3blob.Config, creds func(agentkeys.Wallet) aws.CredentialsProvider) *s3blob.Bucket {
	t.Helper()
	b, err := s3blob.Open(c, creds)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
