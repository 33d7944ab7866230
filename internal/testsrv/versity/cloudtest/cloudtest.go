// Package cloudtest is a cloud for tests: a VersityGW
// with a bucket, our issuer, whose tokens package token signs, and for each
// wallet a data role that trusts that issuer. It depends on versity, token,
// cloudpolicy and the root package.
//
// The documents are those that cloudpolicy renders, in the bare form: what AWS
// is told once, with ${aws:PrincipalTag/agentkeys_user_wallet}, is written out
// with each wallet's own prefix, in a role of its own that only that wallet's
// tokens may assume, since this server knows no tags of sessions.
package cloudtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/token"
)

const (
	// Audience is the audience of STS.
	Audience = cloudpolicy.Audience
	// Bucket has no versions.
	Bucket = "agentkeys-data"
	// Tag is the tag that says whose session it is.
	Tag = cloudpolicy.Tag
	// Roles is the template of the wallets' roles, for awssts.Config.
	Roles = "arn:aws:iam::" + versity.Account + ":role/agentkeys-{wallet}"
)

// Cloud is a running cloud.
type Cloud struct {
	*versity.Server
	Issuer *token.Issuer
	ring   *token.Ring
	key    *ecdsa.PrivateKey
	kid    string
}

// Start makes a cloud with a role for each of wallets. It ends with the test.
func Start(t testing.TB, wallets ...agentkeys.Wallet) *Cloud {
	t.Helper()
	c := &Cloud{}
	c.newRing(t)
	c.Issuer = &token.Issuer{Issuer: versity.IssuerURL, Ring: func() *token.Ring { return c.ring }}
	c.Server = versity.Start(t, versity.Options{Issuer: c})
	ctx := context.Background()
	if err := c.PutProvider(ctx, Audience); err != nil {
		t.Fatal(err)
	}
	if err := c.PutBucket(ctx, Bucket, false); err != nil {
		t.Fatal(err)
	}
	for _, w := range wallets {
		if _, err := c.PutRole(ctx, Role(Bucket, w)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// newRing makes the issuer's keys: one of each algorithm, of which Sign has
// that of ES256.
func (c *Cloud) newRing(t testing.TB) {
	t.Helper()
	var err error
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	from := time.Now().Add(-24 * time.Hour) // so that tokens of yesterday can be signed
	es, err := token.KeyFrom(c.key, token.ES256, from)
	if err != nil {
		t.Fatal(err)
	}
	c.kid = es.KID()
	rs, err := token.NewKey(token.RS256, from)
	if err != nil {
		t.Fatal(err)
	}
	if c.ring, err = token.NewRing([]token.Key{es, rs}, token.MasterLife); err != nil {
		t.Fatal(err)
	}
}

// ServeHTTP is the issuer.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		body, err = json.Marshal(map[string]any{
			"issuer": versity.IssuerURL, "jwks_uri": versity.IssuerURL + "/jwks",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256", "RS256"},
		})
	case "/jwks":
		body, err = c.ring.JWKS(time.Now())
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// Token signs a good web-identity token, of 5 minutes. It is what awssts.New
// wants.
func (c *Cloud) Token(_ context.Context, w agentkeys.Wallet) (string, error) {
	now := time.Now()
	return c.Issuer.Identity(token.Identity{ID: token.NewID(), Wallet: w, Audience: Audience, Expires: now.Add(5 * time.Minute).Truncate(time.Second)}, token.ES256, now)
}

// Claims are those of a good token of w's, to be spoilt.
func (c *Cloud) Claims(w agentkeys.Wallet) map[string]any {
	now := time.Now().Unix()
	return object{
		"iss": versity.IssuerURL, "sub": "agentkeys:wallet:" + w.String(), "aud": Audience,
		"iat": now, "nbf": now, "exp": now + 300, "jti": token.NewID(), Tag: w.String(),
		"https://aws.amazon.com/tags": object{"principal_tags": object{Tag: []string{w.String()}}, "transitive_tag_keys": []string{Tag}},
	}
}

// Sign signs any claims with the issuer's key, or with another if it is given,
// which package token would not.
func (c *Cloud) Sign(t testing.TB, claims map[string]any, other *ecdsa.PrivateKey) string {
	t.Helper()
	key := c.key
	if other != nil {
		key = other
	}
	return Sign(t, object{"alg": "ES256", "typ": "JWT", "kid": c.kid}, claims, key)
}

// Sign signs with ES256, whatever header says.
func Sign(t testing.TB, header, claims map[string]any, key *ecdsa.PrivateKey) string {
	t.Helper()
	var parts []string
	for _, o := range []object{header, claims} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}
	raw := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(raw))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return raw + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// Wallet makes wallet number n, all of whose bytes differ from its neighbours'.
func Wallet(n int) agentkeys.Wallet {
	sum := sha256.Sum256(fmt.Append(nil, "wallet ", n))
	return agentkeys.WalletFrom([agentkeys.WalletSize]byte(sum[:agentkeys.WalletSize]))
}

type object = map[string]any

// Names are what the documents are about.
func Names(bucket string) cloudpolicy.Names {
	return cloudpolicy.Names{
		Partition: "aws", Account: versity.Account, Region: versity.Region, Bucket: bucket, Issuer: versity.IssuerURL,
		DataRole: "agentkeys", Plaintext: true,
	}
}

// Role is the data role of one wallet. Its own policy has to hold it: the
// bucket has none here.
func Role(bucket string, w agentkeys.Wallet) versity.Role {
	return versity.Role{Name: Names(bucket).WalletRole(w), Trust: Trust(w), Policy: Policy(bucket, w)}
}

// Trust lets exactly the tokens of w assume the role.
func Trust(w agentkeys.Wallet) string {
	return string(cloudpolicy.DataTrust(Names(Bucket), cloudpolicy.Bare(w)).Compact())
}

// Policy is what the data role may do.
func Policy(bucket string, w agentkeys.Wallet) string {
	return string(cloudpolicy.DataPermissions(Names(bucket), cloudpolicy.Bare(w)).Compact())
}
