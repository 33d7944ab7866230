package cloudpolicy

import (
	"slices"
	"strings"
)

// Severity says what a finding costs.
type Severity string

const (
	Error   Severity = "error"   // access is wider than meant, or does not work at all
	Warning Severity = "warning" // right today, and fragile
)

// Mistake is a known way to write a policy wrong.
type Mistake struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`

	find func(*linted)
}

// Finding is a mistake in a place.
type Finding struct {
	Document string `json:"document"`
	Where    string `json:"where"` // a JSON pointer (RFC 6901); "" is the whole document
	Mistake
}

// Lint looks for every known mistake in docs, which belong together: some are
// made by two documents only.
func Lint(docs ...Named) []Finding { return lint(nil, docs) }

// LintFor looks also for what docs leave out, which takes knowing who is who.
func LintFor(n Names, docs ...Named) []Finding { return lint(&n, docs) }

// Mistakes are all that the linter knows.
func Mistakes() []Mistake {
	return slices.Concat(languageMistakes(), reachMistakes(), trustMistakes(), conditionMistakes(), bucketMistakes(), queueMistakes())
}

func lint(n *Names, docs []Named) []Finding {
	var found []Finding
	for _, d := range docs {
		for _, m := range Mistakes() {
			l := &linted{Named: d, names: n, all: docs}
			m.find(l)
			for _, at := range l.at {
				found = append(found, Finding{d.Name, at, m})
			}
		}
	}
	return found
}

// linted is a document under a rule.
type linted struct {
	Named
	names *Names // nil if nobody said
	all   []Named
	at    []string
}

// found notes a place; every place once.
func (l *linted) found(statement int, rest ...string) {
	if p := l.pointer(statement, rest...); !slices.Contains(l.at, p) {
		l.at = append(l.at, p)
	}
}

func (l *linted) foundAll() { l.at = append(l.at, "") }

// nth is the place of a value in a list, which is none of its own if it is
// alone.
func nth(name string, list []string, i int) []string {
	if len(list) == 1 {
		return []string{name}
	}
	return []string{name, itoa(i)}
}

// statements calls do for every statement with that effect.
func statements(effect Effect, do func(*linted, int, Statement)) func(*linted) {
	return func(l *linted) {
		for i, s := range l.Statements {
			if effect == "" || s.Effect == effect {
				do(l, i, s)
			}
		}
	}
}

// conditioned calls do for every condition of a statement with that effect,
// with its operator taken apart.
func conditioned(effect Effect, do func(l *linted, i int, s Statement, c Condition, op operator)) func(*linted) {
	return statements(effect, func(l *linted, i int, s Statement) {
		for _, c := range s.Condition {
			if op, ok := parseOperator(c.Operator); ok {
				do(l, i, s, c, op)
			}
		}
	})
}

// values calls do for every string of a statement that may hold variables,
// with its place.
func (s Statement) values(do func(v string, at []string)) {
	for _, list := range []struct {
		name string
		of   []string
	}{{"Resource", s.Resource}, {"NotResource", s.NotResource}} {
		for j, v := range list.of {
			do(v, nth(list.name, list.of, j))
		}
	}
	for _, c := range s.Condition {
		for j, v := range c.Values {
			do(v, append([]string{"Condition", c.Operator}, nth(c.Key, c.Values, j)...))
		}
	}
}

// keys calls do for every pattern of object keys in a statement: what stands
// behind the bucket in a resource, and the values of s3:prefix.
func (s Statement) keys(do func(pattern string, at []string)) {
	s.values(func(v string, at []string) {
		switch {
		case at[0] != "Condition":
			if parts, ok := splitARN(hideVariables(v)); ok && parts[1] == "s3" {
				if _, key, ok := strings.Cut(parts[4], "/"); ok {
					do(showVariables(key), at)
				}
			}
		case strings.EqualFold(at[2], "s3:prefix"):
			do(v, at)
		}
	})
}

// about reports whether s speaks of an action.
func (s Statement) about(action string) bool {
	return slices.ContainsFunc(s.Action, func(p string) bool { return likeFold(p, action) })
}

// bound reports whether s holds only if the key is there and has one of some
// values, and returns the values.
func (s Statement) bound(key string) (values []string, ok bool) {
	for _, c := range s.Condition {
		op, known := parseOperator(c.Operator)
		if !known || op.negated || op.ifExists || op.set == "ForAllValues" || op.base == "Null" || !strings.EqualFold(c.Key, key) {
			continue
		}
		return c.Values, true
	}
	return nil, false
}

// demands reports whether s holds only if the key is there.
func (s Statement) demands(key string) bool {
	if _, ok := s.bound(key); ok {
		return true
	}
	return slices.ContainsFunc(s.Condition, func(c Condition) bool {
		return strings.EqualFold(c.Operator, "Null") && strings.EqualFold(c.Key, key) && slices.Equal(c.Values, []string{"false"})
	})
}

// objectActions are those of S3 that are about an object.
var objectActions = []string{
	"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:GetObjectTagging", "s3:PutObjectTagging",
	"s3:GetObjectAcl", "s3:PutObjectAcl", "s3:AbortMultipartUpload", "s3:RestoreObject", "s3:GetObjectAttributes",
}

var listActions = []string{"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"}

// aboutAny reports whether s names, without a wildcard, one of the actions.
func (s Statement) aboutAny(actions []string) (action string, ok bool) {
	for _, a := range s.Action {
		if slices.ContainsFunc(actions, func(b string) bool { return strings.EqualFold(a, b) }) {
			return a, true
		}
	}
	return "", false
}

// isObject tells the two kinds of S3 resources apart.
func isObject(arn string) bool {
	parts, ok := splitARN(hideVariables(arn))
	return ok && parts[1] == "s3" && strings.Contains(parts[4], "/")
}

func isBucket(arn string) bool {
	parts, ok := splitARN(hideVariables(arn))
	return ok && parts[1] == "s3" && !strings.Contains(parts[4], "/")
}
