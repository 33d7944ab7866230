package signerconf

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxFile = 64 << 10

// document reads one YAML document node by node: a key must be expected and
// stand once, a scalar must be of the very type wanted, and there are no
// anchors, aliases, tags or merges. The first failure sticks.
type document struct {
	file string
	err  error
}

func (d *document) fail(e Error) {
	if d.err == nil {
		e.File = d.file
		d.err = &e
	}
}

func (d *document) root(data []byte) *yaml.Node {
	const cure = "see 'agentkeys signer init --help' for an example"
	if len(data) > maxFile {
		d.fail(Error{Problem: "the file is too large", Cure: cure})
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) != 1 {
		d.fail(Error{Problem: "the file is empty", Cure: cure})
		return nil
	}
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			d.fail(Error{Line: more.Line, Problem: "a second document begins", Cure: "remove it"})
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		d.fail(Error{Problem: "it is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Cure: cure})
		return nil
	}
	return doc.Content[0]
}

// mapping is a YAML mapping whose keys are taken one by one; done refuses
// those that are left. Its methods return zero values once anything failed.
type mapping struct {
	*document
	path string // as roots.kms
	n    *yaml.Node
	keys []*yaml.Node
	vals map[string]*yaml.Node
	all  map[string]*yaml.Node
}

func (d *document) mapping(n *yaml.Node, path string) mapping {
	m := mapping{document: d, path: path, n: n, vals: map[string]*yaml.Node{}, all: map[string]*yaml.Node{}}
	if n == nil || d.err != nil {
		return m
	}
	if n.Kind != yaml.MappingNode || !plain(n) {
		d.fail(Error{Line: n.Line, Setting: path, Problem: "settings under names are wanted here", Cure: "indent them below it, as name: value"})
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || !plain(k) {
			d.fail(Error{Line: k.Line, Setting: path, Problem: "a name is wanted here", Cure: "write it as name: value"})
			return m
		}
		if _, dup := m.vals[k.Value]; dup {
			d.fail(Error{Line: k.Line, Setting: m.name(k.Value), Problem: "it stands here twice", Cure: "remove one of the two"})
			return m
		}
		m.vals[k.Value], m.all[k.Value], m.keys = v, v, append(m.keys, k)
	}
	return m
}

func plain(n *yaml.Node) bool {
	return n.Kind != yaml.AliasNode && n.Anchor == "" && n.Style&yaml.TaggedStyle == 0
}

func (m mapping) name(key string) string {
	if m.path == "" {
		return key
	}
	return m.path + "." + key
}

func (m mapping) refuse(key, problem, cure string) {
	value := ""
	if n := m.all[key]; n != nil && n.Kind == yaml.ScalarNode {
		value = n.Value
	}
	m.refuseValue(key, value, problem, cure)
}

func (m mapping) refuseValue(key, value, problem, cure string) {
	line := 0
	if n := m.all[key]; n != nil {
		line = n.Line
	} else if m.n != nil {
		line = m.n.Line
	}
	m.fail(Error{Line: line, Setting: m.name(key), Value: value, Problem: problem, Cure: cure})
}

func (m mapping) take(key string, need bool) *yaml.Node {
	v := m.vals[key]
	delete(m.vals, key)
	if v == nil && need {
		m.refuse(key, "it is missing", "add it")
	}
	if m.err != nil {
		return nil
	}
	return v
}

func (m mapping) done() {
	for _, k := range m.keys {
		if _, left := m.vals[k.Value]; left {
			// Its value may be a passphrase that somebody put here.
			m.fail(Error{Line: k.Line, Setting: m.name(k.Value), Problem: "there is no such setting", Cure: "remove it, or correct its name"})
		}
	}
}

func (m mapping) section(key string, need bool) mapping {
	return m.mapping(m.take(key, need), m.name(key))
}

// text reads a string of one line, "" only if it is missing.
func (m mapping) text(key string, need bool) string {
	n := m.take(key, need)
	if n == nil {
		return ""
	}
	return m.line(key, n)
}

func (m mapping) line(key string, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || !plain(n) || n.ShortTag() != "!!str" || strings.TrimSpace(n.Value) == "" || strings.ContainsAny(n.Value, "\r\n\t\x00") {
		m.refuseValue(key, n.Value, "a text of one line is wanted here", `write it in quotes if it looks like a number or is true, false or null`)
		return ""
	}
	return n.Value
}

// number reads a whole number, 0 if it is missing.
func (m mapping) number(key string) int {
	n := m.take(key, false)
	if n == nil {
		return 0
	}
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || !plain(n) || n.ShortTag() != "!!int" || err != nil || strconv.Itoa(v) != n.Value || v == 0 {
		m.refuse(key, "a whole number is wanted here", "write it in digits")
		return 0
	}
	return v
}

// texts reads a list that may be empty but must be there.
func (m mapping) texts(key string) (out []string) {
	n := m.take(key, true)
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || !plain(n) {
		m.refuse(key, "a list is wanted here", "write each on a line of its own behind a dash, or [] for none")
		return nil
	}
	for _, c := range n.Content {
		out = append(out, m.line(key, c))
	}
	if m.err != nil {
		return nil
	}
	return out
}

type pair struct{ key, value string }

// pairs reads a mapping with keys of the writer's own, at least one.
func (m mapping) pairs(key string) (out []pair) {
	s := m.section(key, true)
	for _, k := range s.keys {
		out = append(out, pair{k.Value, s.text(k.Value, true)})
	}
	if len(out) == 0 {
		m.refuse(key, "there is none", "add one")
	}
	if m.err != nil {
		return nil
	}
	return out
}
