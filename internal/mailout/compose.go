package mailout

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a mail. RFC 5322 has lines of up to 998 bytes.
const (
	maxSubject = 200
	maxText    = 64 << 10
	maxLine    = 998
)

// compose writes a mail of plain text as RFC 5322 and MIME have it, with CRLF.
func (m *Mailer) compose(to, subject, text string, now time.Time, id string) ([]byte, error) {
	if err := checkAddress(to); err != nil {
		return nil, err
	}
	if subject == "" || len(subject) > maxSubject || !utf8.ValidString(subject) || strings.ContainsFunc(subject, control) {
		return nil, fmt.Errorf("%w: the subject is not one line of up to %d bytes", ErrMail, maxSubject)
	}
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return control(r) && r != '\n' && r != '\t' }) {
		return nil, fmt.Errorf("%w: the text has characters that are not for text, or is longer than %d bytes", ErrMail, maxText)
	}
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", m.from.String())
	header("To", "<"+to+">")
	if words := mime.QEncoding.Encode("utf-8", subject); words == subject {
		header("Subject", subject)
	} else { // each on a line of its own: RFC 2047 has lines of up to 76 bytes
		header("Subject", "\r\n "+strings.ReplaceAll(words, "?= =?", "?=\r\n =?"))
	}
	header("Date", now.Format(time.RFC1123Z))
	header("Message-ID", "<"+id+"@"+m.domain+">")
	header("Auto-Submitted", "auto-generated") // RFC 3834: no vacation notes, please
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	if plain(text) {
		// As it is: some readers show links of an encoded text cut.
		header("Content-Transfer-Encoding", "7bit")
		b.WriteString("\r\n" + strings.ReplaceAll(text, "\n", "\r\n"))
		return b.Bytes(), nil
	}
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

func plain(text string) bool {
	for line := range strings.Lines(text) {
		if len(line) > maxLine {
			return false
		}
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' })
}
