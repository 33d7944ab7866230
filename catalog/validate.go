package catalog

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/grant"
)

// validate checks what no single value shows.
func (e *Entry) validate(d *document, root *yaml.Node) {
	if d.err != nil {
		return
	}
	id := e.ID.String()
	at := func(key string) *yaml.Node { return keyOf(root, key) }
	switch {
	case d.file != id+".yaml" && !strings.HasSuffix(d.file, "/"+id+".yaml"):
		d.fail(at("id"), "the file is named after the id, %s.yaml", id)
	case len(e.Summary) > 120:
		d.fail(at("summary"), "a summary has at most 120 bytes")
	case slices.Contains(e.Aliases, id):
		d.fail(at("aliases"), "the id is no alias")
	case e.Doors[Import].State != DoorKnown:
		d.fail(at("doors"), "a key can always be imported")
	case e.Usage.Pricing == PricingReported && e.Usage.Cost.State != Known:
		d.fail(at("usage"), "pricing is reported, but cost does not say where")
	case e.Usage.Pricing == PricingTable && len(e.Usage.Tokens.Value.Input) == 0 && len(e.Usage.Tokens.Value.Output) == 0:
		d.fail(at("usage"), "pricing is by table, but tokens does not say where they are counted")
	case e.Key.Patterns.State != Known && e.Key.Others == None:
		d.fail(at("key"), "without patterns, others is unknown")
	}
	e.validateMail(d, root)
	validateInject(d, at("inject"), e.Inject)
	e.validateDoors(d, root)
	e.validateRecipe(d, root)
	for _, v := range e.Env.Unset {
		if slices.Contains(e.Env.Key, v) {
			d.fail(at("env"), "%s is both a key and unset", v)
		}
	}
	for _, r := range e.Allow {
		if shut, ok := shutSample(e.Policy(), r); ok {
			d.fail(at("allow"), "%q is allowed, and shut by %q", r, shut)
		}
	}
}

func validateInject(d *document, n *yaml.Node, places []Placement) {
	for _, i := range places {
		if i.Header == "Host" || i.Header == "Cookie" || i.Header == "Content-Length" || i.Header == "Connection" {
			d.fail(n, "a key is never put there")
		}
	}
}

// shutSample reports whether a request that r allows, one for each of its
// methods, is shut.
func shutSample(p grant.Policy, r grant.Rule) (grant.Rule, bool) {
	methods, path, _ := strings.Cut(r.String(), " ")
	path = strings.ReplaceAll(strings.ReplaceAll(path, "**", "x"), "*", "x")
	for method := range strings.SplitSeq(methods, "|") {
		for _, s := range p.Shut {
			if s.Match(method, path) {
				return s, true
			}
		}
	}
	return grant.Rule{}, false
}

// lint compiles the patterns, which validate leaves for later. A placeholder
// that passes for a key could be stored as one, and would set off every secret
// scanner.
func (e *Entry) lint(d *document, root *yaml.Node) {
	if d.err != nil {
		return
	}
	placeholder := []byte(e.Placeholder(strings.Repeat("fake", 16)))
	for _, p := range slices.Concat(e.Key.Patterns.Value, e.Key.Refuse) {
		if p.matches(placeholder) {
			d.fail(keyOf(root, "key"), "a placeholder passes for a key")
		}
	}
}

// keyOf returns the node of a mapping's key, for its line.
func keyOf(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i]
		}
	}
	return m
}
