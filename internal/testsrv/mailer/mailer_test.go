package mailer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/smtpin"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
)

// spool passes on what arrives.
type spool chan []byte

func (s spool) Write(_ context.Context, _ agentkeys.MessageID, r io.Reader, _ int64) error {
	b, err := io.ReadAll(r)
	s <- b
	return err
}

func (spool) Waiting(context.Context, agentkeys.MessageID, int) (mailstore.Page, error) {
	return mailstore.Page{}, nil
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.agentkeys.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// TestSend: what a Mailer sends passes everything at a real receiver; unsigned,
// or with the key gone, it does not.
func TestSend(t *testing.T) {
	d, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m, err := mailer.New(d, "shop.example")
	if err != nil {
		t.Fatal(err)
	}
	cert, roots := certificate(t)
	in := make(spool, 1)
	s, err := smtpin.New(smtpin.Config{Hostname: "mx.agentkeys.test", Domains: []string{"agentkeys.test"}, Resolver: d.Resolver(), Spool: in,
		TempDir: t.TempDir(), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer func() { _ = s.Shutdown(t.Context()) }()

	msg := []byte("From: Shop <news@shop.example>\r\nTo: x@agentkeys.test\r\nSubject: hi\r\n\r\n.a line\r\n\r\nanother\r\n")
	send := func(want ...string) {
		t.Helper()
		if err := m.Send(t.Context(), l.Addr().String(), "bounce@shop.example", "x@agentkeys.test", msg); err != nil {
			t.Fatal(err)
		}
		stored := <-in
		top, ok := mailhead.Parse(stored, true).Top(mailhead.Host("mx.agentkeys.test"))
		if !ok || !top.Whole {
			t.Fatalf("the top is %+v", top)
		}
		for _, w := range want {
			if !strings.Contains(top.Auth, w) {
				t.Errorf("no %q in %q", w, top.Auth)
			}
		}
		if tls := strings.Contains(top.Received, " with ESMTPS "); tls != (m.TLS != nil) {
			t.Errorf("received %q", top.Received)
		}
		if !strings.HasSuffix(string(stored), string(msg)) {
			t.Errorf("stored\n%s", stored)
		}
	}
	send("spf=pass smtp.mailfrom=shop.example", "dkim=pass header.i=@shop.example", "dmarc=pass header.from=shop.example policy.dmarc=reject")
	m.TLS = &tls.Config{RootCAs: roots, ServerName: "mx.agentkeys.test"}
	send("spf=pass", "dkim=pass", "dmarc=pass")
	m.Unsigned = true
	send("spf=pass", "dkim=none", "dmarc=pass")
	d.Remove("shop.example")
	send("spf=none", "dkim=none", "dmarc=fail")
	m.Unsigned = false
	d.Remove(mailer.Selector + "._domainkey.shop.example")
	send("spf=none", "dkim=permerror", "dmarc=fail")

	m.TLS.RootCAs = nil
	if err := m.Send(t.Context(), l.Addr().String(), "bounce@shop.example", "x@agentkeys.test", msg); err == nil {
		t.Error("a certificate of nobody's is good enough")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Send(ctx, l.Addr().String(), "", "x@agentkeys.test", msg); err == nil {
		t.Error("sent after all was over")
	}
}
