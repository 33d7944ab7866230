package awssts_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/token"
)

// TestRealServer has a real STS accept our issuer's tokens, of both algorithms,
// and refuse everything else that is like them.
func TestRealServer(t *testing.T) {
	mine, other := cloudtest.Wallet(1), cloudtest.Wallet(2)
	c := cloudtest.Start(t, mine, other)
	raw := ""
	s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: c.STS, RoleARN: cloudtest.Roles}, func(context.Context, agentkeys.Wallet) (string, error) {
		return raw, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(t *testing.T) (aws.Credentials, error) {
		s.Forget(mine)
		return s.Credentials(mine).Retrieve(t.Context())
	}
	now := time.Now()
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			raw, err = c.Issuer.Identity(token.Identity{ID: token.NewID(), Wallet: mine, Audience: cloudtest.Audience, Expires: now.Add(5 * time.Minute).Truncate(time.Second)}, alg, now)
			if err != nil {
				t.Fatal(err)
			}
			creds, err := ask(t)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(creds.Expires); !creds.CanExpire || left > awssts.MinDuration || left < 10*time.Minute {
				t.Errorf("to be renewed in %s", left)
			}
			out, err := c.S3(s.Credentials(mine)).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(cloudtest.Bucket), Prefix: aws.String("bots/" + mine.String() + "/")})
			if err != nil || len(out.Contents) != 0 {
				t.Errorf("the session cannot list its own prefix: %v", err)
			}
		})
	}

	good := c.Claims(mine)
	raw = c.Sign(t, good, nil)
	if _, err := ask(t); err != nil {
		t.Fatalf("the claims that are spoilt below are not good: %v", err)
	}
	with := func(change map[string]any) string {
		all := maps.Clone(good)
		for k, v := range change {
			if v == nil {
				delete(all, k)
			} else {
				all[k] = v
			}
		}
		return c.Sign(t, all, nil)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(raw, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	session, err := c.Issuer.Session(token.Session{ID: token.NewID(), Account: strings.Repeat("a", 32), Wallet: mine, Role: token.Master, Device: token.Thumbprint{1}, Expires: now.Add(time.Hour).Truncate(time.Second)}, now)
	if err != nil {
		t.Fatal(err)
	}
	for what, spoilt := range map[string]string{
		"signed by another":      c.Sign(t, good, foreign),
		"another's claims":       parts[0] + "." + strings.Split(c.Sign(t, c.Claims(other), nil), ".")[1] + "." + parts[2],
		"a bit of the signature": parts[0] + "." + parts[1] + "." + flip(parts[2]),
		"no signature":           parts[0] + "." + parts[1] + ".",
		"alg none":               none,
		"another wallet":         c.Sign(t, c.Claims(other), nil),
		"another audience":       with(map[string]any{"aud": "https://example.com"}),
		"no audience":            with(map[string]any{"aud": nil}),
		"two audiences":          with(map[string]any{"aud": []string{cloudtest.Audience, "https://example.com"}}),
		"another issuer":         with(map[string]any{"iss": "https://other.agentkeys.test"}),
		"the issuer over http":   with(map[string]any{"iss": "http://" + versity.IssuerHost}),
		"the issuer and a path":  with(map[string]any{"iss": versity.IssuerURL + "/x"}),
		"no issuer":              with(map[string]any{"iss": nil}),
		"over":                   with(map[string]any{"exp": now.Add(-6 * time.Minute).Unix()}),
		"no end":                 with(map[string]any{"exp": nil}),
		"not yet":                with(map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"no subject":             with(map[string]any{"sub": nil}),
		"a subject in capitals":  with(map[string]any{"sub": "agentkeys:wallet:0x" + strings.ToUpper(mine.String()[2:])}),
		"a subject with more":    with(map[string]any{"sub": "agentkeys:wallet:" + mine.String() + " "}),
		"a subject with a star":  with(map[string]any{"sub": "agentkeys:wallet:*"}),
		"a session token":        session,
		"no token":               "not-a-token",
	} {
		t.Run(what, func(t *testing.T) {
			raw = spoilt
			_, err := ask(t)
			e := new(awssts.Error)
			if !errors.Is(err, awssts.ErrRefused) || !errors.As(err, &e) || e.Wallet != mine || e.Code == "" {
				t.Errorf("%v", err)
			}
			if err != nil && (strings.Contains(err.Error(), spoilt) || len(parts[1]) > 0 && strings.Contains(err.Error(), parts[1])) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}

	// What AWS refuses by its trust policy and this server cannot see.
	raw = with(map[string]any{"https://aws.amazon.com/tags": nil, cloudtest.Tag: nil})
	if _, err := ask(t); err != nil {
		t.Errorf("a token without the tag is refused now: say so in the documentation of versity: %v", err)
	}
}

func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}
