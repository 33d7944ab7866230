package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/smtpin"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// letter is a verification mail of a kind that services send, of about 35 KB:
// text and HTML, each with the link, quoted-printable, and tables around. The
// part above From is the receiving host's.
func letter() ([]byte, error) {
	const link = "https://app.service.example/verify?token=obviously-fake_0123456789abcdef"
	to := mailstoretest.Address(mailstoretest.Wallet(1))
	row := `<table><tr><td style="padding:0 24px;font-size:0px"><p style="font-size:14px">Some words that nobody reads.</p></td></tr></table>`
	var b bytes.Buffer
	b.WriteString("Return-Path: <bounce@service.example>\r\n" +
		"Received: from out.service.example (out.service.example [192.0.2.7])\r\n by inbound-smtp.eu-west-1.amazonaws.com with SMTP id fake0123456789\r\n for " + to + ";\r\n Sun, 22 Nov 2026 01:00:07 +0000 (UTC)\r\n" +
		"X-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\n" +
		"Received-SPF: pass (spfCheck: domain of service.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=bounce@service.example; helo=out.service.example;\r\n" +
		"Authentication-Results: amazonses.com;\r\n spf=pass (spfCheck: domain of service.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=bounce@service.example; helo=out.service.example;\r\n dkim=pass header.i=@service.example;\r\n dmarc=pass header.from=service.example;\r\n" +
		"X-SES-RECEIPT: ZmFrZQ==\r\nX-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b=ZmFrZQ==; c=relaxed/simple; s=fake; d=amazonses.com; t=1; v=1; bh=ZmFrZQ==; h=From:To;\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=service.example; s=fake;\r\n h=from:to:subject:mime-version:content-type; bh=ZmFrZQ==; b=ZmFrZQ==\r\n" +
		"From: Service <noreply@service.example>\r\nTo: " + to + "\r\nSubject: Confirm your address\r\nMIME-Version: 1.0\r\n")
	w := multipart.NewWriter(&b)
	b.WriteString("Content-Type: multipart/alternative; boundary=" + w.Boundary() + "\r\n\r\n")
	for _, p := range [][2]string{
		{"text/plain", "Hello,\r\n\r\nplease confirm your address:\r\n\r\n" + link + "\r\n"},
		{"text/html", "<html><body>" + strings.Repeat(row+"\r\n", 200) + `<p>Hello, please confirm your address: <a href="` + link + `">Verify</a></p>` + strings.Repeat(row+"\r\n", 20) + "</body></html>"},
	} {
		part, err := w.CreatePart(map[string][]string{"Content-Type": {p[0] + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"}})
		if err != nil {
			return nil, err
		}
		q := quotedprintable.NewWriter(part)
		if _, err := io.WriteString(q, p[1]); err != nil {
			return nil, err
		}
		if err := q.Close(); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// apart takes a message apart with the standard library, reads all of it, and
// looks for nothing.
func apart(msg []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		return err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	r := multipart.NewReader(m.Body, params["boundary"]) // decodes quoted-printable itself
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.ReadAll(p); err != nil {
			return err
		}
	}
}

// mailExtract reads the link out of a verification mail.
func (b *bench) mailExtract() error {
	msg, err := letter()
	if err != nil {
		return err
	}
	to, domain, err := mailroute.ParseAddress(mailstoretest.Address(mailstoretest.Wallet(1)))
	if err != nil {
		return err
	}
	query := verifymail.Query{To: to, Domain: domain, Want: verifymail.Link}
	rules := verifymail.Rules{
		Senders: []string{"service.example"}, LinkHosts: []string{"app.service.example"}, LinkPaths: []string{"/verify"}, Receiver: mailhead.SES(),
	}
	var failed first
	_, cpus := b.turnAbout(1, b.span/8, func() {
		_, err := verifymail.Extract(msg, query, rules)
		failed.note(err)
	}, func() { failed.note(apart(msg)) })
	b.add(fmt.Sprintf("mail: CPU of reading a link, %d KB", len(msg)/1000), "µs", "MIME alone", "–", cpus[0], cpus[1])
	return failed.get()
}

// sink is a spool that keeps nothing.
type sink struct{}

func (sink) Write(_ context.Context, _ agentkeys.MessageID, r io.Reader, _ int64) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (sink) Waiting(context.Context, agentkeys.MessageID, int) (mailstore.Page, error) {
	return mailstore.Page{}, nil
}

// bareSMTP is as little of a mail server as a client can talk to: it checks and
// keeps nothing.
func bareSMTP(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
			say("220 sink")
			for in := false; ; {
				l, err := r.ReadString('\n')
				switch {
				case err != nil:
					return
				case in && l == ".\r\n":
					in = false
					say("250 ok")
				case in:
				case strings.HasPrefix(l, "DATA"):
					in = true
					say("354 go on")
				default:
					say("250 ok")
				}
			}
		}()
	}
}

// mailReceive sends signed mail to the receiver over one connection, SPF, DKIM
// and DMARC with a played DNS included; the client is in this process as well.
func (b *bench) mailReceive() error {
	d, err := dns.Start()
	if err != nil {
		return err
	}
	defer d.Close()
	m, err := mailer.New(d, "sender.example")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := smtpin.New(smtpin.Config{
		Hostname: "mx." + mailstoretest.Domain, Domains: []string{mailstoretest.Domain}, Resolver: d.Resolver(), Spool: sink{}, TempDir: dir,
		Limits: smtpin.Limits{Messages: 1 << 30, MessagesPerMinute: 1 << 30},
	})
	if err != nil {
		return err
	}
	var failed first
	var clients []*smtp.Client
	for i, serve := range []func(net.Listener) error{server.Serve, bareSMTP} {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go func() { _ = serve(ln) }()
		if i == 0 {
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				failed.note(server.Shutdown(ctx))
			}()
		} else {
			defer ln.Close()
		}
		c, err := smtp.Dial(ln.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Hello("sender.example"); err != nil {
			return err
		}
		clients = append(clients, c)
	}
	to := mailstoretest.Address(mailstoretest.Wallet(1))
	msg, err := m.Sign([]byte("From: a@sender.example\r\nTo: " + to + "\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\n" +
		strings.Repeat(strings.Repeat("x", 76)+"\r\n", 8<<10/78)))
	if err != nil {
		return err
	}
	send := func(c *smtp.Client) func() {
		return func() {
			if failed.get() != nil {
				return
			}
			err := errors.Join(c.Mail("a@sender.example"), c.Rcpt(to))
			w, dataErr := c.Data()
			if err = errors.Join(err, dataErr); err == nil {
				_, err = w.Write(msg)
				err = errors.Join(err, w.Close())
			}
			failed.note(err)
		}
	}
	rates, cpus := b.turnAbout(1, b.span/4, send(clients[0]), send(clients[1]))
	b.add("mail: received by SMTP, 8 KiB, checked", "/s", "bare SMTP", "–", rates[0], rates[1])
	b.add("mail: CPU of that, client and DNS included", "µs", "bare SMTP", "–", cpus[0], cpus[1])
	return failed.get()
}
