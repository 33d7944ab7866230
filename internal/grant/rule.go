package grant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrRule is wrapped by every failure of ParseRule.
var ErrRule = errors.New("malformed path rule")

// ErrPath is wrapped by every failure of ParsePath.
var ErrPath = errors.New("malformed path")

// Rule matches requests by method and path. Its text is "METHOD /path", where
//
//	METHOD  one upper-case method, several joined by |, or * for any
//	/path   segments; * inside a segment stands for any run of characters
//	        but /, though never for a whole segment that is empty; a last
//	        segment ** for any rest, none included:
//	        /keys/* matches /keys/a but neither /keys nor /keys/,
//	        /keys/** matches /keys, /keys/ and /keys/a/b
//
// The zero Rule matches nothing.
type Rule struct {
	methods  []string
	segments []string
}

const (
	maxPath   = 2048 // bytes
	maxRule   = maxPath + 256
	maxMethod = 16
)

// ParseRule parses the text form. A rule without a method is refused, so that
// nobody opens DELETE by leaving it out.
func ParseRule(s string) (Rule, error) {
	if len(s) > maxRule {
		return Rule{}, fmt.Errorf("%w: it is longer than %d bytes", ErrRule, maxRule)
	}
	method, path, ok := strings.Cut(s, " ")
	if !ok || method == "" {
		return Rule{}, fmt.Errorf("%w: write it as METHOD /path, for example 'POST /chat/completions'", ErrRule)
	}
	methods := strings.Split(method, "|")
	for _, m := range methods {
		if m == "*" && len(methods) == 1 {
			continue
		}
		if !isMethod(m) {
			return Rule{}, fmt.Errorf("%w: methods are upper-case words joined by |, or *", ErrRule)
		}
	}
	if !strings.HasPrefix(path, "/") {
		return Rule{}, fmt.Errorf("%w: the path starts with /", ErrRule)
	}
	segments := strings.Split(path[1:], "/")
	for i, seg := range segments {
		if strings.Contains(seg, "**") && (seg != "**" || i != len(segments)-1) {
			return Rule{}, fmt.Errorf("%w: ** is a whole segment, and the last one", ErrRule)
		}
	}
	if _, err := ParsePath(strings.ReplaceAll(path, "*", "a")); err != nil {
		return Rule{}, fmt.Errorf("%w: %w", ErrRule, err)
	}
	return Rule{methods, segments}, nil
}

// ParseRules parses a list.
func ParseRules(texts []string) ([]Rule, error) {
	rules := make([]Rule, 0, len(texts))
	for _, t := range texts {
		r, err := ParseRule(t)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", t, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// String returns the text form.
func (r Rule) String() string {
	if len(r.methods) == 0 {
		return ""
	}
	return strings.Join(r.methods, "|") + " /" + strings.Join(r.segments, "/")
}

// MarshalText implements encoding.TextMarshaler.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rule) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRule(string(b))
	return err
}

// isZero reports whether r is the zero Rule, which has no text form.
func (r Rule) isZero() bool { return len(r.methods) == 0 }

// Match reports whether the rule covers the request, whose path is canonical
// (see ParsePath). A rule for GET covers HEAD too.
func (r Rule) Match(method, path string) bool {
	return r.matchMethod(method) && r.matchPath(path, false)
}

// shuts is Match as a rule that shuts needs it: without regard to letter case,
// to a trailing slash on either side, or to whether * stands for nothing. An
// upstream that routes /KEYS/ to /keys must not open it.
func (r Rule) shuts(method, path string) bool {
	if !r.matchMethod(method) {
		return false
	}
	bare := strings.TrimSuffix(path, "/")
	return r.matchPath(path, true) || r.matchPath(bare, true) ||
		r.segments[len(r.segments)-1] == "" && r.matchPath(bare+"/", true)
}

func (r Rule) matchPath(path string, loose bool) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	rest, more := path[1:], true
	for i, seg := range r.segments {
		if seg == "**" {
			return true
		}
		if !more {
			return false
		}
		var got string
		got, rest, more = strings.Cut(rest, "/")
		if loose {
			got, seg = strings.ToLower(got), strings.ToLower(seg)
		} else if seg == "*" && got == "" {
			return false
		}
		if !matchSegment(seg, got) {
			return false
		}
		if i == len(r.segments)-1 {
			return !more
		}
	}
	return false
}

func (r Rule) matchMethod(method string) bool {
	for _, m := range r.methods {
		if m == "*" || m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}

// isMethod reports whether m is an upper-case word. HTTP methods are case
// sensitive, but not every server is: "delete" must not slip past a rule that
// shuts DELETE.
func isMethod(m string) bool {
	return m != "" && len(m) <= maxMethod && strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// matchSegment matches one segment against a pattern of literals and *.
func matchSegment(pattern, s string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, next, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, tail = s[i+len(part):], next
	}
}

// ParsePath accepts a path only if everybody on the way will read it alike:
// it starts with /, has no empty, . or .. segment, no percent sign, backslash,
// semicolon, question mark, number sign, control or non-ASCII byte. A single
// trailing slash is kept. The result is the same text.
//
// Refusing escapes outright costs a few exotic endpoints and leaves no
// second spelling of a shut path.
func ParsePath(path string) (string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%w: it does not start with /", ErrPath)
	}
	if len(path) > maxPath {
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrPath, maxPath)
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f:
			return "", fmt.Errorf("%w: it has a space, control or non-ASCII byte", ErrPath)
		case strings.IndexByte(`%\;?#"<>^`+"`{|}", c) >= 0:
			return "", fmt.Errorf("%w: it has a %q", ErrPath, c)
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, seg := range segments {
		if seg == "." || seg == ".." || seg == "" && i != len(segments)-1 {
			return "", fmt.Errorf("%w: it has an empty, . or .. segment", ErrPath)
		}
	}
	return path, nil
}

// Dead reports why a rule that names one request can never allow it under p:
// CodePathShut or CodePathDenied; "" if it can. Rules with a * are not judged.
func (p Policy) Dead(r Rule) Code {
	path := "/" + strings.Join(r.segments, "/")
	if strings.Contains(path, "*") {
		return ""
	}
	var why Code
	for _, m := range r.methods {
		switch _, lent := firstMatch(p.Allow, Request{Method: m, Path: path}); {
		case m == "*":
			return ""
		case slices.ContainsFunc(p.Shut, func(s Rule) bool { return s.shuts(m, path) }):
			why = CodePathShut
		case !lent:
			why = CodePathDenied
		default:
			return ""
		}
	}
	return why
}
