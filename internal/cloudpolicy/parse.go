package cloudpolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by every refusal of Parse; its message says where and
// what to write instead.
var ErrSyntax = errors.New("not an AWS policy document")

const (
	maxSize  = 256 << 10
	maxDepth = 8
)

// Parse reads any AWS policy document. It is strict where AWS is and where AWS
// is not but should be: unknown, repeated or misspelt elements, both of a pair,
// none of a pair, empty lists and trailing bytes are refused.
func Parse(data []byte) (Document, error) {
	if len(data) > maxSize {
		return Document{}, fault("", "is larger than %d KiB; AWS takes 20", maxSize>>10)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	root, err := readNode(dec, "", 0)
	if err != nil {
		return Document{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Document{}, fault("", "goes on after the end of the document")
	}
	return readDocument(root)
}

func fault(at, format string, args ...any) error {
	if at == "" {
		at = "/"
	}
	return fmt.Errorf("%w: %s %s", ErrSyntax, at, fmt.Sprintf(format, args...))
}

// node is a JSON value that kept its order and its place.
type node struct {
	at      string
	kind    byte // o object, l list, s string, n number, b bool, 0 null
	text    string
	members []namedNode
	items   []node
}

type namedNode struct {
	name string
	node
}

func readNode(dec *json.Decoder, at string, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fault(at, "is nested too deeply")
	}
	tok, err := dec.Token()
	if err != nil {
		return node{}, fault(at, "is not JSON: %v", err)
	}
	n := node{at: at}
	switch v := tok.(type) {
	case string:
		n.kind, n.text = 's', v
	case json.Number:
		n.kind, n.text = 'n', v.String()
	case bool:
		n.kind, n.text = 'b', strconv.FormatBool(v)
	case json.Delim:
		n.kind = 'l'
		if v == '{' {
			n.kind = 'o'
		}
		for dec.More() {
			name := itoa(len(n.items))
			if n.kind == 'o' {
				tok, err := dec.Token()
				if err != nil {
					return node{}, fault(at, "is not JSON: %v", err)
				}
				name, _ = tok.(string)
				if slices.ContainsFunc(n.members, func(m namedNode) bool { return strings.EqualFold(m.name, name) }) {
					return node{}, fault(at, "has %q twice: which of them counts?", name)
				}
			}
			child, err := readNode(dec, at+"/"+pointerEscape.Replace(name), depth+1)
			if err != nil {
				return node{}, err
			}
			if n.kind == 'o' {
				n.members = append(n.members, namedNode{name, child})
			} else {
				n.items = append(n.items, child)
			}
		}
		if _, err := dec.Token(); err != nil {
			return node{}, fault(at, "is not JSON: %v", err)
		}
	}
	return n, nil
}

// elements checks the names of an object's members against those it may have.
func (n node) elements(what string, names ...string) error {
	if n.kind != 'o' {
		return fault(n.at, "is not an object: %s is one", what)
	}
	for _, m := range n.members {
		if slices.Contains(names, m.name) {
			continue
		}
		for _, name := range names {
			if strings.EqualFold(name, m.name) {
				return fault(m.at, "is spelt %q: write %q", m.name, name)
			}
		}
		return fault(m.at, "is no element of %s: those are %s", what, strings.Join(names, ", "))
	}
	return nil
}

func readDocument(n node) (d Document, err error) {
	if n.kind == 'o' && len(n.members) > 0 && n.members[0].name == "Policy" {
		return d, fault("", "is the answer of get-bucket-policy; take the document out of it with --query Policy --output text")
	}
	if err := n.elements("a policy", "Version", "Id", "Statement"); err != nil {
		return d, err
	}
	for _, m := range n.members {
		switch m.name {
		case "Version", "Id":
			if m.kind != 's' {
				return d, fault(m.at, "is not a string")
			}
			if m.name == "Id" {
				d.ID = m.text
				continue
			}
			if m.text != Version && m.text != "2008-10-17" {
				return d, fault(m.at, "is %q: there are %q and, older, \"2008-10-17\"", m.text, Version)
			}
			d.Version = m.text
		case "Statement":
			items := m.items
			switch {
			case m.kind == 'o':
				items, d.bare = []node{m.node}, true
			case m.kind != 'l':
				return d, fault(m.at, "is neither a statement nor a list of them")
			}
			for _, item := range items {
				s, err := readStatement(item)
				if err != nil {
					return d, err
				}
				d.Statements = append(d.Statements, s)
			}
		}
	}
	if len(d.Statements) == 0 {
		return d, fault("/Statement", "is empty: a policy without statements says nothing")
	}
	return d, nil
}

func readStatement(n node) (s Statement, err error) {
	if err := n.elements("a statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"); err != nil {
		return s, err
	}
	for _, m := range n.members {
		switch m.name {
		case "Sid", "Effect":
			if m.kind != 's' {
				return s, fault(m.at, "is not a string")
			}
			if m.name == "Sid" {
				s.SID = m.text
				continue
			}
			s.Effect = Effect(m.text)
			if s.Effect != Allow && s.Effect != Deny {
				return s, fault(m.at, "is %q: write \"Allow\" or \"Deny\"", m.text)
			}
		case "Principal":
			s.Principal, err = readPrincipals(m.node)
		case "NotPrincipal":
			s.NotPrincipal, err = readPrincipals(m.node)
		case "Action":
			s.Action, err = m.strings("s")
		case "NotAction":
			s.NotAction, err = m.strings("s")
		case "Resource":
			s.Resource, err = m.strings("s")
		case "NotResource":
			s.NotResource, err = m.strings("s")
		case "Condition":
			s.Condition, err = readConditions(m.node)
		}
		if err != nil {
			return s, err
		}
	}
	switch {
	case s.Effect == "":
		return s, fault(n.at, "has no Effect")
	case s.Principal != nil && s.NotPrincipal != nil:
		return s, fault(n.at, "has both Principal and NotPrincipal")
	case (s.Action != nil) == (s.NotAction != nil):
		return s, fault(n.at, "needs one of Action and NotAction")
	case s.Resource != nil && s.NotResource != nil:
		return s, fault(n.at, "has both Resource and NotResource")
	}
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		if vendor, name, ok := strings.Cut(a, ":"); a != "*" && (!ok || vendor == "" || name == "") {
			return s, fault(n.at, "has the action %q: write service:Action", a)
		}
	}
	return s, nil
}

func readPrincipals(n node) (*Principals, error) {
	if n.kind == 's' {
		if n.text != "*" {
			return nil, fault(n.at, "is %q: alone it can be \"*\" only; write {\"AWS\": …}", n.text)
		}
		return &Principals{Any: true}, nil
	}
	if err := n.elements("a principal", "AWS", "Federated", "Service", "CanonicalUser"); err != nil {
		return nil, err
	}
	if len(n.members) == 0 {
		return nil, fault(n.at, "names nobody")
	}
	p := &Principals{}
	for _, m := range n.members {
		list, err := m.strings("s")
		if err != nil {
			return nil, err
		}
		switch m.name {
		case "AWS":
			p.AWS = list
		case "Federated":
			p.Federated = list
		case "Service":
			p.Service = list
		case "CanonicalUser":
			p.Canonical = list
		}
	}
	return p, nil
}

func readConditions(n node) ([]Condition, error) {
	if n.kind != 'o' {
		return nil, fault(n.at, "is not an object: write {operator: {key: value}}")
	}
	var list []Condition
	for _, op := range n.members {
		if op.kind != 'o' {
			return nil, fault(op.at, "is not an object: write {key: value}")
		}
		for _, key := range op.members {
			values, err := key.strings("snb")
			if err != nil {
				return nil, err
			}
			list = append(list, Condition{op.name, key.name, values})
		}
	}
	return list, nil
}

// strings reads the string-or-list form; kinds are the scalars it may hold.
func (n node) strings(kinds string) ([]string, error) {
	items := []node{n}
	if n.kind == 'l' {
		items = n.items
	}
	if len(items) == 0 {
		return nil, fault(n.at, "is an empty list")
	}
	var list []string
	for _, i := range items {
		if i.kind == 0 || !strings.ContainsRune(kinds, rune(i.kind)) {
			return nil, fault(i.at, "is not a string")
		}
		list = append(list, i.text)
	}
	return list, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
