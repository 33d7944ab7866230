package cloudpolicy

import (
	"regexp"
	"strings"
	"sync"
)

// piece is a literal, or one of the wildcards.
type piece struct {
	text string
	wild byte // '*', '?' or 0
}

// context is what is known of a request, by lower-cased key: AWS compares the
// names of keys without case, the tag's name in aws:PrincipalTag/… included.
type context map[string][]string

func newContext(keys map[string][]string) context {
	c := context{}
	for k, v := range keys {
		c[strings.ToLower(k)] = v
	}
	return c
}

func (c context) get(key string) ([]string, bool) {
	v, ok := c[strings.ToLower(key)]
	return v, ok
}

var variable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\$\{[^}]*\}`) })

// expand substitutes the variables of s. It reports false if one cannot be:
// its key is missing and there is no default, or it has several values. What a
// variable stands for is literal, whatever characters it has.
func (c context) expand(s string, wildcards, variables bool) ([]piece, bool) {
	var out []piece
	literal := func(s string) { out = append(out, piece{text: s}) }
	chars := func(s string) {
		for s != "" {
			i := strings.IndexAny(s, "*?")
			if !wildcards || i < 0 {
				literal(s)
				return
			}
			if i > 0 {
				literal(s[:i])
			}
			out = append(out, piece{wild: s[i]})
			s = s[i+1:]
		}
	}
	for s != "" {
		at := variable().FindStringIndex(s)
		if !variables || at == nil {
			chars(s)
			break
		}
		chars(s[:at[0]])
		value, ok := c.variable(s[at[0]+2 : at[1]-1])
		if !ok {
			return nil, false
		}
		literal(value)
		s = s[at[1]:]
	}
	return out, true
}

// variable is the value of ${name} or ${name, 'default'}.
func (c context) variable(inside string) (string, bool) {
	switch inside {
	case "*", "?", "$":
		return inside, true
	}
	name, rest, hasDefault := strings.Cut(inside, ",")
	values, ok := c.get(strings.TrimSpace(name))
	if ok && len(values) == 1 {
		return values[0], true
	}
	rest = strings.TrimSpace(rest)
	if ok || !hasDefault || len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' {
		return "", false
	}
	return rest[1 : len(rest)-1], true
}

// matches reports whether s is what the pieces describe: * is any run of
// characters, slashes too, and ? any one.
func matches(pieces []piece, s string) bool {
	p, t := glob(pieces), []rune(s)
	// The classic walk with one point of return: linear but for the last star.
	i, j, star, back := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i].star:
			star, back = i, j
			i++
		case i < len(p) && (p[i].any || p[i].char == t[j]):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	for i < len(p) && p[i].star {
		i++
	}
	return i == len(p)
}

type globChar struct {
	char      rune
	star, any bool
}

func glob(pieces []piece) []globChar {
	var out []globChar
	for _, p := range pieces {
		if p.wild != 0 {
			out = append(out, globChar{star: p.wild == '*', any: p.wild == '?'})
			continue
		}
		for _, r := range p.text {
			out = append(out, globChar{char: r})
		}
	}
	return out
}

// like matches without variables.
func like(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	if plain, ok := strings.CutSuffix(pattern, "*"); ok {
		inner, anywhere := strings.CutPrefix(plain, "*")
		switch {
		case strings.ContainsAny(inner, "*?"):
		case anywhere:
			return strings.Contains(s, inner)
		default:
			return strings.HasPrefix(s, plain)
		}
	}
	pieces, _ := context(nil).expand(pattern, true, false)
	return matches(pieces, s)
}

func likeFold(pattern, s string) bool { return like(strings.ToLower(pattern), strings.ToLower(s)) }

// splitARN splits into partition, service, region, account and resource. A
// wildcard reaches over no colon before the resource.
func splitARN(s string) (parts [5]string, ok bool) {
	rest, ok := strings.CutPrefix(s, "arn:")
	var list [5]string
	for i := range list[:4] {
		var more bool
		list[i], rest, more = strings.Cut(rest, ":")
		ok = ok && more
	}
	if !ok {
		return parts, false
	}
	list[4] = rest
	return list, true
}

// arnMatches reports whether the ARN s is one that pattern describes; resolved
// is false if a variable of pattern is unknown.
func (c context) arnMatches(pattern, s string, variables bool) (match, resolved bool) {
	want, ok := splitARN(hideVariables(pattern))
	have, ok2 := splitARN(s)
	match = ok && ok2
	if !variables || !strings.Contains(pattern, "${") {
		for i := range want {
			match = match && like(want[i], have[i])
		}
		return match, true
	}
	for i := range want {
		pieces, known := c.expand(showVariables(want[i]), true, variables)
		if !known {
			return false, false
		}
		match = match && matches(pieces, have[i])
	}
	return match, true
}

// A variable's name has a colon, which divides nothing.
func hideVariables(s string) string {
	if !strings.Contains(s, "${") {
		return s
	}
	return variable().ReplaceAllStringFunc(s, func(v string) string { return strings.ReplaceAll(v, ":", "\x00") })
}

func showVariables(s string) string { return strings.ReplaceAll(s, "\x00", ":") }
