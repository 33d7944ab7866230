package verifymail

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"github.com/jhillyerd/enmime/v2"
	"golang.org/x/net/html/charset"

	"github.com/litentry/agentkeys/internal/mailhead"
)

const (
	maxParts      = 64
	maxMultiparts = 8    // in all, and so in depth
	maxDashes     = 2000 // runs of -- in a body; each may be a boundary
	maxMediaType  = 1000 // bytes
	maxBoundary   = 70   // bytes, RFC 2046, 5.1.1
)

// texts returns what a person could read of the mail: its texts, plain ones
// and those in HTML, without attachments.
//
// The tree of parts is taken apart by enmime. It is lenient in ways that would
// cost too much here: it recurses without an end, and each level reads all that
// is below once more; it looks for a place behind the last sibling for each
// part; its decoders keep an error for each bad byte, and guess charsets that
// are declared. So it gets a body whose boundaries are few, is told through the
// media types how many multiparts there are, and leaves decoding to us.
func (m *message) texts() ([]flow, *Refusal) {
	head, refusal := m.contentHeader()
	if refusal != nil {
		return nil, refusal
	}
	if dashes(m.body) > maxDashes {
		return nil, refuse(TooComplex, "too many lines that may part it")
	}
	g := &guard{}
	parser := enmime.NewParser(
		enmime.RawContent(true),
		enmime.MaxStoredPartErrors(1),
		enmime.SetCustomParseMediaType(g.mediaType),
	)
	root, err := parser.ReadParts(io.MultiReader(strings.NewReader(head), bytes.NewReader(m.body)))
	switch {
	case g.many:
		return nil, refuse(TooComplex, "too many parts")
	case err != nil || g.bad:
		return nil, refuse(BadMIME, "")
	}
	w := walker{}
	if refusal := w.walk(root, 0); refusal != nil {
		return nil, refusal
	}
	if len(w.flows) == 0 {
		return nil, refuse(NoText, "")
	}
	return w.flows, nil
}

// contentHeader returns a header of the fields that say what the body is. The
// library reads headers by rules of its own, and is to see no other fields than
// we do.
func (m *message) contentHeader() (string, *Refusal) {
	var s strings.Builder
	for _, name := range []string{"Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
		f := m.head.Get(name)
		if len(f) > 1 {
			return "", refuse(BadHeader, "what describes the body stands twice")
		}
		if len(f) == 0 {
			continue
		}
		v := mailhead.Unfold(f[0].Value)
		if len(v) > maxMediaType || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "", refuse(BadMIME, "")
		}
		s.WriteString(name + ": " + v + "\r\n")
	}
	return s.String() + "\r\n", nil
}

// dashes counts the runs of two hyphens and more.
func dashes(b []byte) (n int) {
	for {
		i := bytes.Index(b, []byte("--"))
		if i < 0 {
			return n
		}
		n++
		b = bytes.TrimLeft(b[i:], "-")
	}
}

// guard watches the media types of a message as they are parsed. Each multipart
// is seen twice.
type guard struct {
	calls, multiparts int
	bad, many         bool
}

var errMedia = errors.New("bad media type")

func (g *guard) mediaType(s string) (string, map[string]string, []string, error) {
	if g.calls++; g.calls > 8*maxParts || g.many {
		g.many = true
		return "", nil, nil, errMedia
	}
	if s == "" || len(s) > maxMediaType {
		return "", nil, nil, errMedia
	}
	t, params, err := mime.ParseMediaType(s)
	switch {
	case err == nil:
	case errors.Is(err, mime.ErrInvalidMediaParameter) && !strings.HasPrefix(t, "text/") && !strings.HasPrefix(t, "multipart/"):
		params = nil // the name of an attachment
	default:
		return "", nil, nil, errMedia
	}
	if !strings.HasPrefix(t, "multipart/") {
		delete(params, "boundary")
		return t, params, nil, nil
	}
	if b := params["boundary"]; b == "" || len(b) > maxBoundary {
		g.bad = true
		return "", nil, nil, errMedia
	}
	if g.multiparts++; g.multiparts > 2*maxMultiparts {
		g.many = true
		return "", nil, nil, errMedia
	}
	return t, params, nil, nil
}

// walker collects texts.
type walker struct {
	parts int
	flows []flow
}

func (w *walker) walk(p *enmime.Part, depth int) *Refusal {
	for ; p != nil; p = p.NextSibling {
		if w.parts++; w.parts > maxParts || depth > maxMultiparts {
			return refuse(TooComplex, "too many parts")
		}
		if strings.HasPrefix(p.ContentType, "multipart/") {
			if refusal := w.walk(p.FirstChild, depth+1); refusal != nil {
				return refusal
			}
			continue
		}
		if refusal := w.leaf(p); refusal != nil {
			return refusal
		}
	}
	return nil
}

// leaf takes the text of a part, if a mail program would show it as such.
func (w *walker) leaf(p *enmime.Part) *Refusal {
	if len(p.Header["Content-Type"]) > 1 || len(p.Header["Content-Transfer-Encoding"]) > 1 {
		return refuse(BadMIME, "what describes a part stands twice")
	}
	if d := p.Header["Content-Disposition"]; p.FileName != "" || len(d) > 0 && p.Disposition != "inline" {
		return nil
	}
	html := p.ContentType == "text/html"
	if !html && p.ContentType != "text/plain" && p.ContentType != "" {
		return nil
	}
	raw, ok := decode(p.Content, p.Header.Get("Content-Transfer-Encoding"))
	if !ok {
		return refuse(BadMIME, "the transfer encoding is broken or unknown")
	}
	text, ok := toUTF8(raw, p.Charset)
	if !ok {
		return refuse(UnknownCharset, "")
	}
	var f flow
	if html {
		var refusal *Refusal
		if f, refusal = htmlFlow(text); refusal != nil {
			return refusal
		}
	} else {
		f = plainFlow(text)
	}
	f.html = html
	w.flows = append(w.flows, f)
	return nil
}

// decode undoes a transfer encoding, strictly: what is guessed at may be a code.
func decode(b []byte, encoding string) ([]byte, bool) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return b, true
	case "base64":
		b = bytes.Map(func(r rune) rune {
			if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
				return -1
			}
			return r
		}, b)
		out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
		n, err := base64.StdEncoding.Decode(out, b)
		return out[:n], err == nil
	case "quoted-printable":
		// A buffer of its own, or lines beyond 4 KiB fail.
		r := bufio.NewReaderSize(bytes.NewReader(b), len(b)+64)
		out, err := io.ReadAll(quotedprintable.NewReader(r))
		return out, err == nil
	}
	return nil, false
}

// toUTF8 decodes a charset by the list that browsers have. UTF-7, which hides
// markup from whoever does not expect it, is not on that list.
func toUTF8(b []byte, name string) (string, bool) {
	if name == "" {
		name = "utf-8" // ASCII, and those who forgot to say
	}
	e, canonical := charset.Lookup(name)
	if e == nil || canonical == "replacement" {
		return "", false
	}
	if canonical != "utf-8" {
		var err error
		if b, err = e.NewDecoder().Bytes(b); err != nil {
			return "", false
		}
	}
	return strings.ToValidUTF8(string(b), "\ufffd"), true
}
