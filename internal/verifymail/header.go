package verifymail

import (
	"bytes"
	"strings"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// oddHeader says why two readers of a message may see different headers in it;
// "" if they cannot. The signatures were checked by another program than this
// one: where it saw an end, a field or a line that is none for us, it vouched
// for other text than we read.
func oddHeader(msg []byte, head mailhead.Block) string {
	raw, eol := msg[:head.Size], []byte("\n")
	if i := bytes.IndexByte(raw, '\n'); i > 0 && raw[i-1] == '\r' {
		eol = []byte("\r\n")
	}
	end := 0
	seen := map[string]bool{}
	for _, f := range head.Fields {
		if f.Name == "" || raw[f.Offset+len(f.Name)] != ':' {
			return "a line that is no field"
		}
		if mailhead.Single(f.Name) {
			name := strings.ToLower(f.Name)
			if seen[name] {
				return "what stands once stands twice"
			}
			seen[name] = true
		}
		end = f.End
	}
	if !bytes.Equal(raw[end:], eol) {
		return "no empty line ends it"
	}
	for raw = raw[:end]; len(raw) > 0; {
		line, rest, _ := bytes.Cut(raw, eol)
		if raw = rest; len(bytes.Trim(line, " \t")) == 0 {
			return "a line of spaces" // for some readers, the end
		}
		for _, c := range line {
			if c < ' ' && c != '\t' || c == 0x7f {
				return "a control character, or line ends of two kinds"
			}
		}
	}
	return ""
}

// sesWhole reports whether what ends SES's block stands in a header once, and is
// SES's. A mail of which SES wrote only the beginning of its block could bring
// the rest of it itself; that SES always writes these two is what is left to
// believe, see the package comment.
func sesWhole(head mailhead.Block) bool {
	receipt, sig := head.Get("X-SES-RECEIPT"), head.Get("X-SES-DKIM-SIGNATURE")
	if len(receipt) != 1 || len(sig) != 1 {
		return false
	}
	tags, ok := parseTags(sig[0].Value)
	return ok && strings.EqualFold(tags["d"], mailhead.SES().AuthServID())
}
