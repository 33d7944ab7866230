package smtpin

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/litentry/agentkeys/internal/mailhead"
)

var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
})

func serverTLS() *tls.Config {
	cert, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10}
}

func clientTLS() *tls.Config {
	_, roots := certificate()
	return &tls.Config{RootCAs: roots, ServerName: host}
}

// secure does STARTTLS.
func (r *raw) secure(c *tls.Config) (*raw, error) {
	t := tls.Client(r.conn, c)
	return &raw{r.t, t, bufio.NewReader(t)}, t.Handshake()
}

// TestStartTLS: below TLS nothing of before counts, nothing above is let through
// more easily, and what is offered is what there is.
func TestStartTLS(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, TLS: serverTLS(), MaxMessage: 64 << 10, Limits: Limits{Line: 2500}})
	start := func(t *testing.T, before ...string) *raw {
		t.Helper()
		r := dial(t, addr)
		r.talk(append(hello(before...), "STARTTLS\r\n", "220 2.0.0")...)
		r, err := r.secure(clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	t.Run("offers", func(t *testing.T) {
		r := dial(t, addr)
		r.talk("", "220 "+host+" ESMTP")
		r.say(ehlo)
		want := []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "STARTTLS", "SMTPUTF8", "SIZE 65536"}
		got := r.hear()
		for _, w := range want {
			if !strings.Contains(got, "-"+w+"\r\n") && !strings.Contains(got, " "+w+"\r\n") {
				t.Errorf("no %s in\n%s", w, got)
			}
		}
		if strings.Contains(got, "AUTH") {
			t.Errorf("AUTH is offered:\n%s", got)
		}
		r.talk("STARTTLS\r\n", "220 2.0.0")
		r, err := r.secure(clientTLS())
		if err != nil {
			t.Fatal(err)
		}
		r.say(ehlo) // no second greeting comes first
		if got := r.hear(); !strings.HasPrefix(got, "250-") || strings.Contains(got, "STARTTLS") || strings.Contains(got, "AUTH") {
			t.Errorf("above TLS:\n%s", got)
		}
		r.talk("STARTTLS\r\n", "502", "AUTH PLAIN AGEAYg==\r\n", "504", from+to+"DATA\r\n", "250", "", "250", "", "354", plainMail2+".\r\nQUIT\r\n", "250", "", "221", "", "EOF")
		last := m.all()[len(m.all())-1]
		if top, ok := mailhead.Parse(last, true).Top(mailhead.Host(host)); !ok || !strings.Contains(top.Received, " with ESMTPS ") {
			t.Errorf("%+v", top)
		}
	})
	t.Run("forgets", func(t *testing.T) {
		r := start(t, from, "250", to, "250")
		r.talk("DATA\r\n", "502", from, "502", ehlo, "250", to, "502", "QUIT\r\n", "221")
	})
	t.Run("injection", func(t *testing.T) {
		before := len(m.all())
		r := dial(t, addr)
		r.talk(hello("STARTTLS\r\n"+ehlo+from+to+"DATA\r\n"+plainMail2+".\r\n", "503 5.5.1", "", "EOF")...)
		if len(m.all()) != before {
			t.Error("stored")
		}
	})
	t.Run("injection in two", func(t *testing.T) {
		r := dial(t, addr)
		r.talk(hello("STARTTLS\r\n", "220 2.0.0", ehlo+from+to, "EOF")...)
	})
	t.Run("smuggling", func(t *testing.T) {
		for _, h := range smuggles() {
			before := len(m.all())
			r := start(t)
			r.talk(h.steps[2:]...) // no greeting
			_ = r.conn.Close()
			dial(t, addr).talk(hello("QUIT\r\n", "221")...)
			if got := len(m.all()) - before; got != h.stored {
				t.Errorf("%s: %d stored, want %d", h.name, got, h.stored)
			}
		}
	})
	t.Run("old versions", func(t *testing.T) {
		r := dial(t, addr)
		r.talk(hello("STARTTLS\r\n", "220 2.0.0")...)
		c := clientTLS()
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if _, err := r.secure(c); err == nil {
			t.Error("TLS 1.1 is good enough")
		}
	})
	t.Run("counts go on", func(t *testing.T) {
		r := start(t, strings.Repeat("RCPT\r\n", 5), "502", "", "502", "", "502", "", "502", "", "502")
		r.talk(strings.Repeat("RCPT\r\n", 5), "502", "", "502", "", "502", "", "502", "", "502", "", "421 4.7.0", "", "EOF")
	})
}

// TestGoSMTP sends with the library's own client, in chunks of DATA and with
// SMTPUTF8.
func TestGoSMTP(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, TLS: serverTLS()})
	c, err := gosmtp.DialStartTLS(addr, clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.Mail("\u00e4@sender.example", &gosmtp.MailOptions{UTF8: true, Size: int64(len(plainMail)), Body: gosmtp.Body8BitMIME}); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt(rcpt, nil); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(plainMail)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	if len(m.all()) != 3 || !strings.HasPrefix(string(m.all()[0]), "Return-Path: <\u00e4@sender.example>\r\n") {
		t.Errorf("%d mails, %.100q", len(m.all()), m.all()[0])
	}
}

// TestSwaks sends with a client of another family, over TLS and without it.
func TestSwaks(t *testing.T) {
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("swaks is missing: run make setup")
		}
		fmt.Fprintln(os.Stderr, "\n*** NOT TESTED: a client that is not ours. swaks is missing: run make setup ***")
		t.Skip("swaks is missing: run make setup")
	}
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, TLS: serverTLS()})
	run := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), swaks, append([]string{"--server", addr, "--to", rcpt, "--from", "a@sender.example",
			"--helo", "swaks.example", "--body", "the body", "--timeout", "20"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	run()
	run("--pipeline")
	run("--tls")
	if n := len(m.all()); n != 3 {
		t.Fatalf("%d mails, want 3", n)
	}
	for i, b := range m.all() {
		top, ok := mailhead.Parse(b, true).Top(mailhead.Host(host))
		if !ok || !top.Whole || top.For != rcpt || !strings.HasPrefix(top.Received, "from swaks.example ") || !strings.Contains(string(b), "\r\n\r\nthe body\r\n") {
			t.Errorf("%+v\n%s", top, b)
		}
		if strings.Contains(top.Received, "ESMTPS") != (i == 2) {
			t.Errorf("received %q", top.Received)
		}
	}
}
