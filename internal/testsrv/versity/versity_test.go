package versity_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// assume asks STS with the good token of wallet 1.
func assume(ctx context.Context, c *cloudtest.Cloud, s *versity.Server) error {
	raw, err := c.Token(ctx, cloudtest.Wallet(1))
	if err != nil {
		return err
	}
	client := sts.New(sts.Options{Region: versity.Region, BaseEndpoint: aws.String(s.STS), Credentials: aws.AnonymousCredentials{}})
	_, err = client.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(versity.RoleARN("agentkeys-" + cloudtest.Wallet(1).String())), RoleSessionName: aws.String("test"), WebIdentityToken: &raw,
	})
	return err
}

// TestIssuer: what the caller serves is what STS fetches, over TLS, once; and
// nothing of it can be seen from outside.
func TestIssuer(t *testing.T) {
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	c := cloudtest.Start(t, cloudtest.Wallet(1))
	var asked atomic.Int64
	s := versity.Start(t, versity.Options{Issuer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != versity.IssuerHost || r.TLS == nil {
			t.Errorf("asked as %s, TLS %v", r.Host, r.TLS != nil)
		}
		c.ServeHTTP(w, r)
	})})
	if err := s.PutProvider(t.Context(), cloudtest.Audience); err != nil {
		t.Fatal(err)
	}
	if err := assume(t.Context(), c, s); err == nil {
		t.Fatal("a role that is not there")
	}
	if _, err := s.PutRole(t.Context(), cloudtest.Role(cloudtest.Bucket, cloudtest.Wallet(1))); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := assume(t.Context(), c, s); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 2 { // discovery and keys
		t.Errorf("the issuer was asked %d times", n)
	}
	if now, err := os.ReadFile("/etc/hosts"); err != nil || string(now) != string(hosts) {
		t.Error("/etc/hosts was changed")
	}
	if _, err := net.LookupHost(versity.IssuerHost); err == nil {
		t.Error("the issuer's name is known outside")
	}
	// A role may be given another trust.
	other := cloudtest.Role(cloudtest.Bucket, cloudtest.Wallet(1))
	other.Trust = cloudtest.Trust(cloudtest.Wallet(2))
	if _, err := s.PutRole(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := assume(t.Context(), c, s); err == nil {
		t.Error("the new trust is not in force")
	}
}

// TestSeveral servers at once do not meet.
func TestSeveral(t *testing.T) {
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			s, err := versity.New(t.Context(), versity.Options{Issuer: http.NotFoundHandler()})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for i, versions := range []bool{false, true} {
				if err := s.PutBucket(t.Context(), []string{"plain", "versioned"}[i], versions); err != nil {
					t.Error(err)
				}
			}
			out, err := s.S3(s.Root()).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("versioned"), Key: aws.String("k"), Body: strings.NewReader("x")})
			if err != nil || aws.ToString(out.VersionId) == "" {
				t.Errorf("server %d: no version, %v", n, err)
			}
			if err := s.PutBucketPolicy(t.Context(), "plain", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::plain/bots/*"}]}`); err != nil {
				t.Error(err)
			}
			stored, err := s.Stored()
			if err != nil || len(stored) != 1 {
				t.Errorf("%v, %v", stored, err)
			}
		})
	}
	wg.Wait()
}

func TestClose(t *testing.T) {
	s, err := versity.New(t.Context(), versity.Options{Issuer: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := http.Get(s.STS + "/healthz"); err != nil {
		t.Error(err)
	} else {
		_ = res.Body.Close()
	}
	s.Close()
	s.Close()
	for _, u := range []string{s.Endpoint, s.STS} {
		if res, err := http.Get(u + "/healthz"); err == nil {
			_ = res.Body.Close()
			t.Errorf("%s still answers", u)
		}
	}
	if _, err := s.Stored(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files are left: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := versity.New(t.Context(), versity.Options{}); err == nil {
		t.Error("started without an issuer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := versity.New(ctx, versity.Options{Issuer: http.NotFoundHandler()}); err == nil {
		t.Error("started for nobody")
	}
}
