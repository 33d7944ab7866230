package siwe

import (
	"fmt"
	"strconv"
	"strings"
)

// maxMessage bounds what is parsed, in bytes.
const maxMessage = 8 << 10

// Message is one of EIP-4361, version 1:
//
//	[<scheme>://]<domain> wants you to sign in with your Ethereum account:
//	<address>
//
//	[<statement>]
//
//	URI: <uri>
//	Version: 1
//	Chain ID: <chain id>
//	Nonce: <nonce>
//	Issued At: <issued>
//	[Expiration Time: <expires>]
//	[Not Before: <not before>]
//	[Request ID: <request id>]
//	[Resources:
//	- <resource>…]
//
// Lines end with LF and the last with nothing. A line in brackets is absent
// where its field is zero; with the statement goes its LF.
type Message struct {
	Scheme    string
	Domain    string // host and port
	Address   Address
	Statement string
	URI       string
	ChainID   uint64 // EIP-155
	Nonce     string
	Issued    Time
	Expires   Time
	NotBefore Time
	RequestID string
	Resources []string
}

const (
	wants        = " wants you to sign in with your Ethereum account:"
	resourceMark = "- "
)

// String renders m, well formed or not; see Text.
func (m Message) String() string {
	var b strings.Builder
	line := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
		b.WriteByte('\n')
	}
	if m.Scheme != "" {
		b.WriteString(m.Scheme + "://")
	}
	line(m.Domain, wants)
	line(m.Address.String())
	line()
	if m.Statement != "" {
		line(m.Statement)
	}
	line()
	line("URI: ", m.URI)
	line("Version: 1")
	line("Chain ID: ", strconv.FormatUint(m.ChainID, 10))
	line("Nonce: ", m.Nonce)
	b.WriteString("Issued At: " + m.Issued.text)
	for _, f := range []struct{ name, value string }{
		{"Expiration Time: ", m.Expires.text}, {"Not Before: ", m.NotBefore.text}, {"Request ID: ", m.RequestID},
	} {
		if f.value != "" {
			b.WriteString("\n" + f.name + f.value)
		}
	}
	if len(m.Resources) > 0 {
		b.WriteString("\nResources:")
		for _, r := range m.Resources {
			b.WriteString("\n" + resourceMark + r)
		}
	}
	return b.String()
}

// Text renders m, and refuses one that Parse would not give back.
func (m Message) Text() (string, error) {
	s := m.String()
	if _, err := Parse(s); err != nil {
		return "", err
	}
	return s, nil
}

// Parse parses a message. Errors wrap ErrMessage.
func Parse(text string) (Message, error) {
	if len(text) > maxMessage {
		return Message{}, fmt.Errorf("%w: it is longer than %d bytes", ErrMessage, maxMessage)
	}
	l := lines{rest: text, more: true}
	m, err := l.message()
	if err != nil {
		return Message{}, err
	}
	// Whatever the parser read, this is what it means: of a text with a second
	// spelling of anything, nothing is believed.
	if m.String() != text {
		return Message{}, fmt.Errorf("%w: it is not written in the one form that is accepted", ErrMessage)
	}
	return m, nil
}

// lines reads a text line by line.
type lines struct {
	rest string
	more bool // there is another line, if an empty one
}

func (l *lines) next() (line string, ok bool) {
	if !l.more {
		return "", false
	}
	line, l.rest, l.more = strings.Cut(l.rest, "\n")
	return line, true
}

// field takes the next line if it begins with name.
func (l *lines) field(name string) (value string, ok bool) {
	if !l.more || !strings.HasPrefix(l.rest, name) {
		return "", false
	}
	line, _ := l.next()
	return line[len(name):], true
}

func (l *lines) message() (m Message, err error) {
	bad := func(what string) (Message, error) { return Message{}, fmt.Errorf("%w: %s", ErrMessage, what) }
	first, _ := l.next()
	domain, ok := strings.CutSuffix(first, wants)
	if !ok {
		return bad("the first line does not ask to sign in")
	}
	if scheme, rest, ok := strings.Cut(domain, "://"); ok {
		if !isScheme(scheme) {
			return bad("the scheme before the domain is none")
		}
		m.Scheme, domain = scheme, rest
	}
	if m.Domain = domain; domain == "" || !isAuthority(domain) {
		return bad("the domain is not one of RFC 3986")
	}
	address, _ := l.next()
	if m.Address, err = ParseAddress(address); err != nil {
		return Message{}, err
	}
	if blank, ok := l.next(); !ok || blank != "" {
		return bad("no blank line follows the address")
	}
	line, ok := l.next()
	if m.Statement = line; line != "" {
		if !only(line, unreserved+genDelims+subDelims+" ") {
			return bad("the statement has a character that EIP-4361 does not allow")
		}
		line, ok = l.next()
	}
	if !ok || line != "" {
		return bad("no blank line stands before the URI")
	}
	if m.URI, ok = l.field("URI: "); !ok || !isURI(m.URI) {
		return bad("the URI is absent or not one of RFC 3986")
	}
	if v, ok := l.field("Version: "); !ok || v != "1" {
		return bad("the version is not 1")
	}
	id, ok := l.field("Chain ID: ")
	if !ok || id == "" || !only(id, digits) {
		return bad("the chain id is absent or not a number")
	}
	if m.ChainID, err = strconv.ParseUint(id, 10, 64); err != nil {
		return bad("the chain id is beyond any chain")
	}
	if m.Nonce, ok = l.field("Nonce: "); !ok || len(m.Nonce) < 8 || !only(m.Nonce, alpha+digits) {
		return bad("the nonce is absent or not of 8 letters and digits or more")
	}
	issued, ok := l.field("Issued At: ")
	if !ok {
		return bad("the time of issue is absent")
	}
	if m.Issued, err = ParseTime(issued); err != nil {
		return Message{}, err
	}
	return l.optional(m)
}

// optional reads what may be absent, in the only order there is.
func (l *lines) optional(m Message) (_ Message, err error) {
	if v, ok := l.field("Expiration Time: "); ok {
		if m.Expires, err = ParseTime(v); err != nil {
			return Message{}, err
		}
	}
	if v, ok := l.field("Not Before: "); ok {
		if m.NotBefore, err = ParseTime(v); err != nil {
			return Message{}, err
		}
	}
	if v, ok := l.field("Request ID: "); ok {
		if m.RequestID = v; !encoded(v, pchar) {
			return Message{}, fmt.Errorf("%w: the request id has a character that EIP-4361 does not allow", ErrMessage)
		}
	}
	if v, ok := l.field("Resources:"); ok {
		if v != "" {
			return Message{}, fmt.Errorf("%w: the resources do not begin on a line of their own", ErrMessage)
		}
		for l.more {
			r, ok := l.field(resourceMark)
			if !ok || !isURI(r) {
				return Message{}, fmt.Errorf("%w: a resource is not a URI of RFC 3986", ErrMessage)
			}
			m.Resources = append(m.Resources, r)
		}
	}
	if l.more {
		return Message{}, fmt.Errorf("%w: there is a line that EIP-4361 does not know, or not there", ErrMessage)
	}
	return m, nil
}
