package verifymail

import (
	"slices"
	"strings"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// signature is a DKIM-Signature, as far as it says what was signed.
type signature struct {
	domain string   // d=
	fields []string // h=, in small letters
	length bool     // l= is there
}

// signed demands of the signatures what a verdict does not tell: which fields
// they cover, and that they cover the whole body. Whoever got a signed mail can
// send it on, with every field that was not signed replaced, or added where
// there was none, and it still passes. So To must be signed, or a mail to
// somebody else would do for this run, and so must what says how the body is to
// be read, or another part of it would be shown. A verdict names a domain and
// not a signature: every signature that may be meant must hold to this. Those of
// services do: they nearly always sign To, which RFC 6376, 5.4.1, recommends.
func (m *message) signed() *Refusal {
	need := []string{"from", "to"}
	for _, name := range []string{"mime-version", "content-type", "content-transfer-encoding"} {
		if len(m.head.Get(name)) > 0 {
			need = append(need, name)
		}
	}
	found := false
	for _, f := range m.head.Get("DKIM-Signature") {
		s, ok := parseSignature(f.Value)
		switch {
		case !ok:
			return refuse(PartlySigned, "a signature cannot be read")
		case s.length:
			// Anything may have been put behind what it covers: RFC 6376, 8.2.
			return refuse(PartlySigned, "a signature has a length")
		case !aligned(s.domain, m.verdicts.From):
			continue
		}
		found = true
		for _, name := range need {
			if !slices.Contains(s.fields, name) {
				return refuse(PartlySigned, "a signature leaves out "+name)
			}
		}
	}
	if !found {
		return refuse(PartlySigned, "the sender's signature is not there")
	}
	return nil
}

// plainSigners reports whether the names in all signatures are such as a
// receiver can repeat in its results without saying something else by it.
func plainSigners(head mailhead.Block) bool {
	for _, f := range head.Get("DKIM-Signature") {
		tags, ok := parseTags(f.Value)
		if !ok {
			continue // signed does not take it
		}
		d, okd := asciiHost(tags["d"])
		i, there := tags["i"]
		if !okd || strings.Trim(tags["d"]+i, signerBytes) != "" {
			return false
		}
		if at := strings.LastIndexByte(i, '@'); there {
			if h, ok := asciiHost(i[at+1:]); at < 0 || !ok || !within(h, d) {
				return false
			}
		}
	}
	return true
}

const signerBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@_+=-"

func parseSignature(v []byte) (signature, bool) {
	tags, ok := parseTags(v)
	if !ok {
		return signature{}, false
	}
	var s signature
	_, s.length = tags["l"]
	if s.domain, ok = asciiHost(tags["d"]); !ok {
		return signature{}, false
	}
	for name := range strings.SplitSeq(tags["h"], ":") {
		name = strings.ToLower(strings.Trim(name, " \t"))
		if _, colon := mailhead.FieldName([]byte(name + ":")); colon == 0 {
			return signature{}, false
		}
		s.fields = append(s.fields, name)
	}
	return s, true
}

// parseTags reads the tag list of a field, RFC 6376, 3.2; false if any of it is
// not as it should be. Names have small letters only, as all that are known do:
// one who takes L= for l= would be another reader.
func parseTags(v []byte) (map[string]string, bool) {
	if len(v) > maxField {
		return nil, false
	}
	list := mailhead.Unfold(v)
	for _, c := range []byte(list) {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return nil, false
		}
	}
	tags := map[string]string{}
	list = strings.TrimSuffix(list, ";")
	for tag := range strings.SplitSeq(list, ";") {
		name, value, ok := strings.Cut(tag, "=")
		name = strings.Trim(name, " \t")
		if _, twice := tags[name]; !ok || twice || !tagName(name) {
			return nil, false
		}
		tags[name] = strings.Trim(value, " \t")
	}
	return tags, true
}

func tagName(s string) bool {
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_') {
			return false
		}
	}
	return s != ""
}
