package cloudpolicy

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

var exactSubject = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^` + SubjectPrefix + `0x[0-9a-f]{40}$`) })

// webIdentity calls do for each statement that lets web identities in.
func webIdentity(do func(l *linted, i int, s Statement)) func(*linted) {
	return statements(Allow, func(l *linted, i int, s Statement) {
		if l.Kind == Trust && s.about("sts:AssumeRoleWithWebIdentity") && s.Principal != nil {
			do(l, i, s)
		}
	})
}

// claim returns the values that a token's claim is bound to.
func (s Statement) claim(name string) (values []string, at []string, ok bool) {
	for _, c := range s.Condition {
		if strings.HasSuffix(c.Key, ":"+name) && !strings.HasPrefix(c.Key, "aws:") && !strings.HasPrefix(c.Key, "sts:") {
			if values, ok := s.bound(c.Key); ok {
				return values, []string{"Condition", c.Operator, c.Key}, true
			}
		}
	}
	return nil, nil, false
}

// isOneWallet reports whether s is about one wallet, named by its subject:
// then tags decide nothing.
func (s Statement) isOneWallet() bool {
	values, _, ok := s.claim("sub")
	return ok && !slices.ContainsFunc(values, func(v string) bool { return !exactSubject().MatchString(v) })
}

func trustMistakes() []Mistake {
	return []Mistake{
		{"trust-no-audience", Error, "a token that the issuer made for somebody else opens this role",
			`add "StringEquals": {"<issuer>:aud": "` + Audience + `"}`, webIdentity(func(l *linted, i int, s Statement) {
				if _, _, ok := s.claim("aud"); !ok {
					l.found(i, "Condition")
				}
			})},
		{"trust-loose-audience", Error, "an audience with a wildcard, or another one, admits tokens that were made for somebody else",
			`write exactly "` + Audience + `"`, webIdentity(func(l *linted, i int, s Statement) {
				if values, at, ok := s.claim("aud"); ok && slices.ContainsFunc(values, func(v string) bool { return v != Audience }) {
					l.found(i, at...)
				}
			})},
		{"trust-no-subject", Error, "every token of the issuer opens this role, whoever it is about",
			`add "StringLike": {"<issuer>:sub": "` + SubjectPrefix + anyWallet + `"}`, webIdentity(func(l *linted, i int, s Statement) {
				if _, _, ok := s.claim("sub"); !ok {
					l.found(i, "Condition")
				}
			})},
		{"trust-loose-subject", Error, "the pattern admits subjects that are no wallets",
			"write " + SubjectPrefix + anyWallet, webIdentity(func(l *linted, i int, s Statement) {
				if values, at, ok := s.claim("sub"); ok && slices.ContainsFunc(values, func(v string) bool {
					return v != SubjectPrefix+anyWallet && !exactSubject().MatchString(v)
				}) {
					l.found(i, at...)
				}
			})},
		{"trust-other-issuer", Error, "the condition is about the tokens of another issuer than the provider that is trusted: it is never met, or says nothing",
			"begin the key with the issuer of the provider's ARN", webIdentity(func(l *linted, i int, s Statement) {
				for _, c := range s.Condition {
					issuer, claim, _ := cutLast(c.Key, ":")
					if claim != "aud" && claim != "sub" || slices.ContainsFunc(s.Principal.Federated, func(f string) bool { return f == issuer || strings.HasSuffix(f, "oidc-provider/"+issuer) }) {
						continue
					}
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"trust-any-provider", Error, "anybody can register a provider and vouch for any subject",
			"name the one OIDC provider by its ARN", webIdentity(func(l *linted, i int, s Statement) {
				if slices.ContainsFunc(s.Principal.Federated, func(f string) bool { return strings.ContainsAny(f, "*?") }) {
					l.found(i, "Principal", "Federated")
				}
			})},
		{"trust-no-tag", Error, "a token without the wallet's tag still gets a session, and STS takes the empty string too",
			`add "StringLike": {"` + requestTag + `": "` + anyWallet + `"} and a Null condition`, webIdentity(func(l *linted, i int, s Statement) {
				if !s.isOneWallet() && !s.demands(requestTag) {
					l.found(i, "Condition")
				}
			})},
		{"trust-loose-tag", Error, "STS takes a tag with slashes, dots and spaces, or an empty one, and the tag becomes part of a path",
			"bind it to " + anyWallet + " and refuse every character that no wallet has", webIdentity(func(l *linted, i int, s Statement) {
				if s.isOneWallet() || !s.demands(requestTag) {
					return
				}
				// What is tried are tags with one flaw; the statement must let none in.
				good := "0x" + strings.Repeat("a", 40)
				for _, bad := range []string{"", "*", strings.ToUpper(good), good + "a", good[:41], "0x/../" + good[6:], "0x.." + good[4:], "0x " + good[3:], good[:41] + "/", good[:41] + "A"} {
					ctx := newContext(map[string][]string{requestTag: {bad}})
					if !slices.ContainsFunc(s.Condition, func(c Condition) bool {
						holds, known := ctx.holds(c, true)
						return strings.EqualFold(c.Key, requestTag) && (!known || !holds)
					}) {
						l.found(i, "Condition")
					}
				}
			})},
		{"trust-no-tag-session", Error, "without sts:TagSession STS refuses every token that carries a tag",
			"add sts:TagSession to the actions", webIdentity(func(l *linted, i int, s Statement) {
				for _, o := range l.Statements {
					if o.Effect == Allow && o.about("sts:TagSession") {
						return
					}
				}
				l.found(i, "Action")
			})},
		{"trust-extra-tags", Error, "a token may bring other tags, which other policies of the account may trust",
			`add "ForAllValues:StringEquals": {"aws:TagKeys": "` + Tag + `"}`, webIdentity(func(l *linted, i int, s Statement) {
				bounded := slices.ContainsFunc(s.Condition, func(c Condition) bool {
					return strings.EqualFold(c.Operator, "ForAllValues:StringEquals") && strings.EqualFold(c.Key, "aws:TagKeys")
				})
				if !s.isOneWallet() && s.about("sts:TagSession") && !bounded {
					l.found(i, "Condition")
				}
			})},
		{"trust-service-unbound", Warning, "the service could be made to take the role on behalf of another account",
			`add "StringEquals": {"aws:SourceAccount": "<account>"}`, statements(Allow, func(l *linted, i int, s Statement) {
				if l.Kind != Trust || s.Principal == nil {
					return
				}
				for _, service := range s.Principal.Service {
					// These two take a role only through iam:PassRole of the same account.
					own := service == "lambda.amazonaws.com" || service == "ec2.amazonaws.com"
					_, account := s.bound("aws:SourceAccount")
					_, arn := s.bound("aws:SourceArn")
					if !own && !account && !arn {
						l.found(i, "Principal", "Service")
					}
				}
			})},
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
