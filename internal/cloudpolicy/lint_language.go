package cloudpolicy

import (
	"regexp"
	"slices"
	"strings"
)

// sizes are the largest documents AWS takes, in bytes without white space.
var sizes = map[Kind]int{Trust: 2048, Identity: 10240, Bucket: 20480}

// knownVariables are the condition keys with one value that may stand in ${…};
// a name that ends in / has a part of the user's choosing.
var knownVariables = []string{
	"aws:PrincipalTag/", "aws:RequestTag/", "aws:ResourceTag/", "aws:username", "aws:userid", "aws:PrincipalArn", "aws:PrincipalAccount",
	"aws:PrincipalOrgID", "aws:PrincipalType", "aws:SourceAccount", "aws:SourceIp", "aws:CurrentTime", "aws:EpochTime", "aws:FederatedProvider",
	"aws:RequestedRegion", "aws:ResourceAccount", "s3:prefix", "s3:ResourceAccount", "sts:RoleSessionName",
}

// languageMistakes are about what a text means in the language of policies.
func languageMistakes() []Mistake {
	return []Mistake{
		{"old-version", Error, "without Version 2012-10-17 a variable such as ${aws:PrincipalTag/x} is plain text, and matches nothing or what is called so",
			`set "Version": "2012-10-17"`, func(l *linted) {
				if l.Version != Version {
					l.foundAll()
				}
			}},
		{"too-large", Error, "AWS counts 2,048 characters for a trust policy, 10,240 for a role's own policies and 20,480 for a bucket's, and refuses more",
			"join statements that differ in one list only, or ask for a higher quota", func(l *linted) {
				if most, ok := sizes[l.Kind]; ok && len(l.Compact()) > most {
					l.foundAll()
				}
			}},
		{"duplicate-sid", Error, "two statements of one name are refused by IAM, and nobody can say which of them a log means",
			"give each its own Sid", func(l *linted) {
				for i, s := range l.Statements {
					if s.SID != "" && slices.ContainsFunc(l.Statements[:i], func(o Statement) bool { return o.SID == s.SID }) {
						l.found(i, "Sid")
					}
				}
			}},
		{"unknown-operator", Error, "there is no such condition operator, so the policy is refused, or on a lax server the condition is not enforced",
			"write one of IAM's operators, such as StringLike or ArnEquals", statements("", func(l *linted, i int, s Statement) {
				for _, c := range s.Condition {
					if _, ok := parseOperator(c.Operator); !ok {
						l.found(i, "Condition", c.Operator)
					}
				}
			})},
		{"bad-boolean", Error, "Bool and Null compare with true or false only; another word never matches",
			`write "true" or "false"`, conditioned("", func(l *linted, i int, _ Statement, c Condition, op operator) {
				for j, v := range c.Values {
					if (op.base == "Bool" || op.base == "Null") && !slices.Contains([]string{"true", "false"}, strings.ToLower(v)) {
						l.found(i, append([]string{"Condition", c.Operator}, nth(c.Key, c.Values, j)...)...)
					}
				}
			})},
		{"literal-wildcard", Error, "StringEquals and its kin know no wildcards: the value is compared with its * or ? in it, and never matches",
			"use StringLike, or write the whole value", conditioned("", func(l *linted, i int, _ Statement, c Condition, op operator) {
				for j, v := range c.Values {
					if strings.HasPrefix(op.base, "StringEquals") && strings.ContainsAny(variable().ReplaceAllString(v, ""), "*?") {
						l.found(i, append([]string{"Condition", c.Operator}, nth(c.Key, c.Values, j)...)...)
					}
				}
			})},
		{"unknown-variable", Error, "no such key can be a variable, so that the statement never matches: an Allow is dead and a Deny denies nothing",
			"write the key as the service authorization reference has it, e.g. ${" + principalTag + "}", variables(func(name, _ string) bool {
				known := slices.ContainsFunc(knownVariables, func(k string) bool {
					if strings.HasSuffix(k, "/") {
						return len(name) > len(k) && strings.EqualFold(name[:len(k)], k)
					}
					return strings.EqualFold(name, k)
				})
				return !known && !slices.Contains([]string{"*", "?", "$"}, name) && !strings.HasSuffix(name, ":sub") && !strings.HasSuffix(name, ":aud")
			})},
		{"variable-default", Error, "with a default, a session without the tag gets the default's prefix instead of nothing",
			"leave the default out: a missing tag must not match", variables(func(_, rest string) bool { return rest != "" })},
		{"other-tag", Error, "the prefix hangs on a tag that the broker does not issue, and that somebody else may set",
			"use ${" + principalTag + "}", statements("", func(l *linted, i int, s Statement) {
				s.keys(func(k string, at []string) {
					for _, v := range variable().FindAllString(k, -1) {
						name, _, _ := strings.Cut(strings.Trim(v, "${}"), ",")
						rest, isTag := cutFold(name, "aws:PrincipalTag/")
						if isTag && !strings.EqualFold(rest, Tag) {
							l.found(i, at...)
						}
					}
				})
			})},
		{"misplaced-variable", Error, "variables are substituted in resources and conditions only; in an action or principal they are text",
			"write the action or principal out, and put the variable into a condition", statements("", func(l *linted, i int, s Statement) {
				for _, list := range []struct {
					name string
					of   []string
				}{{"Action", s.Action}, {"NotAction", s.NotAction}} {
					if slices.ContainsFunc(list.of, variable().MatchString) {
						l.found(i, list.name)
					}
				}
				for _, p := range []*Principals{s.Principal, s.NotPrincipal} {
					if p != nil && slices.ContainsFunc(slices.Concat(p.AWS, p.Federated, p.Service), variable().MatchString) {
						l.found(i, "Principal")
					}
				}
			})},
		{"no-resource", Error, "a statement about no resource is refused by AWS; on a lax server it is about all of them",
			"say in Resource what it is about", statements("", func(l *linted, i int, s Statement) {
				if l.Kind != Trust && s.Resource == nil && s.NotResource == nil {
					l.found(i)
				}
			})},
		{"not-an-arn", Error, "a resource that is no ARN matches nothing, and IAM refuses the document",
			"write arn:aws:s3:::bucket for a bucket and arn:aws:s3:::bucket/key for objects", statements("", func(l *linted, i int, s Statement) {
				s.values(func(v string, at []string) {
					if _, ok := splitARN(hideVariables(v)); at[0] != "Condition" && !ok && v != "*" {
						l.found(i, at...)
					}
				})
			})},
		{"leading-slash", Error, "object keys do not begin with a slash, so that this matches none of them",
			"write the key without the slash in front", keyMistake(func(k string) bool { return strings.HasPrefix(k, "/") })},
		{"dot-segment", Error, "S3 keeps . and .. in keys as they are, and many clients and servers do not: the two disagree about whose object it is",
			"write the key itself", keyMistake(regexp.MustCompile(`(^|/)\.{1,2}(/|$)`).MatchString)},
		{"open-prefix", Error, "without a slash behind the wallet the pattern also matches every longer name that begins with it",
			"end the wallet with /, as in bots/${" + principalTag + "}/*", keyMistake(regexp.MustCompile(`(^|/)bots/(\$\{[^}]*\}|0x[0-9a-fA-F]{40})([*?]|$)`).MatchString)},
		{"malformed-wallet", Error, "a wallet is 0x and 40 lowercase hexadecimal digits; object keys are compared with case, so that this names nobody's prefix",
			"write the wallet in its lowercase form", keyMistake(func(k string) bool {
				m := regexp.MustCompile(`(?:^|/)bots/([^/]*)/`).FindStringSubmatch(k)
				return m != nil && !strings.ContainsAny(m[1], "*?$") && !regexp.MustCompile(`^0x[0-9a-f]{40}$`).MatchString(m[1])
			})},
		{"list-on-objects", Error, "listing is an action on the bucket: with objects as its resource the statement never matches",
			"add the bucket itself, arn:aws:s3:::bucket", statements("", func(l *linted, i int, s Statement) {
				if _, ok := s.aboutAny(listActions); ok && len(s.Resource) > 0 && !slices.ContainsFunc(s.Resource, func(r string) bool { return !isObject(r) }) {
					l.found(i, "Resource")
				}
			})},
		{"objects-on-bucket", Error, "reading and writing are actions on objects: with the bucket as its resource the statement never matches",
			"name the objects, as in arn:aws:s3:::bucket/bots/…/*", statements("", func(l *linted, i int, s Statement) {
				if _, ok := s.aboutAny(objectActions); ok && len(s.Resource) > 0 && !slices.ContainsFunc(s.Resource, func(r string) bool { return !isBucket(r) }) {
					l.found(i, "Resource")
				}
			})},
	}
}

// variables looks at the name and at the rest of each ${name, rest}.
func variables(wrong func(name, rest string) bool) func(*linted) {
	return statements("", func(l *linted, i int, s Statement) {
		s.values(func(v string, at []string) {
			for _, found := range variable().FindAllString(v, -1) {
				name, rest, _ := strings.Cut(found[2:len(found)-1], ",")
				if wrong(strings.TrimSpace(name), strings.TrimSpace(rest)) {
					l.found(i, at...)
				}
			}
		})
	})
}

func keyMistake(wrong func(pattern string) bool) func(*linted) {
	return statements("", func(l *linted, i int, s Statement) {
		s.keys(func(k string, at []string) {
			if wrong(k) {
				l.found(i, at...)
			}
		})
	})
}

func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
