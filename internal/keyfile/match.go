package keyfile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/publicsuffix"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
)

// Kind is what a value is taken for.
type Kind string

// The kinds there are.
const (
	Key         Kind = "key"
	Ambiguous   Kind = "ambiguous"   // a key of one of several services
	Management  Kind = "management"  // a key that can do more than use a service
	Placeholder Kind = "placeholder" // of ours: it is worthless
	Other       Kind = "other"       // nothing that is known
)

// Match is whose key a value is.
type Match struct {
	Kind    Kind
	Service agentkeys.Service   // of a Key, and of a Management key
	Among   []agentkeys.Service // if it is Ambiguous
	Why     string              // one line
}

// Matcher tells whose keys values are, by the catalogue.
type Matcher struct{ entries []known }

type known struct {
	*catalog.Entry
	patterns, refuse []*regexp.Regexp // not those that fit others' keys as well
	reasons          []string         // of refuse
	variables        []string         // squeezed
	prefix           string           // of its variables, squeezed: OPENAI
	sites            []string         // registrable domains
}

// NewMatcher makes a Matcher of these services.
func NewMatcher(entries []*catalog.Entry) (*Matcher, error) {
	m := &Matcher{}
	for _, e := range entries {
		k := known{Entry: e}
		for _, p := range e.Key.Patterns.Value {
			re, err := regexp.Compile(p.Match)
			if err != nil {
				return nil, err
			}
			if p.Generic == "" {
				k.patterns = append(k.patterns, re)
			}
		}
		for _, p := range e.Key.Refuse {
			re, err := regexp.Compile(p.Match)
			if err != nil {
				return nil, err
			}
			if p.Generic == "" {
				k.refuse, k.reasons = append(k.refuse, re), append(k.reasons, p.Reason)
			}
		}
		for i, v := range e.Env.Key {
			if i == 0 {
				k.prefix = v
				for _, end := range []string{"_TOKEN", "_KEY", "_API"} {
					k.prefix = strings.TrimSuffix(k.prefix, end)
				}
				k.prefix = squeeze(k.prefix)
			}
			k.variables = append(k.variables, squeeze(v))
		}
		hosts := []string{e.Base.Hostname()}
		if e.Docs != nil {
			hosts = append(hosts, e.Docs.Hostname())
		}
		for _, h := range hosts {
			if site, err := publicsuffix.EffectiveTLDPlusOne(h); err == nil && !slices.Contains(k.sites, site) {
				k.sites = append(k.sites, site)
			}
		}
		m.entries = append(m.entries, k)
	}
	return m, nil
}

// squeeze makes OPENAI_API_KEY, openai.apiKey and "OpenAI API key" one.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return unicode.ToUpper(r)
		}
		return -1
	}, s)
}

// marker is in every placeholder that AgentKeys makes.
var marker = []byte("agentkeys.")

// Match says whose key an item is. The shape of a value counts most, then the
// name of its variable. What a password manager keeps for a site is what one
// logs in with there, unless its own name or title speaks of a key.
func (m *Matcher) Match(it Item) Match {
	value := it.Value.Expose()
	if bytes.Contains(value, marker) {
		return Match{Kind: Placeholder, Why: "a placeholder of AgentKeys"}
	}
	if !keyLike(value) {
		return Match{Kind: Other, Why: "it has not the form of a key"}
	}
	if got, ok := m.byShape(value); ok {
		return got
	}
	if got, ok := m.management(it.Name); ok {
		return got
	}
	var named []known
	how := "by its name"
	if named = m.byVariable(it.Name); len(named) == 0 && it.Kept && speaksOfKey(it.Name) {
		how = "by its title"
		named = m.byTitle(it)
	}
	switch {
	case len(named) == 0:
		return Match{Kind: Other, Why: "no known service goes by it"}
	case example(value):
		return Match{Kind: Other, Why: "it looks like an example"}
	case len(named) > 1:
		return Match{Kind: Ambiguous, Among: ids(named), Why: "several services go by it"}
	}
	e := named[0]
	if err := e.CheckKey(value); err != nil {
		return Match{Kind: Other, Why: fmt.Sprintf("its name is that of %s, and keys of that look different", e.ID)}
	}
	return Match{Kind: Key, Service: e.ID, Why: how}
}

// byShape is of value alone.
func (m *Matcher) byShape(value []byte) (Match, bool) {
	var fit []known
	for _, k := range m.entries {
		for i, re := range k.refuse {
			if re.Match(value) {
				return Match{Kind: Management, Service: k.ID, Why: k.reasons[i]}, true
			}
		}
		if slices.ContainsFunc(k.patterns, func(re *regexp.Regexp) bool { return re.Match(value) }) {
			fit = append(fit, k)
		}
	}
	switch {
	case len(fit) == 0, example(value):
		return Match{}, false
	case len(fit) > 1:
		return Match{Kind: Ambiguous, Among: ids(fit), Why: "keys of several services look like it"}, true
	}
	return Match{Kind: Key, Service: fit[0].ID, Why: "by its form"}, true
}

func (m *Matcher) byVariable(name string) (out []known) {
	// A path in JSON: its last part, or the last two, as openai.api_key.
	squeezed := squeeze(name)
	last := squeeze(name[strings.LastIndexByte(name, '.')+1:])
	for _, k := range m.entries {
		for _, v := range k.variables {
			if last == v || squeezed == v || strings.HasSuffix(squeezed, v) && strings.Contains(name, ".") {
				out = append(out, k)
				break
			}
		}
	}
	return out
}

// management goes by what vendors call the variables of such keys.
func (m *Matcher) management(name string) (Match, bool) {
	s := squeeze(name)
	for _, k := range m.entries {
		if k.prefix == "" || !strings.HasPrefix(s, k.prefix) {
			continue
		}
		rest := s[len(k.prefix):]
		for _, word := range []string{"ADMIN", "MANAGEMENT", "PROVISIONING"} {
			if strings.Contains(rest, word) {
				return Match{Kind: Management, Service: k.ID, Why: "Its name is that of a key that manages the account."}, true
			}
		}
	}
	return Match{}, false
}

// byTitle goes by the site and, where that is nobody's, by how the title
// begins.
func (m *Matcher) byTitle(it Item) (out []known) {
	if site, err := publicsuffix.EffectiveTLDPlusOne(it.Host); err == nil {
		for _, k := range m.entries {
			if slices.Contains(k.sites, site) {
				out = append(out, k)
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	title := strings.ToLower(it.Name)
	for _, k := range m.entries {
		for _, name := range []string{strings.ToLower(k.Name), k.ID.String()} {
			rest, ok := strings.CutPrefix(title, name)
			if ok && (rest == "" || squeeze(rest[:1]) == "") {
				out = append(out, k)
				break
			}
		}
	}
	return out
}

func speaksOfKey(name string) bool {
	s := strings.ToLower(name)
	for _, word := range []string{"api", "key", "token", "credential"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

// keyLike holds for what could stand in a header.
func keyLike(value []byte) bool {
	if len(value) < 8 || len(value) > 4<<10 {
		return false
	}
	return !bytes.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// example holds for what stands in documents and templates.
func example(value []byte) bool {
	s := strings.ToLower(string(value))
	for _, word := range []string{"your", "example", "changeme", "replace", "xxxx", "....", "****", "${", "$(", "<", "{{", "dummy", "placeholder"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return len(value) >= 8 && bytes.Count(value, value[len(value)-1:]) > len(value)*3/4
}

func ids(list []known) []agentkeys.Service {
	out := make([]agentkeys.Service, len(list))
	for i, k := range list {
		out[i] = k.ID
	}
	return out
}

// Mask is what may be shown of a key: what all keys of its service begin with,
// and how long it is.
func Mask(e *catalog.Entry, value []byte) string {
	prefix := ""
	if e != nil && len(e.Key.Placeholder)*2 < len(value) && bytes.HasPrefix(value, []byte(e.Key.Placeholder)) {
		prefix = e.Key.Placeholder
	}
	return fmt.Sprintf("%s… (%d)", prefix, len(value))
}
