// Package cloudpolicy owns AWS policy documents: the ones that AgentKeys
// needs, rendered from one template; a strict reading of anybody's; a linter
// for known mistakes; and an evaluator that says what a document means.
//
// It is pure: no I/O, no clock, no network. A document is data, and the same
// names give the same bytes.
//
// Laws:
//   - There is one template. A server that substitutes no variables gets the
//     same statements with each wallet written out (Form), never other ones.
//   - Whoever is held down is held down twice: by what their own policy leaves
//     out and by an explicit Deny in the bucket's, which no later policy of
//     theirs can widen.
//   - What the evaluator does not know never allows and always denies.
package cloudpolicy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Version is the version of the policy language that knows variables. In a
// document of any other they are plain text.
const Version = "2012-10-17"

// Effect is what a statement that matches does.
type Effect string

const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Document is one policy.
type Document struct {
	Version    string
	ID         string
	Statements []Statement

	// bare remembers that the one statement stood without a list, which a JSON
	// pointer has to know.
	bare bool
}

// Statement is one rule. An element that is nil is not there.
type Statement struct {
	SID          string
	Effect       Effect
	Principal    *Principals
	NotPrincipal *Principals
	Action       []string
	NotAction    []string
	Resource     []string
	NotResource  []string
	Condition    []Condition
}

// Principals are those a statement is about.
type Principals struct {
	Any       bool // "*", which is not the same as {"AWS": "*"} in print, but in meaning
	AWS       []string
	Federated []string
	Service   []string
	Canonical []string
}

// Condition is one test: of the values of one key. All of a statement's must
// hold; of Values one must, or for a negated operator none may.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// MarshalJSON renders d in the order in which AWS documents the elements; a
// list of one is printed as the one.
func (d Document) MarshalJSON() ([]byte, error) {
	o := object{}
	if d.Version != "" {
		o.add("Version", d.Version)
	}
	if d.ID != "" {
		o.add("Id", d.ID)
	}
	o.add("Statement", d.Statements)
	return o.MarshalJSON()
}

// Indented is d for people and files, with a newline at its end.
func (d Document) Indented() []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, d.Compact(), "", "  "); err != nil {
		panic(err) // what was just marshalled is JSON
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// Compact is d in the fewest bytes, which is how AWS counts its size.
func (d Document) Compact() []byte {
	b, err := d.MarshalJSON()
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// MarshalJSON implements json.Marshaler.
func (s Statement) MarshalJSON() ([]byte, error) {
	o := object{}
	if s.SID != "" {
		o.add("Sid", s.SID)
	}
	o.add("Effect", string(s.Effect))
	if s.Principal != nil {
		o.add("Principal", *s.Principal)
	}
	if s.NotPrincipal != nil {
		o.add("NotPrincipal", *s.NotPrincipal)
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"Action", s.Action}, {"NotAction", s.NotAction}, {"Resource", s.Resource}, {"NotResource", s.NotResource}} {
		if list.values != nil {
			o.add(list.name, oneOrMany(list.values))
		}
	}
	if len(s.Condition) > 0 {
		o.add("Condition", conditions(s.Condition))
	}
	return o.MarshalJSON()
}

// MarshalJSON implements json.Marshaler.
func (p Principals) MarshalJSON() ([]byte, error) {
	if p.Any {
		return []byte(`"*"`), nil
	}
	o := object{}
	for _, kind := range p.kinds() {
		if len(kind.values) > 0 {
			o.add(kind.name, oneOrMany(kind.values))
		}
	}
	return o.MarshalJSON()
}

type principalKind struct {
	name   string
	values []string
}

func (p Principals) kinds() []principalKind {
	return []principalKind{{"AWS", p.AWS}, {"Federated", p.Federated}, {"Service", p.Service}, {"CanonicalUser", p.Canonical}}
}

// conditions groups tests by operator, in order of first appearance.
func conditions(list []Condition) object {
	var o object
	for i, c := range list {
		if slices.ContainsFunc(list[:i], func(e Condition) bool { return e.Operator == c.Operator }) {
			continue
		}
		keys := object{}
		for _, same := range list[i:] {
			if same.Operator == c.Operator {
				keys.add(same.Key, oneOrMany(same.Values))
			}
		}
		o.add(c.Operator, keys)
	}
	return o
}

// object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

func (o *object) add(key string, value any) { *o = append(*o, member{key, value}) }

func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	out.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := enc.Encode(m.key); err != nil {
			return nil, err
		}
		out.WriteByte(':')
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	var tight bytes.Buffer
	if err := json.Compact(&tight, out.Bytes()); err != nil {
		return nil, err
	}
	return tight.Bytes(), nil
}

func oneOrMany(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	if list == nil {
		return []string{}
	}
	return list
}

// pointerEscape writes a name as a part of a JSON pointer.
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer (RFC 6901) of a place in d.
func (d Document) pointer(statement int, rest ...string) string {
	p := "/Statement"
	if !d.bare {
		p += "/" + itoa(statement)
	}
	for _, part := range rest {
		p += "/" + pointerEscape.Replace(part)
	}
	return p
}
