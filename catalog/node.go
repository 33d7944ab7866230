package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrFile is wrapped by every failure to parse a service file.
var ErrFile = errors.New("malformed service file")

// maxFile bounds a file; the largest of ours has a tenth of it.
const maxFile = 64 << 10

// document reads one YAML document node by node, strictly: a key must be
// expected and stand once, a scalar must have the very type wanted, and there
// are no anchors, aliases, tags or merges. The first failure sticks, so that
// callers read on without checking, and look at err once.
//
// It reads nodes and not structs, because a struct decoder would let 123 pass
// for a string and could not tell unknown from none from absent.
type document struct {
	file string
	err  error
}

func (d *document) fail(n *yaml.Node, format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s:%d: %s", ErrFile, d.file, n.Line, fmt.Sprintf(format, args...))
	}
}

func (d *document) root(data []byte) *yaml.Node {
	if len(data) > maxFile {
		d.err = fmt.Errorf("%w: %s is larger than %d bytes", ErrFile, d.file, maxFile)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if err == nil && (len(doc.Content) != 1 || doc.Kind != yaml.DocumentNode) {
		err = io.EOF
	}
	switch {
	case errors.Is(err, io.EOF):
		d.err = fmt.Errorf("%w: %s is empty", ErrFile, d.file)
		return nil
	case err != nil:
		d.err = d.syntax(err)
		return nil
	}
	if err := dec.Decode(&more); err == nil {
		d.fail(&more, "a second document")
	} else if !errors.Is(err, io.EOF) {
		d.err = d.syntax(err)
	}
	return doc.Content[0]
}

// syntax turns the library's "yaml: line 3: why" into "file:3: why".
func (d *document) syntax(err error) error {
	why := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		why = rest
	} else {
		why = " " + why
	}
	return fmt.Errorf("%w: %s:%s", ErrFile, d.file, why)
}

// mapping is a YAML mapping whose keys are taken one by one; done refuses
// those that are left.
type mapping struct {
	*document
	n    *yaml.Node
	keys []*yaml.Node
	vals map[string]*yaml.Node
}

func (d *document) mapping(n *yaml.Node) mapping {
	m := mapping{document: d, n: n, vals: map[string]*yaml.Node{}}
	if n == nil || d.err != nil {
		return m
	}
	if n.Kind != yaml.MappingNode || !plain(n) {
		d.fail(n, "a mapping is wanted here")
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := d.str(k)
		if d.err != nil {
			return m
		}
		if _, dup := m.vals[name]; dup {
			d.fail(k, "the key %q stands here twice", name)
			return m
		}
		m.vals[name], m.keys = v, append(m.keys, k)
	}
	return m
}

// take returns a value that must be there.
func (m mapping) take(key string) *yaml.Node {
	v := m.maybe(key)
	if v == nil && m.err == nil {
		m.fail(m.n, "the key %q is missing", key)
	}
	return v
}

// maybe returns a value that may be missing, which is nil.
func (m mapping) maybe(key string) *yaml.Node {
	v := m.vals[key]
	delete(m.vals, key)
	return v
}

func (m mapping) done() {
	for _, k := range m.keys {
		if _, left := m.vals[k.Value]; left {
			m.fail(k, "unknown key %q", k.Value)
		}
	}
}

// plain refuses what would give a node a meaning that does not stand there.
func plain(n *yaml.Node) bool {
	return n.Kind != yaml.AliasNode && n.Anchor == "" && n.Style&yaml.TaggedStyle == 0
}

func (d *document) scalar(n *yaml.Node, tag, what string) string {
	if n == nil || d.err != nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || !plain(n) || n.ShortTag() != tag {
		d.fail(n, "%s is wanted here", what)
		return ""
	}
	return n.Value
}

// str reads a string of one line that is not empty.
func (d *document) str(n *yaml.Node) string {
	s := d.scalar(n, "!!str", "a string")
	if n != nil && d.err == nil && (strings.TrimSpace(s) == "" || strings.ContainsAny(s, "\r\n\t\x00")) {
		d.fail(n, "a string of one line is wanted here")
	}
	return s
}

// strOr reads a string that may be missing.
func (d *document) strOr(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return d.str(n)
}

func (d *document) yes(n *yaml.Node) bool {
	if n == nil {
		return false
	}
	return d.scalar(n, "!!bool", "true or false") == "true"
}

func (d *document) status(n *yaml.Node) int {
	s := d.scalar(n, "!!int", "an HTTP status")
	if d.err != nil || n == nil {
		return 0
	}
	if len(s) != 3 || s < "100" || s > "599" || strings.Trim(s, "0123456789") != "" {
		d.fail(n, "an HTTP status is wanted here")
		return 0
	}
	return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
}

// word reads one of a few words.
func (d *document) word(n *yaml.Node, words ...string) string {
	s := d.str(n)
	if n != nil && d.err == nil && !slices.Contains(words, s) {
		d.fail(n, "one of %s is wanted here", strings.Join(words, ", "))
	}
	return s
}

// https reads an absolute URL that a key or a person may be sent to.
func (d *document) https(n *yaml.Node) *url.URL {
	s := d.str(n)
	if d.err != nil || n == nil {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		d.fail(n, "an https URL without user, query and fragment is wanted here")
		return nil
	}
	return u
}

// is reports whether n is the bare word, such as unknown or none.
func is(n *yaml.Node, word string) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value == word
}

// list reads a sequence that is not empty.
func list[T any](d *document, n *yaml.Node, item func(*yaml.Node) T) []T {
	if n == nil || d.err != nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode || !plain(n) || len(n.Content) == 0 {
		d.fail(n, "a list is wanted here")
		return nil
	}
	out := make([]T, 0, len(n.Content))
	for _, c := range n.Content {
		out = append(out, item(c))
	}
	return out
}

// listOrNone reads a list, or the word none for an empty one.
func listOrNone[T any](d *document, n *yaml.Node, item func(*yaml.Node) T) []T {
	if is(n, "none") {
		return nil
	}
	return list(d, n, item)
}

// fact reads a value that may also be unknown or none.
func fact[T any](d *document, n *yaml.Node, value func(*yaml.Node) T) Fact[T] {
	switch {
	case n == nil || d.err != nil || is(n, "unknown"):
		return Fact[T]{}
	case is(n, "none"):
		return Fact[T]{State: None}
	}
	return Fact[T]{Known, value(n)}
}

func factList[T any](d *document, n *yaml.Node, item func(*yaml.Node) T) Fact[[]T] {
	return fact(d, n, func(n *yaml.Node) []T { return list(d, n, item) })
}
