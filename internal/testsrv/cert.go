package testsrv

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// CertFault is what is wrong with a server's certificate.
type CertFault int

// The zero fault is none: the certificate is good.
const (
	CertGood      CertFault = iota
	CertExpired             // signed by CAPEM, a day over
	CertWrongName           // signed by CAPEM, for wrong.invalid only
	CertUntrusted           // signed by another authority than CAPEM
)

// NewCertificate makes an authority, has it sign one server certificate and
// forgets the authority's key. The second result is the authority in PEM, which
// the chain of the first ends with.
func NewCertificate(hosts []string, fault CertFault) (tls.Certificate, []byte, error) {
	now := time.Now()
	ca, caKey, caDER, err := newAuthority(now)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	if fault == CertUntrusted {
		if ca, caKey, caDER, err = newAuthority(now); err != nil {
			return tls.Certificate{}, nil, err
		}
	}

	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "testsrv"},
		NotBefore:    now.Add(-48 * time.Hour),
		NotAfter:     now.Add(7 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     append([]string{"localhost"}, hosts...),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	switch fault {
	case CertExpired:
		leaf.NotAfter = now.Add(-24 * time.Hour)
	case CertWrongName:
		leaf.DNSNames, leaf.IPAddresses = []string{"wrong.invalid"}, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key}, caPEM, nil
}

func newAuthority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	// A serial and a name of its own: a client that trusts the authorities of
	// several servers at once would mix up two of the same name.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "testsrv throw-away authority " + serial.Text(16)},
		NotBefore:             now.Add(-48 * time.Hour),
		NotAfter:              now.Add(7 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, nil, nil, err
	}
	return ca, key, der, nil
}
