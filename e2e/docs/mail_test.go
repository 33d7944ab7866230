package docs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
)

// exampleSMTP is where documents have a laptop take mail.
const exampleSMTP = "127.0.0.1:7425"

// mailService plays a service that sends mail and signs it: a DNS server that
// has its records, which the session's process asks, and what sends.
func (s *session) mailService(domain string) error {
	if s.mailer != nil {
		return errors.New("there is one sender of mail to a document")
	}
	names, err := s.takesMail()
	if err != nil {
		return err
	}
	s.mailer, err = mailer.New(names, domain)
	return err
}

// takesMail has the session's process take mail at a port of its own, and ask a
// DNS server that has the records of who sends it.
func (s *session) takesMail() (*dns.Server, error) {
	names, err := dns.Start()
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = names.Close() })
	// A port that no other document has, as for agents.
	port, err := ports.Take(s.t.Cleanup)
	if err != nil {
		return nil, err
	}
	s.stands[exampleSMTP] = fmt.Sprint("127.0.0.1:", port)
	settings, err := json.Marshal(map[string]any{"port": port, "resolver": names.Addr()})
	if err != nil {
		return nil, err
	}
	config := filepath.Join(s.home, ".config", "agentkeys")
	if err := os.MkdirAll(config, 0o700); err != nil {
		return nil, err
	}
	return names, os.WriteFile(filepath.Join(config, "mail.json"), settings, 0o600)
}

// mailed sends the block as the service does, signed, to the address in a
// variable of the session.
func (s *session) mailed(variable string, b *block) error {
	if s.mailer == nil {
		return errors.New("no service sends mail yet")
	}
	out, code, err := s.run(`printf '%s' "$` + variable + `"`)
	to := strings.TrimSpace(out)
	if err != nil || code != 0 || to == "" {
		return fmt.Errorf("$%s is not set: %w", variable, err)
	}
	text := strings.ReplaceAll(strings.Join(b.lines, "\r\n")+"\r\n", "ADDRESS", to)
	_, from, _ := strings.Cut(text, "<")
	from, _, _ = strings.Cut(from, ">")
	return s.mailer.Send(context.Background(), s.stands[exampleSMTP], from, to, []byte(text))
}
