package cloudpolicy

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

var (
	deadID    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^A(RO|ID|IP|CC)A[A-Z0-9]{8,}$`) })
	accountID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{12}$`) })
)

// bucketMistakes are about who a resource's policy lets in, and whom it
// forgets to keep out.
func bucketMistakes() []Mistake {
	return []Mistake{
		{"allow-not-principal", Error, "an Allow with NotPrincipal grants everybody else in the world",
			"list who is allowed in Principal", notPrincipal(Allow)},
		{"deny-not-principal", Warning, "a Deny with NotPrincipal also hits the sessions of the role that it spares, and everybody with a permissions boundary",
			`use Principal "*" with "ArnNotEquals": {"aws:PrincipalArn": …}`, notPrincipal(Deny)},
		{"wildcard-principal", Error, "everybody in the world is allowed",
			"name the principal, or bind aws:PrincipalArn, aws:PrincipalAccount or aws:PrincipalOrgID with an Equals", statements(Allow, func(l *linted, i int, s Statement) {
				if s.Principal == nil || !s.Principal.Any && !slices.Contains(s.Principal.AWS, "*") {
					return
				}
				for _, key := range []string{"aws:PrincipalArn", "aws:PrincipalAccount", "aws:PrincipalOrgID"} {
					if values, ok := s.bound(key); ok && !strings.ContainsAny(strings.Join(values, ""), "*?") {
						return
					}
				}
				l.found(i, "Principal")
			})},
		{"account-principal", Error, "a whole account is let in: every user and role there whose own policy says so, today or later",
			"name the role", principals(Allow, func(p string) bool {
				parts, ok := splitARN(p)
				return accountID().MatchString(p) || ok && parts[4] == "root"
			})},
		{"foreign-principal", Error, "this principal is of another account than yours",
			"remove it, unless you know why it is there", func(l *linted) {
				if l.names != nil {
					principals(Allow, func(p string) bool {
						parts, ok := splitARN(p)
						return ok && parts[3] != l.names.Account && parts[4] != "root"
					})(l)
				}
			}},
		{"dead-principal", Warning, "this is the id of a role or user that was deleted; AWS put it in the place of the name",
			"remove it, or write the new role's ARN", principals("", deadID().MatchString)},
		{"deny-names-role", Warning, "a role named as Principal becomes a dead id when it is deleted, and this Deny does not come back with a new role of that name",
			`use Principal "*" with "ArnEquals": {"aws:PrincipalArn": …}`, principals(Deny, func(p string) bool {
				parts, ok := splitARN(p)
				return ok && parts[1] == "iam" && strings.HasPrefix(parts[4], "role/")
			})},
		{"mixed-buckets", Error, "a bucket's policy speaks about another bucket: AWS refuses it, and the statement protects nothing",
			"name the bucket that carries the policy", func(l *linted) {
				var first string
				if l.names != nil {
					first = l.names.Bucket
				}
				statements("", func(l *linted, i int, s Statement) {
					s.values(func(v string, at []string) {
						parts, ok := splitARN(hideVariables(v))
						bucket, _, _ := strings.Cut(parts[4], "/")
						if l.Kind != Bucket || at[0] == "Condition" || !ok || parts[1] != "s3" || strings.ContainsAny(bucket, "*?") {
							return
						}
						if first == "" {
							first = bucket
						}
						if bucket != first {
							l.found(i, at...)
						}
					})
				})(l)
			}},
		{"ses-no-account", Error, "SES acts for every customer of SES: without aws:SourceAccount anybody's receipt rule can write here",
			`add "StringEquals": {"aws:SourceAccount": "<account>"}`, services(func(s Statement, ses bool) bool {
				_, ok := s.bound("aws:SourceAccount")
				return ses && !ok
			})},
		{"ses-no-arn", Error, "without aws:SourceArn every receipt rule of the account can write here",
			`add "ArnEquals": {"aws:SourceArn": "arn:aws:ses:<region>:<account>:receipt-rule-set/<set>:receipt-rule/<rule>"}`, services(func(s Statement, ses bool) bool {
				values, ok := s.bound("aws:SourceArn")
				return ses && (!ok || slices.Contains(values, "*"))
			})},
		{"ses-elsewhere", Error, "SES can write outside inbound/, where what it writes passes for sorted mail or for a credential",
			"limit the resource to inbound/*", services(func(s Statement, ses bool) bool {
				return ses && slices.ContainsFunc(s.Resource, func(r string) bool {
					_, key, ok := strings.Cut(r, "/")
					return !ok || !strings.HasPrefix(key, "inbound/") && key != "*" // the latter is whole-bucket
				})
			})},
		{"ses-actions", Error, "SES needs to put objects and nothing else",
			"grant s3:PutObject only", services(func(s Statement, ses bool) bool {
				return ses && slices.ContainsFunc(s.Action, func(a string) bool { return !strings.EqualFold(a, "s3:PutObject") && !strings.ContainsAny(a, "*?") })
			})},
		{"service-unbound", Error, "an AWS service acts for all of its customers: without aws:SourceAccount or aws:SourceArn any of them reaches this bucket",
			"bind both", services(func(s Statement, ses bool) bool {
				_, account := s.bound("aws:SourceAccount")
				_, arn := s.bound("aws:SourceArn")
				return !ses && !account && !arn
			})},
		{"no-tls-deny", Error, "requests without TLS are answered, with what they carry readable on the way",
			`add a Deny for "*" on s3:* with "Bool": {"aws:SecureTransport": "false"}`, func(l *linted) {
				if l.Kind == Bucket && !slices.ContainsFunc(l.Statements, func(s Statement) bool { _, ok := s.bound("aws:SecureTransport"); return ok && s.Effect == Deny }) {
					l.foundAll()
				}
			}},
		{"half-tls-deny", Error, "the Deny of requests without TLS leaves out some of the bucket, of the actions or of the callers",
			`make it Principal "*", Action s3:*, on the bucket and on its objects`, tlsDeny("false", func(s Statement) bool {
				everybody := s.Principal != nil && (s.Principal.Any || slices.Contains(s.Principal.AWS, "*"))
				bucket, objects := slices.ContainsFunc(s.Resource, isBucket), slices.ContainsFunc(s.Resource, func(r string) bool { return strings.HasSuffix(r, "/*") })
				all := slices.Contains(s.Resource, "*") || bucket && objects
				return !everybody || !all || !s.about("s3:*") || len(s.Condition) > 1
			})},
		{"tls-reversed", Error, "this denies requests with TLS, and answers those without",
			`write "aws:SecureTransport": "false"`, tlsDeny("true", func(Statement) bool { return true })},
		{"no-untagged-deny", Error, "nothing in the bucket policy stops a session of the data role that has no wallet, should its role's policy ever allow more",
			`add a Deny for that role with "Null": {"` + principalTag + `": "true"}`, holdsDown(func(n Names, denied func(Caller, string, string, map[string][]string) bool) bool {
				return denied(sessionOf(n, n.DataRole), "s3:GetObject", "bots/"+probeWallet+"/credentials/x", nil)
			})},
		{"no-foreign-deny", Error, "nothing in the bucket policy stops one wallet's session at another's prefix, should its role's policy ever allow more",
			"add a Deny for that role with NotResource: its own prefix", holdsDown(func(n Names, denied func(Caller, string, string, map[string][]string) bool) bool {
				tag := map[string][]string{principalTag: {probeWallet}}
				other := "bots/0x" + strings.Repeat("2", 40)
				return denied(sessionOf(n, n.DataRole), "s3:GetObject", other+"/credentials/x", tag) && denied(sessionOf(n, n.DataRole), "s3:PutObject", other+"/inbound/x", tag)
			})},
		{"no-broker-deny", Error, "nothing in the bucket policy keeps the broker from the mail that services send, or from credentials",
			"add a Deny for the broker's role on s3:* at bots/*/inbound/* and bots/*/credentials/*", holdsDown(func(n Names, denied func(Caller, string, string, map[string][]string) bool) bool {
				for _, key := range []string{"/inbound/x", "/credentials/x.enc"} {
					for _, action := range []string{"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"} {
						if !denied(sessionOf(n, n.BrokerRole), action, "bots/"+probeWallet+key, nil) {
							return false
						}
					}
				}
				return true
			})},
	}
}

const probeWallet = "0x1111111111111111111111111111111111111111"

func sessionOf(n Names, role string) Caller {
	return Caller{ARN: "arn:" + n.Partition + ":sts::" + n.Account + ":assumed-role/" + role + "/probe"}
}

// holdsDown asks whether a bucket's policy denies explicitly: whether an
// identity policy that allows everything would still get nothing.
func holdsDown(ok func(n Names, denied func(Caller, string, string, map[string][]string) bool) bool) func(*linted) {
	return func(l *linted) {
		if l.names == nil || l.Kind != Bucket {
			return
		}
		n := *l.names
		denied := func(who Caller, action, key string, more map[string][]string) bool {
			role, _, _ := strings.Cut(strings.TrimPrefix(who.ARN[strings.LastIndexByte(who.ARN, ':')+1:], "assumed-role/"), "/")
			ctx := map[string][]string{"aws:SecureTransport": {"true"}, "aws:PrincipalArn": {n.RoleARN(role)}}
			for k, v := range more {
				ctx[k] = v
			}
			d := Evaluate(Request{who, action, n.objects(key), n.Account, ctx}, Policies{Resource: &l.Document})
			return d.Verdict == ExplicitDenied
		}
		if !ok(n, denied) {
			l.foundAll()
		}
	}
}

func notPrincipal(effect Effect) func(*linted) {
	return statements(effect, func(l *linted, i int, s Statement) {
		if s.NotPrincipal != nil {
			l.found(i, "NotPrincipal")
		}
	})
}

// principals looks at every AWS principal.
func principals(effect Effect, wrong func(string) bool) func(*linted) {
	return statements(effect, func(l *linted, i int, s Statement) {
		if s.Principal == nil {
			return
		}
		for j, p := range s.Principal.AWS {
			if wrong(p) {
				l.found(i, append([]string{"Principal"}, nth("AWS", s.Principal.AWS, j)...)...)
			}
		}
	})
}

// services looks at each statement that lets an AWS service at the bucket.
func services(wrong func(s Statement, ses bool) bool) func(*linted) {
	return statements(Allow, func(l *linted, i int, s Statement) {
		if l.Kind != Bucket || s.Principal == nil || len(s.Principal.Service) == 0 {
			return
		}
		if wrong(s, slices.Contains(s.Principal.Service, "ses.amazonaws.com")) {
			l.found(i)
		}
	})
}

// tlsDeny looks at each Deny that hangs on TLS in one way.
func tlsDeny(value string, wrong func(Statement) bool) func(*linted) {
	return statements(Deny, func(l *linted, i int, s Statement) {
		values, ok := s.bound("aws:SecureTransport")
		if l.Kind == Bucket && ok && slices.Contains(values, value) && wrong(s) {
			l.found(i)
		}
	})
}
