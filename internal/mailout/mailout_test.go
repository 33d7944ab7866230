package mailout

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/secret"
)

var _ broker.Mailer = (*Mailer)(nil)

const (
	token    = "canary-token-3f9a27c1"
	password = "canary-password-8f2c"
	text     = "Somebody wants to sign in.\n\nhttps://broker.example/login/mail#lg_1." + token + "\n\n.hidden\n..two\n"
)

func newMailer(t *testing.T, s *server, change func(*Config)) *Mailer {
	t.Helper()
	c := Config{Server: s.addr, Username: "broker", Password: secret.FromString(password), From: "AgentKeys <login@broker.example>", Roots: s.roots}
	if s.implicit {
		c.Security = TLS
	}
	if change != nil {
		change(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSend(t *testing.T) {
	for name, change := range map[string]func(*server){"STARTTLS": nil, "TLS at once": func(s *server) { s.implicit = true }} {
		s := startServer(t, change)
		if err := newMailer(t, s, nil).Send(t.Context(), "ada@mail.example", "Sign in to AgentKeys", text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mails, lines, plain := s.took()
		if len(mails) != 1 {
			t.Fatalf("%s: %d mails", name, len(mails))
		}
		m, err := mail.ReadMessage(strings.NewReader(mails[0]))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(m.Body)
		if string(body) != strings.ReplaceAll(text, "\n", "\r\n") {
			t.Errorf("%s: the text is %q", name, body)
		}
		for header, want := range map[string]string{
			"From": `"AgentKeys" <login@broker.example>`, "To": "<ada@mail.example>", "Subject": "Sign in to AgentKeys", "Auto-Submitted": "auto-generated",
			"Content-Type": "text/plain; charset=utf-8", "Content-Transfer-Encoding": "7bit", "Mime-Version": "1.0",
		} {
			if got := m.Header[header]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
		if at, err := m.Header.Date(); err != nil || time.Since(at) > time.Hour || !strings.HasSuffix(m.Header.Get("Message-Id"), "@broker.example>") {
			t.Errorf("%s: date %v, id %q", name, err, m.Header.Get("Message-Id"))
		}
		said := strings.Join(lines, "\n")
		if !strings.Contains(said, "MAIL FROM:<login@broker.example>") || !strings.Contains(said, "RCPT TO:<ada@mail.example>") || !strings.Contains(said, "AUTH PLAIN") || !strings.Contains(said, "EHLO broker.example") {
			t.Errorf("%s: it heard\n%s", name, said)
		}
		if got := strings.Join(plain, ","); got != "" && got != "EHLO broker.example,STARTTLS" {
			t.Errorf("%s: without TLS it heard %s", name, got)
		}
	}
}

func TestSendBeyondASCII(t *testing.T) {
	s := startServer(t, nil)
	m := newMailer(t, s, func(c *Config) { c.From = "Schlüssel <login@broker.example>" })
	const subject, text = "Anmelden bei AgentKeys, heute und für immer, an genau einem Gerät, das es gibt: ✓", "Schön.\n.\nhttps://broker.example/login/mail#lg_1.abc=\n"
	if err := m.Send(t.Context(), "ada@mail.example", subject, text); err != nil {
		t.Fatal(err)
	}
	mails, _, _ := s.took()
	for line := range strings.SplitSeq(mails[0], "\r\n") {
		if len(line) > 78 || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	got, err := mail.ReadMessage(strings.NewReader(mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	if err != nil || string(body) != strings.ReplaceAll(text, "\n", "\r\n") {
		t.Errorf("the text is %q, %v", body, err)
	}
	if dec, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject")); err != nil || dec != subject {
		t.Errorf("the subject is %q, %v", dec, err)
	}
	if from, err := got.Header.AddressList("From"); err != nil || from[0].Name != "Schlüssel" {
		t.Errorf("the sender is %v, %v", from, err)
	}
}

// TestInjection tries to write headers, recipients and commands of its own.
func TestInjection(t *testing.T) {
	s := startServer(t, nil)
	m := newMailer(t, s, nil)
	for _, to := range []string{
		"", "ada", "@mail.example", "ada@", "ada@mail.example\r\nRCPT TO:<eve@evil.example>", "ada@mail.example\nBcc: eve@evil.example", "ada@mail.example>\r\nDATA",
		"ada@mail.example, eve@evil.example", "Ada <ada@mail.example>", "<ada@mail.example>", `"a b"@mail.example`, "ada@mail.example ", " ada@mail.example", "ada@@mail.example",
		"ada@mail.example\x00", "ada@[127.0.0.1]", "ädä@mail.example", "ada(comment)@mail.example", "group:ada@mail.example;", strings.Repeat("a", 65) + "@mail.example",
		"ada@" + strings.Repeat("a", 300) + ".example", "ada@mail.example> SIZE=1", "eve@evil.example\u2028ada@mail.example",
	} {
		if err := m.Send(t.Context(), to, "Subject", text); !errors.Is(err, ErrMail) {
			t.Errorf("to %q: %v", to, err)
		}
	}
	for _, subject := range []string{"", "a\r\nBcc: eve@evil.example", "a\nb", "a\rb", "a\x00b", "a\x7fb", "\xff", strings.Repeat("a", maxSubject+1)} {
		if err := m.Send(t.Context(), "ada@mail.example", subject, text); !errors.Is(err, ErrMail) {
			t.Errorf("about %q: %v", subject, err)
		}
	}
	for _, body := range []string{"a\r\n.\r\nMAIL FROM:<eve@evil.example>", "a\rb", "a\x00b", "\xff", "\x1b[2J", strings.Repeat("a", maxText+1)} {
		if err := m.Send(t.Context(), "ada@mail.example", "Subject", body); !errors.Is(err, ErrMail) {
			t.Errorf("text %.20q: %v", body, err)
		}
	}
	if _, lines, _ := s.took(); len(lines) != 0 {
		t.Errorf("the server heard %q", lines)
	}
	// A dot alone does not end a mail, and an encoded subject stays one line.
	if err := m.Send(t.Context(), "ada@mail.example", "=?utf-8?q?a=0D=0ABcc:_eve@evil.example?=", "a\n.\nMAIL FROM:<eve@evil.example>\n"); err != nil {
		t.Fatal(err)
	}
	mails, lines, _ := s.took()
	if len(mails) != 1 || !strings.HasSuffix(mails[0], "\r\n\r\na\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n") || strings.Count(strings.Join(lines, "\n"), "MAIL FROM") != 1 {
		t.Errorf("%q", mails)
	}
}

// TestRefusals has servers that cannot be trusted, refuse, or go away. Nothing
// of the mail or the password is in an error, also if the server repeats it.
func TestRefusals(t *testing.T) {
	echo := "5.7.1 " + token + " " + password + " ada@mail.example"
	answer := func(command, line string) func(*server) {
		return func(s *server) { s.answers = map[string]string{command: line} }
	}
	other, _ := certificate(t, "other.example")
	for name, c := range map[string]struct {
		change func(*server)
		config func(*Config)
		want   error
		unsaid []string // what it must not have heard
	}{
		"no STARTTLS":             {func(s *server) { s.noStartTLS = true }, nil, ErrPermanent, []string{"AUTH", "MAIL", "RCPT"}},
		"STARTTLS refused":        {answer("STARTTLS", "454 not now"), nil, ErrTemporary, []string{"AUTH", "MAIL", "RCPT"}},
		"another certificate":     {func(s *server) { s.cert = other }, nil, ErrPermanent, []string{"AUTH", "MAIL", "RCPT"}},
		"another, TLS at once":    {func(s *server) { s.cert, s.implicit = other, true }, nil, ErrPermanent, []string{"EHLO", "AUTH", "MAIL"}},
		"unknown roots":           {nil, func(c *Config) { c.Roots = nil }, ErrPermanent, []string{"AUTH", "MAIL", "RCPT"}},
		"no AUTH":                 {func(s *server) { s.auth = "" }, nil, ErrPermanent, []string{"MAIL", "RCPT"}},
		"AUTH by LOGIN":           {func(s *server) { s.auth = "LOGIN" }, nil, ErrPermanent, []string{"MAIL", "RCPT"}},
		"AUTH refused":            {answer("AUTH", "535 "+echo), nil, ErrPermanent, []string{"MAIL", "RCPT"}},
		"a greeting of 554":       {answer("greeting", "554 "+echo), nil, ErrPermanent, []string{"EHLO"}},
		"a greeting of 421":       {answer("greeting", "421 later"), nil, ErrTemporary, []string{"EHLO"}},
		"no greeting":             {answer("greeting", ""), nil, ErrTemporary, []string{"EHLO"}},
		"sender refused":          {answer("MAIL", "550 "+echo), nil, ErrPermanent, []string{"RCPT", "DATA"}},
		"recipient refused":       {answer("RCPT", "550 "+echo), nil, ErrPermanent, []string{"DATA"}},
		"greylisted":              {answer("RCPT", "451 "+echo), nil, ErrTemporary, []string{"DATA"}},
		"DATA refused":            {answer("DATA", "554 "+echo), nil, ErrPermanent, nil},
		"content refused":         {answer("end", "554 "+echo), nil, ErrPermanent, nil},
		"full":                    {answer("end", "452 "+echo), nil, ErrTemporary, nil},
		"gone before the end":     {answer("end", ""), nil, ErrTemporary, nil},
		"gone after RCPT":         {answer("RCPT", ""), nil, ErrTemporary, []string{"DATA"}},
		"not SMTP":                {answer("greeting", "HTTP/1.1 400 "+echo), nil, ErrTemporary, []string{"EHLO"}},
		"TLS where there is none": {nil, func(c *Config) { c.Security = TLS }, ErrTemporary, []string{"EHLO"}},
	} {
		s := startServer(t, c.change)
		err := newMailer(t, s, c.config).Send(t.Context(), "ada@mail.example", "Sign in", text)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "ada@") {
			t.Errorf("%s: the error has what it must not: %v", name, err)
		}
		mails, lines, _ := s.took()
		if len(mails) != 0 {
			t.Errorf("%s: it took the mail over", name)
		}
		for _, line := range lines {
			for _, not := range c.unsaid {
				if strings.HasPrefix(line, not) {
					t.Errorf("%s: it heard %s", name, not)
				}
			}
		}
	}
	// Taken over is taken over, whatever comes of QUIT.
	s := startServer(t, answer("QUIT", "421 "+echo))
	if err := newMailer(t, s, nil).Send(t.Context(), "ada@mail.example", "Sign in", text); err != nil {
		t.Errorf("QUIT refused: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	for _, command := range []string{"greeting", "EHLO", "AUTH", "RCPT", "end"} {
		s := startServer(t, func(s *server) { s.silent = command })
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := newMailer(t, s, nil).Send(ctx, "ada@mail.example", "Sign in", text)
		cancel()
		if !errors.Is(err, ErrTemporary) {
			t.Errorf("no answer to %s: %v", command, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	m, err := New(Config{Server: l.Addr().String(), Security: Plaintext, From: "login@broker.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), "ada@mail.example", "Sign in", text); !errors.Is(err, ErrTemporary) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestPlaintext(t *testing.T) {
	s := startServer(t, func(s *server) { s.noStartTLS = true })
	m := newMailer(t, s, func(c *Config) { c.Security = Plaintext })
	if err := m.Send(t.Context(), "ada@mail.example", "Sign in", text); err != nil {
		t.Error(err)
	}
	m = newMailer(t, s, func(c *Config) { c.Security, c.Username, c.Password = Plaintext, "", secret.Value{} })
	if err := m.Send(t.Context(), "ada@mail.example", "Sign in", text); err != nil {
		t.Error(err)
	}
	if mails, lines, _ := s.took(); len(mails) != 2 || strings.Count(strings.Join(lines, "\n"), "AUTH") != 1 {
		t.Errorf("%d mails, %q", len(mails), lines)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{Server: "smtp.example:587", Username: "u", Password: secret.FromString(password), From: "AgentKeys <login@broker.example>"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no port":           func(c *Config) { c.Server = "smtp.example" },
		"no host":           func(c *Config) { c.Server = ":587" },
		"plain text":        func(c *Config) { c.Security = Plaintext },
		"plain text, alike": func(c *Config) { c.Security, c.Server = Plaintext, "localhost.example:25" },
		"plain text, near":  func(c *Config) { c.Security, c.Server = Plaintext, "10.0.0.7:25" },
		"no security":       func(c *Config) { c.Security = 7 },
		"no sender":         func(c *Config) { c.From = "" },
		"two senders":       func(c *Config) { c.From = "a@b.example, c@d.example" },
		"sender, injected":  func(c *Config) { c.From = "A <a@b.example>\r\nBcc: eve@evil.example" },
		"name, injected":    func(c *Config) { c.From = "=?utf-8?q?a=0D=0AB?= <a@b.example>" },
		"no password":       func(c *Config) { c.Password = secret.Value{} },
		"no user":           func(c *Config) { c.Username = "" },
	} {
		c := good
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
