package rig

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Postbox is a mail server that takes everything, with TLS for who asks for it,
// and shows it. It answers at Addr, and at the port of submission of MailHost.
type Postbox struct {
	Addr string
	mail chan string
	cert tls.Certificate
}

func startPostbox(t testing.TB, cert tls.Certificate) *Postbox {
	t.Helper()
	p := &Postbox{mail: make(chan string, 100), cert: cert}
	for _, address := range []string{"127.0.0.1:0", "127.0.0.1:587"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		if p.Addr == "" {
			p.Addr = ln.Addr().String()
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go p.serve(c)
			}
		}()
	}
	return p
}

func (p *Postbox) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 postbox ESMTP")
	secure := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "EHLO", "HELO":
			say("250-postbox")
			if secure {
				say("250-AUTH PLAIN")
			} else {
				say("250-STARTTLS")
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go on")
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{p.cert}})
			if s.Handshake() != nil {
				return
			}
			c, r, secure = s, bufio.NewReader(s), true
		case "AUTH":
			say("235 known")
		case "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				l, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(l, "."))
			}
			p.mail <- text.String()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

var linkForm = regexp.MustCompile(regexp.QuoteMeta(Origin) + `/login/mail#([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)`)

// link waits for the next mail and returns the login and the token of its link.
func (p *Postbox) link() (login, token string, err error) {
	var raw string
	select {
	case raw = <-p.mail:
	case <-time.After(30 * time.Second):
		return "", "", errors.New("no mail came")
	}
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return "", "", err
	}
	body := m.Body
	if strings.EqualFold(m.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return "", "", err
	}
	found := linkForm.FindStringSubmatch(string(text))
	if found == nil {
		return "", "", fmt.Errorf("no link in the mail:\n%s", text)
	}
	return found[1], found[2], nil
}
