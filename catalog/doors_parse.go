package catalog

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxParameters = 16
	maxSetup      = 20
)

// federation reads a key that may be missing, which is nil.
func (d *document) federation(n *yaml.Node) *Federation {
	if n == nil {
		return nil
	}
	m := d.mapping(n)
	defer m.done()
	return &Federation{
		Shape:      d.word(m.take("shape"), "anthropic", "openai", "huggingface"),
		URL:        d.base(m.take("url")),
		Audience:   fact(d, m.take("audience"), d.audience),
		Parameters: d.parameters(m.take("parameters")),
		Inject:     list(d, m.take("inject"), d.placement),
		Headers:    listOrNone(d, m.take("headers"), d.constHeader),
		Setup:      bounded(d, m.take("setup"), maxSetup, d.str),
		Grade:      d.grade(m.take("grade")),
		Note:       d.strOr(m.maybe("note")),
	}
}

// minting reads a key that may be missing, which is nil.
func (d *document) minting(n *yaml.Node) *Minting {
	if n == nil {
		return nil
	}
	m := d.mapping(n)
	defer m.done()
	return &Minting{
		Shape:      d.word(m.take("shape"), "openrouter", "openai", "google", "xai", "resend", "elevenlabs"),
		URL:        d.base(m.take("url")),
		Parameters: d.parameters(m.take("parameters")),
		Setup:      bounded(d, m.take("setup"), maxSetup, d.str),
		Grade:      d.grade(m.take("grade")),
		Note:       d.strOr(m.maybe("note")),
	}
}

func (d *document) parameters(n *yaml.Node) []Parameter {
	seen := map[string]bool{}
	return boundedOrNone(d, n, maxParameters, func(n *yaml.Node) Parameter {
		m := d.mapping(n)
		defer m.done()
		name := m.take("name")
		p := Parameter{Name: d.str(name), Prefix: d.strOr(m.maybe("prefix")), Required: d.yes(m.maybe("required")), What: d.str(m.take("what"))}
		switch {
		case d.err != nil:
		case len(p.Name) > maxParameterName || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
			d.fail(name, "the name of a parameter has at most %d of a-z, 0-9 and _", maxParameterName)
		case seen[p.Name]:
			d.fail(name, "two parameters are named %s", p.Name)
		case p.Prefix != "" && !word(p.Prefix, maxParameterName):
			d.fail(n, "a prefix is printable ASCII without spaces, at most %d bytes", maxParameterName)
		}
		seen[p.Name] = true
		return p
	})
}

func (d *document) audience(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil && !word(s, maxAudience) {
		d.fail(n, "an audience is printable ASCII without spaces, at most %d bytes", maxAudience)
	}
	return s
}

// word reports whether s is printable ASCII without spaces, not empty and at
// most limit bytes long.
func word(s string, limit int) bool {
	return s != "" && len(s) <= limit && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// validateDoors checks federation and minting against the rest of an entry.
func (e *Entry) validateDoors(d *document, root *yaml.Node) {
	if e.Federation != nil && e.Doors[Federate].State == DoorUnsupported {
		d.fail(keyOf(root, "federation"), "a door that is unsupported needs no federation")
	}
	if e.Minting != nil && e.Doors[Mint].State == DoorUnsupported {
		d.fail(keyOf(root, "minting"), "a door that is unsupported needs no minting")
	}
	if e.Federation != nil {
		validateInject(d, keyOf(root, "federation"), e.Federation.Inject)
	}
}
