package catalog

import (
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/grant"
)

// Mail is what is known of the mail with which a service verifies an address.
// What is unknown is not relied on: without senders no mail is of the service.
type Mail struct {
	// Senders holds the domains that From may have, these or below, and Hosts
	// the hosts that a link may lead to, exactly.
	Senders, Hosts Fact[[]Graded]
	// Paths holds the paths of such links, these or below; unknown: any that
	// carries a token.
	Paths Fact[[]string]
	// Redirects holds hosts that only lead on.
	Redirects Fact[[]Redirect]
	Code      Fact[MailCode]
	Note      string
}

// Graded is a name, and what the claim that it belongs here rests on.
type Graded struct {
	Name  string
	Grade Grade
}

// Redirect is a host whose links carry their target in a query parameter.
type Redirect struct{ Host, Parameter string }

// MailCode says what a code looks like.
type MailCode struct {
	Digits int
	Labels Fact[[]string] // phrases that stand beside it
	Grade  Grade
}

// MailRules is Mail without grades, for whoever looks for a link or a code.
type MailRules struct {
	Senders, LinkHosts, LinkPaths []string
	Redirects                     []Redirect
	Digits                        int // of a code; 0: there is none, or it is not known
	Labels                        []string
}

// MailRules returns what is known of the service's verification mail; false if
// that is not enough to tell one from any other mail.
func (e *Entry) MailRules() (MailRules, bool) {
	m, ok := e.Mail.Get()
	if !ok {
		return MailRules{}, false
	}
	r := MailRules{
		Senders: names(m.Senders), LinkHosts: names(m.Hosts), LinkPaths: append([]string(nil), m.Paths.Value...),
		Redirects: append([]Redirect(nil), m.Redirects.Value...),
		Digits:    m.Code.Value.Digits, Labels: append([]string(nil), m.Code.Value.Labels.Value...),
	}
	return r, len(r.Senders) > 0 && (len(r.LinkHosts) > 0 || r.Digits > 0)
}

func names(f Fact[[]Graded]) (list []string) {
	for _, g := range f.Value {
		list = append(list, g.Name)
	}
	return list
}

// mail reads a key that may be missing, which is unknown.
func (d *document) mail(n *yaml.Node) Fact[Mail] {
	return fact(d, n, func(n *yaml.Node) Mail {
		m := d.mapping(n)
		defer m.done()
		graded := func(key string) func(*yaml.Node) Graded {
			return func(n *yaml.Node) Graded {
				m := d.mapping(n)
				defer m.done()
				return Graded{d.hostName(m.take(key)), d.grade(m.take("grade"))}
			}
		}
		return Mail{
			Senders: factList(d, m.take("senders"), graded("domain")),
			Hosts:   factList(d, m.take("link_hosts"), graded("host")),
			Paths:   factList(d, m.take("link_paths"), d.linkPath),
			Redirects: factList(d, m.take("redirects"), func(n *yaml.Node) Redirect {
				m := d.mapping(n)
				defer m.done()
				return Redirect{d.hostName(m.take("host")), d.query(m.take("parameter"))}
			}),
			Code: fact(d, m.take("code"), d.mailCode),
			Note: d.strOr(m.maybe("note")),
		}
	})
}

func (d *document) mailCode(n *yaml.Node) MailCode {
	m := d.mapping(n)
	defer m.done()
	c := MailCode{Labels: factList(d, m.take("labels"), d.label), Grade: d.grade(m.take("grade"))}
	digits := m.take("digits")
	s := d.scalar(digits, "!!int", "a number of digits")
	switch {
	case digits == nil || d.err != nil:
	case len(s) == 1 && s[0] >= '4' && s[0] <= '9':
		c.Digits = int(s[0] - '0')
	case s == "10":
		c.Digits = 10
	default:
		d.fail(digits, "a code has 4 to 10 digits")
	}
	return c
}

// hostName reads the name of a host or domain: small letters, at least two
// labels, no address.
func (d *document) hostName(n *yaml.Node) string {
	s := d.str(n)
	if n == nil || d.err != nil {
		return s
	}
	labels := strings.Split(s, ".")
	ok := len(s) <= 253 && len(labels) > 1
	for _, l := range labels {
		ok = ok && l != "" && len(l) <= 63 && l[0] != '-' && l[len(l)-1] != '-' &&
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	}
	if last := labels[len(labels)-1]; !ok || last[0] >= '0' && last[0] <= '9' {
		d.fail(n, "the name of a host in small letters is wanted here")
	} else if _, err := netip.ParseAddr(s); err == nil {
		d.fail(n, "the name of a host in small letters is wanted here")
	}
	return s
}

// linkPath reads a path that links begin with.
func (d *document) linkPath(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil {
		if _, err := grant.ParsePath(s); err != nil || len(s) > 256 {
			d.fail(n, "a path of at most 256 bytes is wanted here, without a query")
		}
	}
	return s
}

func (d *document) label(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil && (len(s) > 64 || strings.ContainsAny(s, "0123456789") || strings.TrimSpace(s) != s) {
		d.fail(n, "a phrase of at most 64 bytes is wanted here, without digits")
	}
	return s
}

// validateMail checks what no single value of the mail facts shows.
func (e *Entry) validateMail(d *document, root *yaml.Node) {
	m, ok := e.Mail.Get()
	at := keyOf(root, "mail")
	switch {
	case e.Mail.State == None && e.MailTag.State != None:
		d.fail(at, "mail is none, but mail_tag is not")
	case !ok:
	case e.MailTag.State != Known:
		d.fail(at, "mail is known, but there is no mail_tag for it to come to")
	case m.Senders.State == None:
		d.fail(at, "there is no mail without a sender")
	case m.Senders.State == Known && m.Hosts.State != Known && m.Code.State != Known:
		d.fail(at, "neither link_hosts nor code says what the mail holds")
	}
	if max(len(m.Senders.Value), len(m.Hosts.Value), len(m.Paths.Value), len(m.Redirects.Value), len(m.Code.Value.Labels.Value)) > maxMail {
		d.fail(at, "a list of mail has more than %d elements", maxMail)
	}
}

// maxMail is the length of the longest list of mail facts.
const maxMail = 64
