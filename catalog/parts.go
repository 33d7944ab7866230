package catalog

import (
	"net/url"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/grant"
)

func (d *document) base(n *yaml.Node) *url.URL {
	u := d.https(n)
	if u != nil {
		if err := validBase(u, n.Value, "a base URL"); err != nil {
			d.fail(n, "%v", err)
		}
	}
	return u
}

func (d *document) date(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil {
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			d.fail(n, "a date in quotes is wanted here, such as \"2026-11-21\"")
		}
	}
	return s
}

func (d *document) key(n *yaml.Node) Key {
	m := d.mapping(n)
	defer m.done()
	k := Key{
		Patterns: factList(d, m.take("patterns"), func(n *yaml.Node) Pattern {
			m := d.mapping(n)
			defer m.done()
			return newPattern(Pattern{
				Match:   d.pattern(m.take("match")),
				Grade:   d.grade(m.take("grade")),
				Generic: d.strOr(m.maybe("generic")),
			})
		}),
		Refuse: listOrNone(d, m.take("refuse"), func(n *yaml.Node) Pattern {
			m := d.mapping(n)
			defer m.done()
			return newPattern(Pattern{
				Match:  d.pattern(m.take("match")),
				Grade:  d.grade(m.take("grade")),
				Reason: d.str(m.take("reason")),
			})
		}),
		ShownOnce: fact(d, m.take("shown_once"), d.yes),
		Note:      d.strOr(m.maybe("note")),
	}
	switch d.word(m.take("others"), "none", "unknown") {
	case "none":
		k.Others = None
	}
	p := m.take("placeholder")
	if !is(p, "none") {
		k.Placeholder = d.str(p)
		if p != nil && (len(k.Placeholder) > 32 || strings.Trim(k.Placeholder, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "") {
			d.fail(p, "a placeholder starts with at most 32 letters, digits, - _ or .")
		}
	}
	return k
}

// pattern reads a regular expression that is anchored at both ends, without
// compiling it.
func (d *document) pattern(n *yaml.Node) string {
	s := d.str(n)
	if n == nil || d.err != nil {
		return ""
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		d.fail(n, "%v", err)
		return ""
	}
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText || re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		d.fail(n, "a pattern starts with ^ and ends with $")
	}
	return s
}

func (d *document) verify(n *yaml.Node) Verify {
	m := d.mapping(n)
	defer m.done()
	v := Verify{Note: d.strOr(m.maybe("note"))}
	if u := m.maybe("url"); u != nil {
		v.URL = d.https(u)
	} else {
		v.Path = fact(d, m.take("path"), d.path)
	}
	if v.URL == nil && v.Path.State != Known {
		if v.Note == "" {
			d.fail(n, "a note says why no check of keys is known")
		}
		return v
	}
	v.Method = d.word(m.take("method"), "GET", "POST")
	v.Body = d.strOr(m.maybe("body"))
	v.OK = list(d, m.take("ok"), d.status)
	v.Bad = factList(d, m.take("bad"), d.status)
	if s := m.maybe("special"); s != nil {
		v.Special = list(d, s, d.answer)
	}
	v.Echoes = Echo(d.word(m.take("echoes"), string(EchoUnknown), string(EchoNone), string(EchoMasked), string(EchoFull)))
	v.Grade = d.grade(m.take("grade"))
	return v
}

func (d *document) path(n *yaml.Node) string {
	p, err := grant.ParsePath(d.str(n))
	if err != nil && n != nil {
		d.fail(n, "%v", err)
	}
	return p
}

func (d *document) answer(n *yaml.Node) Answer {
	m := d.mapping(n)
	defer m.done()
	a := Answer{
		Status: d.status(m.take("status")),
		Means:  Verdict(d.word(m.take("means"), string(Good), string(Limited), string(Bad), string(Refused))),
		Note:   d.strOr(m.maybe("note")),
	}
	if f := m.maybe("field"); f != nil {
		a.Field, a.Is = d.jsonPath(f), d.str(m.take("is"))
	}
	return a
}

// jsonPath reads keys of nested JSON objects, joined by full stops.
func (d *document) jsonPath(n *yaml.Node) string {
	s := d.str(n)
	keys := strings.Split(s, ".")
	if n != nil && d.err == nil && (len(keys) > maxDepth || slices.Contains(keys, "") ||
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "") {
		d.fail(n, "a JSON path is wanted here, such as usage.cost, of at most %d keys", maxDepth)
	}
	return s
}

// jsonSum reads JSON paths joined by " + ".
func (d *document) jsonSum(n *yaml.Node) string {
	s := d.str(n)
	for p := range strings.SplitSeq(s, " + ") {
		if n != nil && d.err == nil {
			d.jsonPath(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: p, Line: n.Line})
		}
	}
	return s
}

func (d *document) usage(n *yaml.Node) UsageSpec {
	m := d.mapping(n)
	defer m.done()
	u := UsageSpec{
		Pricing: Pricing(d.word(m.take("pricing"), string(PricingUnknown), string(PricingReported), string(PricingTable), string(PricingNone))),
		Cost: factList(d, m.take("cost"), func(n *yaml.Node) CostField {
			m := d.mapping(n)
			defer m.done()
			return CostField{d.jsonPath(m.take("at")), Unit(d.word(m.take("unit"), string(UnitUSD), string(UnitTicks)))}
		}),
		Tokens: fact(d, m.take("tokens"), func(n *yaml.Node) TokenFields {
			m := d.mapping(n)
			defer m.done()
			return TokenFields{
				Model:      listOrNone(d, m.take("model"), d.jsonPath),
				Input:      listOrNone(d, m.take("input"), d.jsonSum),
				Output:     listOrNone(d, m.take("output"), d.jsonSum),
				CacheRead:  listOrNone(d, m.take("cache_read"), d.jsonSum),
				CacheWrite: listOrNone(d, m.take("cache_write"), d.jsonSum),
			}
		}),
		Unpriced: listOrNone(d, m.take("unpriced"), d.jsonPath),
		Note:     d.strOr(m.maybe("note")),
	}
	if d.err == nil && n != nil && len(u.paths()) > maxSlots {
		d.fail(n, "usage has more than %d paths", maxSlots)
	}
	if d.err == nil {
		u.compile()
		if u.trie.widest() > maxKids {
			d.fail(n, "usage has more than %d keys side by side", maxKids)
		}
	}
	return u
}

func (t *trie) widest() int {
	w := len(t.kids)
	for _, k := range t.kids {
		w = max(w, k.to.widest())
	}
	return w
}

func (d *document) stream(n *yaml.Node) Stream {
	if is(n, "unknown") {
		return Stream{}
	}
	if is(n, "none") {
		return Stream{Kind: Fact[string]{State: None}, Usage: Fact[string]{State: None}}
	}
	m := d.mapping(n)
	defer m.done()
	s := Stream{Kind: Fact[string]{Known, d.word(m.take("kind"), "sse")}}
	s.Usage = fact(d, m.take("usage"), func(n *yaml.Node) string {
		return d.word(n, "last-event", "several-events", "on-request")
	})
	if s.Usage.Value == "on-request" {
		s.Request = d.jsonPath(m.take("request"))
	}
	return s
}

func (d *document) terms(n *yaml.Node) Terms {
	m := d.mapping(n)
	defer m.done()
	t := Terms{URL: fact(d, m.take("url"), d.https), Finding: d.str(m.take("finding"))}
	r := d.mapping(m.take("review"))
	defer r.done()
	if d.word(r.take("state"), "not-reviewed", "reviewed") == "reviewed" {
		t.Review = Review{true, d.date(r.take("date")), d.str(r.take("by"))}
	}
	return t
}

func (d *document) doors(n *yaml.Node) map[Door]DoorFact {
	m := d.mapping(n)
	defer m.done()
	doors := make(map[Door]DoorFact, 5)
	for _, door := range Doors() {
		m := d.mapping(m.take(string(door)))
		f := DoorFact{
			State: DoorState(d.word(m.take("state"), string(DoorUnknown), string(DoorKnown), string(DoorUnsupported))),
			Fact:  d.str(m.take("fact")),
		}
		if needs := m.maybe("needs"); needs != nil {
			f.Needs = list(d, needs, func(n *yaml.Node) string {
				return d.word(n, "captcha", "card", "google-account", "phone", "support")
			})
		}
		m.done()
		doors[door] = f
	}
	return doors
}
