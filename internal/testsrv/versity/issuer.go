package versity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serveIssuer serves h at IssuerURL, and writes ca.pem.
func (s *Server) serveIssuer(h http.Handler) error {
	cert, ca, err := certificate()
	if err != nil {
		return err
	}
	s.ca = ca
	if err := os.WriteFile(filepath.Join(s.dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), 0o644); err != nil {
		return err
	}
	var l net.Listener
	if err := s.ns.do(func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort(issuerIP, "443"))
		return err
	}); err != nil {
		return namespaceError("listen as the issuer", err)
	}
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	s.stop = append(s.stop, func() { _ = srv.Close() })
	return nil
}

// certificate makes an authority, has it sign the issuer's certificate and
// forgets the authority's key.
func certificate() (cert tls.Certificate, ca []byte, err error) {
	now := time.Now()
	sign := func(of, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
		of.NotBefore, of.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
		return x509.CreateCertificate(rand.Reader, of, parent, key.Public(), parentKey)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "agentkeys test authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if ca, err = sign(authority, authority, caKey, caKey); err != nil {
		return cert, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: IssuerHost}, DNSNames: []string{IssuerHost},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := sign(leaf, authority, key, caKey)
	if err != nil {
		return cert, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der, ca}, PrivateKey: key}, ca, nil
}

// Thumbprint is what IAM calls the thumbprint of the issuer: the SHA-1 of its
// authority's certificate.
func (s *Server) Thumbprint() string {
	sum := sha1.Sum(s.ca)
	return hex.EncodeToString(sum[:])
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
