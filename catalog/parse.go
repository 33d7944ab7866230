package catalog

import (
	"net/textproto"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// Parse parses a service file of a user and validates it. The file is named
// after its id. Every failure wraps ErrFile and says name:line.
func Parse(name string, data []byte) (*Entry, error) {
	e, d, root := parse(name, data)
	e.lint(d, root)
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

func parse(name string, data []byte) (*Entry, *document, *yaml.Node) {
	d := &document{file: name}
	root := d.root(data)
	m := d.mapping(root)
	e := &Entry{
		ID:      d.service(m.take("id")),
		Name:    d.str(m.take("name")),
		Summary: d.str(m.take("summary")),
		Aliases: listOrNone(d, m.take("aliases"), d.alias),
		Docs:    d.https(m.take("docs")),
		Base:    d.base(m.take("base_url")),
		Hosts:   listOrNone(d, m.take("hosts"), d.host),

		Inject:  list(d, m.take("inject"), d.placement),
		Headers: listOrNone(d, m.take("headers"), d.constHeader),
		Strip:   d.strip(m.take("strip")),
		Env:     d.env(m.take("env")),
		Key:     d.key(m.take("key")),
		Verify:  d.verify(m.take("verify")),

		Allow: list(d, m.take("allow"), d.rule),
		Shut:  listOrNone(d, m.take("shut"), d.rule),

		Usage:       d.usage(m.take("usage")),
		Stream:      d.stream(m.take("stream")),
		RateHeaders: factList(d, m.take("rate_headers"), d.rateHeader),

		Terms:      d.terms(m.take("terms")),
		Doors:      d.doors(m.take("doors")),
		MailTag:    fact(d, m.take("mail_tag"), d.tag),
		Mail:       d.mail(m.maybe("mail")),
		Federation: d.federation(m.maybe("federation")),
		Minting:    d.minting(m.maybe("minting")),
		Recipe:     d.recipe(m.maybe("recipe")),
		Sources:    list(d, m.take("sources"), d.source),
		LiveTested: d.when(m.take("live_tested")),
	}
	m.done()
	e.validate(d, root)
	return e, d, root
}

func (d *document) service(n *yaml.Node) agentkeys.Service {
	text := d.str(n)
	s, err := agentkeys.ParseService(text)
	if n != nil && d.err == nil {
		switch {
		case err != nil:
			d.fail(n, "%v", err)
		case strings.Contains(text, "--"):
			d.fail(n, "a service id has no -- in it, which marks what is kept beside a key")
		}
	}
	return s
}

func (d *document) alias(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && (len(s) < 2 || len(s) > 32 || strings.ToLower(s) != s) {
		d.fail(n, "an alias has 2 to 32 small letters")
	}
	return s
}

func (d *document) host(n *yaml.Node) Host {
	m := d.mapping(n)
	defer m.done()
	return Host{d.https(m.take("url")), d.str(m.take("why"))}
}

// header reads a header's name and makes it canonical.
func (d *document) header(n *yaml.Node) string {
	s := d.str(n)
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
			d.fail(n, "the name of a header is wanted here")
		}
	}
	return textproto.CanonicalMIMEHeaderKey(s)
}

// query reads a query parameter's name.
func (d *document) query(n *yaml.Node) string {
	s := d.str(n)
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			d.fail(n, "the name of a query parameter is wanted here")
		}
	}
	return s
}

func (d *document) placement(n *yaml.Node) Placement {
	m := d.mapping(n)
	defer m.done()
	if q := m.maybe("query"); q != nil {
		return Placement{Query: d.query(q)}
	}
	return Placement{Header: d.header(m.take("header")), Prefix: d.strOr(m.maybe("prefix"))}
}

func (d *document) constHeader(n *yaml.Node) ConstHeader {
	m := d.mapping(n)
	defer m.done()
	h := ConstHeader{Name: d.header(m.take("name")), Value: d.str(m.take("value")), IfAbsent: d.yes(m.maybe("if_absent"))}
	merge := m.maybe("merge")
	if h.Merge = d.yes(merge); h.Merge && h.IfAbsent {
		d.fail(merge, "it is either if_absent or merge")
	}
	return h
}

func (d *document) strip(n *yaml.Node) Strip {
	if is(n, "none") {
		return Strip{}
	}
	m := d.mapping(n)
	defer m.done()
	return Strip{
		Headers: listOrNone(d, m.take("headers"), d.header),
		Query:   listOrNone(d, m.take("query"), d.query),
	}
}

func (d *document) variable(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil && (s[0] >= '0' && s[0] <= '9' || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "") {
		d.fail(n, "the name of an environment variable is wanted here")
	}
	return s
}

func (d *document) env(n *yaml.Node) Env {
	m := d.mapping(n)
	defer m.done()
	return Env{
		Key: listOrNone(d, m.take("key"), d.variable),
		Base: factList(d, m.take("base_url"), func(n *yaml.Node) BaseVar {
			m := d.mapping(n)
			defer m.done()
			return BaseVar{d.variable(m.take("name")), d.suffix(m.take("suffix"))}
		}),
		Unset: listOrNone(d, m.take("unset"), d.variable),
		Note:  d.strOr(m.maybe("note")),
	}
}

func (d *document) suffix(n *yaml.Node) string {
	if is(n, "none") {
		return ""
	}
	s := d.str(n)
	if n != nil && d.err == nil && s != "/" {
		if _, err := grant.ParsePath(s); err != nil {
			d.fail(n, "%v", err)
		}
	}
	return s
}

func (d *document) rule(n *yaml.Node) grant.Rule {
	s := d.str(n)
	if n == nil || d.err != nil {
		return grant.Rule{}
	}
	r, err := grant.ParseRule(s)
	if err != nil {
		d.fail(n, "%v", err)
	}
	return r
}

func (d *document) rateHeader(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && (strings.ToLower(s) != s || strings.ContainsAny(strings.TrimSuffix(s, "*"), "* ")) {
		d.fail(n, "a header in small letters is wanted here, with a * at the end for any rest")
	}
	return s
}

func (d *document) tag(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && (len(s) < 2 || len(s) > 4 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") != "") {
		d.fail(n, "a mail tag has 2 to 4 of a-z")
	}
	return s
}

func (d *document) grade(n *yaml.Node) Grade {
	words := make([]string, len(grades))
	for i, g := range grades {
		words[i] = string(g)
	}
	return Grade(d.word(n, words...))
}

func (d *document) source(n *yaml.Node) Source {
	m := d.mapping(n)
	defer m.done()
	return Source{d.str(m.take("ref")), d.grade(m.take("grade"))}
}

// when reads a date in quotes, or never.
func (d *document) when(n *yaml.Node) string {
	if is(n, "never") {
		return "never"
	}
	return d.date(n)
}
