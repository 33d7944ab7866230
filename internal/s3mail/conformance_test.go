package s3mail_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// TestConformance on what S3 says it does: copies by the server.
func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*standIn){"plain": func(*standIn) {}, "hiding and vague": func(s *standIn) { s.hide, s.vague = true, true }} {
		t.Run(name, func(t *testing.T) {
			mailstoretest.Run(t, func(t *testing.T) mailstoretest.World {
				s := newStandIn(t)
				change(s)
				return s.world(t)
			})
		})
	}
}

func (s *standIn) world(t *testing.T) mailstoretest.World {
	return mailstoretest.World{
		Store: s.open(t), Other: s.open(t),
		Objects: func(testing.TB) map[string][]byte {
			s.mu.Lock()
			defer s.mu.Unlock()
			all := map[string][]byte{}
			for k, o := range s.objects {
				all[k] = o.data
			}
			return all
		},
		Plant: func(_ testing.TB, key string, data []byte) { s.put(key, data) },
	}
}

// TestConformanceOnRealServer has a server that nobody here wrote, and its STS,
// whose sessions do the reading of inboxes.
func TestConformanceOnRealServer(t *testing.T) {
	var wallets []agentkeys.Wallet
	for _, n := range []byte{0, 1, 2, 3, 0x10, 0x11, 0x12} {
		wallets = append(wallets, mailstoretest.Wallet(n))
	}
	cloud := cloudtest.Start(t, wallets...)
	creds := s3mail.Credentials{Router: cloud.Root(), Wallet: sessions(t, cloud, cloudtest.Roles)}
	mailstoretest.Run(t, func(t *testing.T) mailstoretest.World { return realWorld(t, cloud, creds) })
}

// TestCampaign routes messages of all kinds while calls fail and routers die,
// with copies by the server, and on the real one.
func TestCampaign(t *testing.T) {
	t.Run("stand-in", func(t *testing.T) {
		for seed := range uint64(2) {
			mailstoretest.Campaign(t, newStandIn(t).world(t), mailstoretest.Plan{Messages: 1000, Seed: seed, RemoveSource: seed%2 == 1})
		}
	})
	t.Run("real", func(t *testing.T) {
		cloud := cloudtest.Start(t)
		for seed := range uint64(1) {
			mailstoretest.Campaign(t, realWorld(t, cloud, s3mail.Credentials{Router: cloud.Root()}), mailstoretest.Plan{Messages: 300, Seed: seed, RemoveSource: seed%2 == 1})
		}
	})
}

// realWorld is the bucket of a cloud, emptied.
func realWorld(t *testing.T, cloud *cloudtest.Cloud, creds s3mail.Credentials) mailstoretest.World {
	root, name := cloud.S3(cloud.Root()), aws.String(cloudtest.Bucket)
	keys := func(t testing.TB) (all []string) {
		pages := s3.NewListObjectsV2Paginator(root, &s3.ListObjectsV2Input{Bucket: name})
		for pages.HasMorePages() {
			p, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range p.Contents {
				all = append(all, *o.Key)
			}
		}
		return all
	}
	for _, k := range keys(t) {
		if _, err := root.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: name, Key: &k}); err != nil {
			t.Fatal(err)
		}
	}
	return mailstoretest.World{
		Store: open(t, config(cloud), creds), Other: open(t, config(cloud), creds),
		Objects: func(t testing.TB) map[string][]byte {
			all := map[string][]byte{}
			for _, k := range keys(t) {
				out, err := root.GetObject(t.Context(), &s3.GetObjectInput{Bucket: name, Key: &k})
				if err != nil {
					t.Fatal(err)
				}
				if all[k], err = io.ReadAll(out.Body); err != nil {
					t.Fatal(err)
				}
				out.Body.Close()
			}
			return all
		},
		Plant: func(t testing.TB, key string, data []byte) {
			if _, err := root.PutObject(t.Context(), &s3.PutObjectInput{Bucket: name, Key: &key, Body: bytes.NewReader(data)}); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// sessions are real ones, of the cloud's STS, of the roles named so.
func sessions(t testing.TB, c *cloudtest.Cloud, roles string) func(agentkeys.Wallet) aws.CredentialsProvider {
	t.Helper()
	s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: c.STS, RoleARN: roles}, c.Token)
	if err != nil {
		t.Fatal(err)
	}
	return s.Credentials
}

func config(c *cloudtest.Cloud) s3mail.Config {
	return s3mail.Config{Region: versity.Region, Bucket: cloudtest.Bucket, Endpoint: c.Endpoint, PathStyle: true, StreamCopies: true}
}

func open(t testing.TB, c s3mail.Config, creds s3mail.Credentials) *s3mail.Bucket {
	t.Helper()
	b, err := s3mail.Open(c, creds)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
