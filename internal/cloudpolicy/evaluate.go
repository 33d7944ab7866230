package cloudpolicy

import (
	"slices"
	"strings"
)

// Caller is who sends a request. The zero value is anybody, without a
// signature.
type Caller struct {
	// ARN is that of a user, of a role's session
	// (arn:aws:sts::123456789012:assumed-role/Role/session), or of the provider
	// that vouches for a web identity.
	ARN string
	// Service is the name of an AWS service that acts itself.
	Service string
}

// Request is one call of the API.
type Request struct {
	Caller   Caller
	Action   string
	Resource string // "" for those that name none, as in a trust policy
	Owner    string // the account that the resource belongs to
	// Context holds the condition keys that the request carries. A key that is
	// not in it is missing, which is not the same as empty.
	Context map[string][]string
}

// Policies are those that speak about a request.
type Policies struct {
	Identity []Document // the caller's own; of an anonymous caller or a service, ignored
	Resource *Document  // the bucket's, or the role's trust policy
}

// Verdict is how a request ends.
type Verdict string

const (
	Allowed        Verdict = "allowed"
	ImplicitDenied Verdict = "denied" // nothing allows it
	ExplicitDenied Verdict = "denied explicitly"
)

// Decision is a verdict and what it rests on.
type Decision struct {
	Verdict Verdict
	// By lists the statements that decided, by Sid or, without one, by pointer.
	By []string
}

// Evaluate decides a request as AWS does: an explicit Deny anywhere wins;
// within one account either the caller's policies or the resource's may allow,
// but a role's trust policy always must; across accounts both must. Permission boundaries, session policies and
// those of an organisation are not modelled: they only ever narrow.
func Evaluate(r Request, p Policies) Decision {
	ctx := newContext(r.Context)
	var by []string
	identity, resource, delegated, denied := false, false, false, false
	if r.Caller.account() != "" && !r.Caller.federated() {
		for _, d := range p.Identity {
			for i, s := range d.Statements {
				if !ctx.matches(d, s, r) {
					continue
				}
				by = append(by, d.name(i))
				identity = identity || s.Effect == Allow
				denied = denied || s.Effect == Deny
			}
		}
	}
	if p.Resource != nil {
		for i, s := range p.Resource.Statements {
			who := s.concerns(r.Caller)
			if who == nobody || !ctx.matches(*p.Resource, s, r) {
				continue
			}
			by = append(by, p.Resource.name(i))
			switch {
			case s.Effect == Deny:
				denied = true
			case who == wholeAccount:
				delegated = true // to that account's own policies
			default:
				resource = true
			}
		}
	}
	if denied {
		return Decision{ExplicitDenied, by}
	}
	allowed := resource
	if account := r.Caller.account(); account != "" && !r.Caller.federated() {
		_, trust := cutFold(r.Action, "sts:")
		switch {
		case account == r.Owner && trust:
			allowed = resource || delegated && identity
		case account == r.Owner:
			allowed = resource || identity
		default:
			allowed = (resource || delegated) && identity
		}
	}
	if allowed {
		return Decision{Allowed, by}
	}
	return Decision{ImplicitDenied, nil}
}

func (d Document) name(i int) string {
	if sid := d.Statements[i].SID; sid != "" {
		return sid
	}
	return d.pointer(i)
}

func (c Caller) account() string {
	parts, ok := splitARN(c.ARN)
	if !ok || c.Service != "" {
		return ""
	}
	return parts[3]
}

func (c Caller) federated() bool {
	parts, _ := splitARN(c.ARN)
	return strings.HasPrefix(parts[4], "oidc-provider/") || strings.HasPrefix(parts[4], "saml-provider/")
}

// matches reports whether all of a statement but its principal is about r.
func (c context) matches(d Document, s Statement, r Request) bool {
	variables := d.Version == Version
	action := func(p string) bool { return strings.EqualFold(p, r.Action) || likeFold(p, r.Action) }
	if s.Action != nil && !slices.ContainsFunc(s.Action, action) || s.NotAction != nil && slices.ContainsFunc(s.NotAction, action) {
		return false
	}
	resolved := true
	resource := func(p string) bool {
		if p == "*" {
			return true
		}
		match, ok := c.arnMatches(p, r.Resource, variables)
		resolved = resolved && ok
		return match
	}
	if s.Resource != nil && !slices.ContainsFunc(s.Resource, resource) || s.NotResource != nil && slices.ContainsFunc(s.NotResource, resource) {
		return false
	}
	if s.NotResource != nil && !resolved {
		return false // nobody knows what is left out, so that not even a Deny applies
	}
	for _, cond := range s.Condition {
		holds, known := c.holds(cond, variables)
		if !known {
			holds = s.Effect == Deny
		}
		if !holds {
			return false
		}
	}
	return true
}

type concern int

const (
	nobody concern = iota
	wholeAccount
	oneself
)

func (s Statement) concerns(c Caller) concern {
	switch {
	case s.Principal != nil:
		return s.Principal.name(c)
	case s.NotPrincipal != nil && s.NotPrincipal.name(c) == nobody:
		return oneself
	}
	return nobody
}

// name reports how p names c.
func (p *Principals) name(c Caller) (found concern) {
	if p.Any || slices.Contains(p.AWS, "*") {
		return oneself
	}
	if c.Service != "" {
		if slices.Contains(p.Service, c.Service) {
			return oneself
		}
		return nobody
	}
	if c.ARN == "" {
		return nobody
	}
	if slices.Contains(p.Federated, c.ARN) || slices.Contains(p.AWS, c.ARN) {
		return oneself
	}
	for _, arn := range p.AWS {
		if isSessionOf(c.ARN, arn) {
			return oneself
		}
		if arn == c.account() && arn != "" || isRootOf(arn, c.account()) {
			found = wholeAccount
		}
	}
	return found
}

func isRootOf(arn, account string) bool {
	parts, ok := splitARN(arn)
	return ok && account != "" && parts[1] == "iam" && parts[3] == account && parts[4] == "root"
}

// isSessionOf reports whether session is one of a role, whose path a session's
// ARN leaves out.
func isSessionOf(session, role string) bool {
	s, ok := splitARN(session)
	r, ok2 := splitARN(role)
	rest, isSession := strings.CutPrefix(s[4], "assumed-role/")
	path, isRole := strings.CutPrefix(r[4], "role/")
	if !ok || !ok2 || !isSession || !isRole || s[0] != r[0] || s[3] != r[3] {
		return false
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.EqualFold(name, path[strings.LastIndexByte(path, '/')+1:])
}
