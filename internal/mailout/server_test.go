package mailout

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a small SMTP server on a socket: enough of RFC 5321, 3207 and 4954.
type server struct {
	addr  string
	cert  tls.Certificate
	roots *x509.CertPool

	// What it does otherwise than it should; see answer.
	noStartTLS bool
	auth       string            // the ways it offers; "" none
	answers    map[string]string // by command, instead of what it would say
	silent     string            // the command it never answers
	implicit   bool              // TLS at once

	mu    sync.Mutex
	lines []string // what it heard, AUTH included
	mails []string // what it took over
	plain []string // what it heard before TLS
}

func startServer(t *testing.T, change func(*server)) *server {
	t.Helper()
	s := &server{auth: "PLAIN LOGIN"}
	s.cert, s.roots = certificate(t, "localhost")
	if change != nil {
		change(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s.addr = "localhost:" + port
	var conns sync.WaitGroup
	t.Cleanup(func() { l.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { defer c.Close(); s.serve(c) })
		}
	})
	return s
}

func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func (s *server) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	secure := s.implicit
	if secure {
		c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	}
	r := bufio.NewReader(c)
	say := func(command, usual string) bool {
		if command == s.silent {
			_, _ = r.ReadByte() // until the other side goes
			return false
		}
		if other, ok := s.answers[command]; ok {
			usual = other
		}
		_, err := c.Write([]byte(usual + "\r\n"))
		return err == nil && usual != ""
	}
	if !say("greeting", "220 mail.example ESMTP") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.heard(line, secure)
		command, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch command {
		case "EHLO":
			lines := "250-mail.example\r\n"
			if !s.noStartTLS && !secure {
				lines += "250-STARTTLS\r\n"
			}
			if s.auth != "" {
				lines += "250-AUTH " + s.auth + "\r\n"
			}
			if !say(command, lines+"250 8BITMIME") {
				return
			}
		case "STARTTLS":
			if !say(command, "220 go on") {
				return
			}
			if s.answers[command] != "" {
				continue
			}
			c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}})
			r, secure = bufio.NewReader(c), true
		case "AUTH":
			if !say(command, "235 welcome") {
				return
			}
		case "MAIL", "RCPT", "NOOP", "RSET":
			if !say(command, "250 fine") {
				return
			}
		case "DATA":
			if !say(command, "354 send it") {
				return
			}
			if _, otherwise := s.answers[command]; otherwise {
				continue
			}
			var mail strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				mail.WriteString(strings.TrimPrefix(line, "."))
			}
			if _, otherwise := s.answers["end"]; !otherwise && s.silent != "end" {
				s.mu.Lock()
				s.mails = append(s.mails, mail.String())
				s.mu.Unlock()
			}
			if !say("end", "250 taken over") {
				return
			}
		case "QUIT":
			say(command, "221 bye")
			return
		default:
			if !say(command, "500 what") {
				return
			}
		}
	}
}

func (s *server) heard(line string, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	if !secure {
		s.plain = append(s.plain, line)
	}
}

// took returns the mails and the lines so far.
func (s *server) took() (mails, lines, plain []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.mails...), append([]string(nil), s.lines...), append([]string(nil), s.plain...)
}
