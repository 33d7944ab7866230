package cloudpolicy

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

var (
	everyWallet = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^bots/[^/$]*[*?][^/$]*(/|$)`) })
	ownInbound  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^bots/(\$\{[^}]*\}|0x[0-9a-f]{40})/inbound/`) })
	aWallets    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^bots/(\$\{[^}]*\}|0x[0-9a-f]{40})/`) })
)

// adminActions change who may do what, or undo what keeps data.
var adminActions = []string{
	"s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketAcl", "s3:PutObjectAcl", "s3:PutBucketPublicAccessBlock", "s3:PutAccountPublicAccessBlock",
	"s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutReplicationConfiguration", "s3:PutBucketVersioning", "s3:PutBucketOwnershipControls",
	"s3:PutBucketNotification", "s3:DeleteBucket", "s3:BypassGovernanceRetention", "s3:ObjectOwnerOverrideToBucketOwner",
}

// reachMistakes are about an Allow that reaches further than it says.
func reachMistakes() []Mistake {
	return []Mistake{
		{"allow-not-action", Error, "an Allow with NotAction grants every action that AWS has or will have, but for those listed",
			"list what is allowed in Action", statements(Allow, func(l *linted, i int, s Statement) {
				if s.NotAction != nil {
					l.found(i, "NotAction")
				}
			})},
		{"allow-not-resource", Error, "an Allow with NotResource grants everything else there is",
			"list what is allowed in Resource", statements(Allow, func(l *linted, i int, s Statement) {
				if s.NotResource != nil {
					l.found(i, "NotResource")
				}
			})},
		{"wildcard-action", Error, "a wildcard grants actions that nobody thought of: s3:Put* is also PutBucketPolicy",
			"list the actions", statements(Allow, func(l *linted, i int, s Statement) {
				for j, a := range s.Action {
					if strings.ContainsAny(a, "*?") {
						l.found(i, nth("Action", s.Action, j)...)
					}
				}
			})},
		{"wildcard-resource", Error, "the statement grants its actions on every bucket or resource of the account",
			"name the bucket and the prefix", statements(Allow, func(l *linted, i int, s Statement) {
				for j, r := range s.Resource {
					parts, _ := splitARN(r)
					bucket, _, _ := strings.Cut(parts[4], "/")
					if r == "*" || parts[1] == "s3" && strings.ContainsAny(bucket, "*?") {
						l.found(i, nth("Resource", s.Resource, j)...)
					}
				}
			})},
		{"whole-bucket", Error, "the statement grants its actions on every object of the bucket: all wallets, and the mail that arrives",
			"name the prefix, such as bots/${" + principalTag + "}/credentials/*", statements(Allow, func(l *linted, i int, s Statement) {
				s.keys(func(k string, at []string) {
					if at[0] != "Condition" && (strings.HasPrefix(k, "*") || k == "" || k == "bots/*" || k == "bots*") {
						l.found(i, at...)
					}
				})
			})},
		{"every-wallet", Error, "a wildcard in the place of the wallet grants everybody's prefix; only the mail router writes there, and only mail",
			"put ${" + principalTag + "} in its place", statements(Allow, func(l *linted, i int, s Statement) {
				onlyPut := !slices.ContainsFunc(s.Action, func(a string) bool {
					return !strings.EqualFold(a, "s3:PutObject") && !strings.EqualFold(a, "s3:PutObjectTagging")
				}) && s.Action != nil
				s.keys(func(k string, at []string) {
					if everyWallet().MatchString(k) && k != "bots/*" && !(onlyPut && like("bots/*/inbound/*", k)) {
						l.found(i, at...)
					}
				})
			})},
		{"reads-arriving-mail", Error, "inbound/ holds everybody's mail before it is sorted, sign-in links among it; who has a prefix of their own must not read it",
			"drop the statement: a wallet reads bots/${" + principalTag + "}/inbound/*", func(l *linted) {
				hasOwn := false
				for _, s := range l.Statements {
					s.keys(func(k string, _ []string) { hasOwn = hasOwn || s.Effect == Allow && aWallets().MatchString(k) })
				}
				if !hasOwn || l.Kind != Identity {
					return
				}
				statements(Allow, func(l *linted, i int, s Statement) {
					s.keys(func(k string, at []string) {
						if strings.HasPrefix(k, "inbound") {
							l.found(i, at...)
						}
					})
				})(l)
			}},
		{"writes-own-mail", Error, "a session that can write its own inbox can forge the verification mail that it then reads",
			"grant s3:GetObject only on inbound/; put s3:PutObject and s3:DeleteObject on credentials/", statements(Allow, func(l *linted, i int, s Statement) {
				if !s.about("s3:PutObject") && !s.about("s3:DeleteObject") {
					return
				}
				s.keys(func(k string, at []string) {
					if ownInbound().MatchString(k) && at[0] != "Condition" && l.Kind == Identity {
						l.found(i, at...)
					}
				})
			})},
		{"tags-credentials", Error, "the bucket's lifecycle removes what carries the tag of mail: who may tag a sealed key can have it removed",
			"grant tagging only to the mail router, on bots/" + anyWallet + "/inbound/* and refused/*", statements(Allow, func(l *linted, i int, s Statement) {
				if !slices.ContainsFunc(s.Action, func(a string) bool {
					return strings.EqualFold(a, "s3:PutObjectTagging") || strings.EqualFold(a, "s3:PutObjectVersionTagging")
				}) {
					return
				}
				s.keys(func(k string, at []string) {
					k = variable().ReplaceAllLiteralString(k, probeWallet)
					own := aWallets().FindString(k)
					if own == "" {
						own = "bots/" + probeWallet + "/"
					}
					if at[0] != "Condition" && like(k, own+"credentials/x.enc") && !everyWallet().MatchString(k) && !strings.HasPrefix(k, "*") {
						l.found(i, at...)
					}
				})
			})},
		{"version-actions", Warning, "reading or deleting versions brings deleted credentials back, or takes away what an operator restores from",
			"leave versions to the bucket's owner", statements(Allow, func(l *linted, i int, s Statement) {
				for j, a := range s.Action {
					if strings.EqualFold(a, "s3:GetObjectVersion") || strings.EqualFold(a, "s3:DeleteObjectVersion") {
						l.found(i, nth("Action", s.Action, j)...)
					}
				}
			})},
		{"admin-action", Error, "who may do this can lift every other limit of the bucket",
			"leave it to the operator who runs 'agentkeys cloud apply'", statements(Allow, func(l *linted, i int, s Statement) {
				for j, a := range s.Action {
					if slices.ContainsFunc(adminActions, func(b string) bool { return strings.EqualFold(a, b) }) {
						l.found(i, nth("Action", s.Action, j)...)
					}
				}
			})},
		{"escalation", Error, "taking or making other roles leads out of everything that this policy limits",
			"drop it: none of AgentKeys' roles takes another", statements(Allow, func(l *linted, i int, s Statement) {
				for j, a := range s.Action {
					_, isIAM := cutFold(a, "iam:")
					_, assumes := cutFold(a, "sts:AssumeRole")
					if l.Kind == Identity && (isIAM || assumes) {
						l.found(i, nth("Action", s.Action, j)...)
					}
				}
			})},
		{"list-without-prefix", Error, "a listing without a condition on s3:prefix shows the names of everybody's objects",
			`add "StringLike": {"s3:prefix": "bots/${` + principalTag + `}/*"}`, statements(Allow, func(l *linted, i int, s Statement) {
				values, ok := s.bound("s3:prefix")
				if action, lists := s.aboutAny(listActions); lists && (!ok || slices.ContainsFunc(values, func(v string) bool { return v == "" || v[0] == '*' })) {
					l.found(i, nth("Action", s.Action, slices.Index(s.Action, action))...)
				}
			})},
		{"prefix-on-object", Error, "a request for an object carries no s3:prefix: joined with such actions the condition makes an Allow dead, and negated it is always true",
			"split the statement: s3:prefix belongs to s3:ListBucket only", conditioned("", func(l *linted, i int, s Statement, c Condition, _ operator) {
				if _, ok := s.aboutAny(objectActions); ok && strings.EqualFold(c.Key, "s3:prefix") {
					l.found(i, "Condition", c.Operator, c.Key)
				}
			})},
		{"widens-bucket", Error, "within one account it is enough that one policy allows: this identity policy reaches further than the bucket's own statement for the same actions, which so limits nothing",
			"narrow this one, and add a Deny with NotResource to the bucket policy", func(l *linted) {
				if l.Kind != Identity {
					return
				}
				for _, b := range l.all {
					if b.Kind == Bucket && !slices.ContainsFunc(b.Statements, func(s Statement) bool { return s.Effect == Deny && s.NotResource != nil }) {
						l.wider(b.Document)
					}
				}
			}},
	}
}

// wider finds where l allows more than b does for the same action.
func (l *linted) wider(b Document) {
	statements(Allow, func(l *linted, i int, s Statement) {
		for _, t := range b.Statements {
			if t.Effect != Allow || t.Principal == nil || len(t.Principal.AWS) == 0 || !slices.ContainsFunc(t.Action, s.about) {
				continue
			}
			for j, q := range s.Resource {
				for _, p := range t.Resource {
					// A wildcard of p is a character to q: if q still matches, it is wider.
					if q != p && like(q, p) && !like(p, q) {
						l.found(i, nth("Resource", s.Resource, j)...)
					}
				}
			}
		}
	})(l)
}
