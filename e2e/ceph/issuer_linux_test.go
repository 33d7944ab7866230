package ceph_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/token"
)

const (
	issuerHost = "issuer.agentkeys.test"
	issuerURL  = "https://" + issuerHost
)

type object = map[string]any

// issuer is ours, with a certificate beside each key of its JWKS, without which
// Ceph takes no ES256.
type issuer struct {
	*token.Issuer
	ring        *token.Ring
	key         *ecdsa.PrivateKey
	kid         string
	x5c         map[string]string // of each kid: DER, standard base64
	ca          []byte            // PEM
	tls         tls.Certificate
	thumbprints []string // SHA-1 of every certificate, as IAM wants them
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{x5c: map[string]string{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	from := time.Now().Add(-24 * time.Hour)
	var keys []token.Key
	for _, k := range []struct {
		alg token.Alg
		key crypto.Signer
	}{{token.ES256, i.key}, {token.RS256, rsaKey}} {
		one, err := token.KeyFrom(k.key, k.alg, from)
		must(err)
		keys = append(keys, one)
		of := template("agentkeys signing key")
		der, err := x509.CreateCertificate(rand.Reader, of, of, k.key.Public(), k.key)
		must(err)
		i.x5c[one.KID()] = base64.StdEncoding.EncodeToString(der)
		i.know(der)
	}
	i.kid = keys[0].KID()
	i.ring, err = token.NewRing(keys, token.MasterLife)
	must(err)
	i.Issuer = &token.Issuer{Issuer: issuerURL, Ring: func() *token.Ring { return i.ring }}

	authority := template("agentkeys test authority")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	must(err)
	i.know(ca)
	i.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	leaf := template(issuerHost)
	leaf.DNSNames, leaf.ExtKeyUsage = []string{issuerHost}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), caKey)
	must(err)
	i.know(der)
	i.tls = tls.Certificate{Certificate: [][]byte{der, ca}, PrivateKey: key}
	return i
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func (i *issuer) know(der []byte) {
	sum := sha1.Sum(der)
	i.thumbprints = append(i.thumbprints, hex.EncodeToString(sum[:]))
}

// serve listens where the name leads to, in the test's own network.
func (i *issuer) serve(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: i, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{i.tls}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = object{"issuer": issuerURL, "jwks_uri": issuerURL + "/jwks", "id_token_signing_alg_values_supported": []string{"ES256", "RS256"}}
	case "/jwks":
		b, err := i.ring.JWKS(time.Now())
		var set struct {
			Keys []object `json:"keys"`
		}
		if err == nil {
			err = json.Unmarshal(b, &set)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, k := range set.Keys {
			k["x5c"] = []string{i.x5c[k["kid"].(string)]}
		}
		answer = set
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// token is what the broker would sign.
func (i *issuer) token(alg token.Alg) func(context.Context, agentkeys.Wallet) (string, error) {
	return func(_ context.Context, w agentkeys.Wallet) (string, error) {
		now := time.Now()
		return i.Identity(token.Identity{ID: token.NewID(), Wallet: w, Audience: cloudpolicy.Audience, Expires: now.Add(5 * time.Minute).Truncate(time.Second)}, alg, now)
	}
}

// claims are those of a good token of w's, to be spoilt.
func (i *issuer) claims(w agentkeys.Wallet) object {
	now := time.Now().Unix()
	return object{
		"iss": issuerURL, "sub": cloudpolicy.SubjectPrefix + w.String(), "aud": cloudpolicy.Audience,
		"iat": now, "nbf": now, "exp": now + 300, "jti": token.NewID(), cloudpolicy.Tag: w.String(),
		tagsClaim: tagged(w.String()),
	}
}

const tagsClaim = "https://aws.amazon.com/tags"

func tagged(values ...string) object {
	return object{"principal_tags": object{cloudpolicy.Tag: values}, "transitive_tag_keys": []string{cloudpolicy.Tag}}
}

// sign signs any claims, which package token would not.
func (i *issuer) sign(t *testing.T, claims object, key *ecdsa.PrivateKey) string {
	t.Helper()
	return cloudtest.Sign(t, object{"alg": "ES256", "typ": "JWT", "kid": i.kid}, claims, key)
}
