package cloud

import (
	"bufio"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"
)

// postbox is a mail server that takes everything and shows it.
type postbox struct {
	addr string
	mail chan string
}

func startPostbox(t *testing.T) *postbox {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	p := &postbox{ln.Addr().String(), make(chan string, 100)}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *postbox) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 postbox ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "EHLO", "HELO":
			say("250-postbox")
			say("250 8BITMIME")
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

var linkForm = regexp.MustCompile(regexp.QuoteMeta(origin) + `/login/mail#([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)`)

// link waits for the next mail and returns the login and the token of its link.
func (p *postbox) link(t *testing.T) (login, token string) {
	t.Helper()
	var raw string
	select {
	case raw = <-p.mail:
	case <-time.After(30 * time.Second):
		t.Fatal("no mail came")
	}
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	body := m.Body
	if strings.EqualFold(m.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	found := linkForm.FindStringSubmatch(string(text))
	if found == nil {
		t.Fatalf("no link in the mail:\n%s", text)
	}
	return found[1], found[2]
}
