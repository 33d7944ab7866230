package verifymail

import (
	"net/mail"
	"strings"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// fromDomain returns the domain of the author's address; false unless there is
// exactly one From, with exactly one plain address. A group, several addresses,
// a quoted local part, and a name that shows an address of its own are refused:
// one reader would see another author than the next.
func fromDomain(head mailhead.Block) (string, bool) {
	f := head.Get("From")
	if len(f) != 1 || len(f[0].Value) > maxField {
		return "", false
	}
	v := mailhead.Unfold(f[0].Value)
	if !onePlainAddress(v) {
		return "", false
	}
	a, err := mail.ParseAddress(v)
	if err != nil {
		return "", false
	}
	local, domain, ok := strings.Cut(a.Address, "@")
	if !ok || local == "" || strings.Trim(local, atext+".") != "" || strings.Contains(a.Name, "=?") {
		return "", false
	}
	if strings.ContainsAny(a.Name, "@\uff20\ufe6b<>") && !strings.EqualFold(a.Name, a.Address) {
		return "", false
	}
	return asciiHost(domain)
}

// onePlainAddress looks at what stands outside quoted strings: one @, no
// comment, no list, no group.
func onePlainAddress(v string) bool {
	at, angle, quoted := 0, 0, false
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '@':
			at++
		case c == '<':
			angle++
		case c == ',', c == ':', c == ';', c == '(', c == ')', c == '[', c == ']', c == '\\':
			return false
		}
	}
	return at == 1 && angle <= 1 && !quoted
}
