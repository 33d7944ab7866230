package cloudpolicy

import (
	"slices"
	"strings"
)

// conditionMistakes are about a condition that holds when it should not.
func conditionMistakes() []Mistake {
	return []Mistake{
		{"no-tag-condition", Error, "the statement uses the wallet's tag without demanding it: what a missing or empty tag then matches is up to the server",
			`add "Null": {"` + principalTag + `": "false"}`, statements(Allow, func(l *linted, i int, s Statement) {
				s.values(func(v string, at []string) {
					if strings.Contains(strings.ToLower(v), "${"+strings.ToLower(principalTag)) && !s.demands(principalTag) {
						l.found(i, "Condition")
					}
				})
			})},
		{"null-reversed", Error, `"Null": "true" means that the key is missing: this grants access to sessions without the tag`,
			`write "false": the key must be there`, conditioned(Allow, func(l *linted, i int, _ Statement, c Condition, op operator) {
				if op.base == "Null" && slices.Contains(c.Values, "true") {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"negated-on-missing", Error, "a negated operator is true if the key is missing, so that a request without it is allowed",
			`add "Null": {"<key>": "false"}, or list what is allowed instead`, conditioned(Allow, func(l *linted, i int, s Statement, c Condition, op operator) {
				if op.negated && op.set == "" && !op.ifExists && !s.demands(c.Key) {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"if-exists", Error, "…IfExists is true if the key is missing, so that a request without it is allowed",
			"use the operator without IfExists", conditioned(Allow, func(l *linted, i int, _ Statement, c Condition, op operator) {
				if op.ifExists {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"for-all-values", Error, "ForAllValues is true of no values at all, so that a request without the key is allowed",
			`add "Null": {"<key>": "false"}`, conditioned(Allow, func(l *linted, i int, s Statement, c Condition, op operator) {
				if op.set == "ForAllValues" && !op.ifExists && !s.demands(c.Key) {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"deny-escaped", Error, "the Deny needs a tag to be there: a session without the tag escapes it",
			`add a Deny with "Null": {"<key>": "true"}`, conditioned(Deny, func(l *linted, i int, s Statement, c Condition, op operator) {
				_, tag := cutFold(c.Key, "aws:PrincipalTag/")
				_, request := cutFold(c.Key, "aws:RequestTag/")
				if !tag && !request || op.negated || op.base == "Null" || op.ifExists || op.set == "ForAllValues" {
					return
				}
				if !slices.ContainsFunc(l.Statements, func(o Statement) bool {
					return o.Effect == Deny && slices.ContainsFunc(o.Condition, func(n Condition) bool {
						return strings.EqualFold(n.Operator, "Null") && strings.EqualFold(n.Key, c.Key) && slices.Contains(n.Values, "true")
					})
				}) {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"deny-any-negated", Error, "ForAnyValue is false of no values at all: a request without the key escapes this Deny",
			"use ForAllValues, or the plain operator for a key with one value", conditioned(Deny, func(l *linted, i int, _ Statement, c Condition, op operator) {
				if op.set == "ForAnyValue" && op.negated {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"client-says-so", Error, "the client writes this header itself, so that the condition keeps nobody out",
			"bind the statement to a principal, aws:SourceArn or aws:SourceVpce", conditioned("", func(l *linted, i int, _ Statement, c Condition, _ operator) {
				if strings.EqualFold(c.Key, "aws:Referer") || strings.EqualFold(c.Key, "aws:UserAgent") {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
	}
}
