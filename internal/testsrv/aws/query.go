package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// Role is one of IAM's.
type Role struct {
	Trust    string
	Inline   map[string]string
	Attached []string
	Tags     map[string]string
	Seconds  string
}

// Provider is the OIDC provider.
type Provider struct {
	Issuer    string
	Audiences []string
	Tags      map[string]string
}

// query is the protocol of IAM, STS and SES: a form in, XML out.
func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	action := r.Form.Get("Action")
	answer := func(result string, f *fault) {
		w.Header().Set("Content-Type", "text/xml")
		if f != nil {
			w.WriteHeader(f.status)
			fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>", f.code, html.EscapeString(f.message))
			return
		}
		fmt.Fprintf(w, "<%sResponse><%sResult>%s</%sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%sResponse>", action, action, result, action, action)
	}
	_, region, service, _ := s.scope(r)
	if service == "" {
		service = "sts"
	}
	if s.early(service, action) {
		answer("", refuse(404, "NoSuchEntity", "too early"))
		return
	}
	switch {
	case service == "sts":
		answer(s.sts(r, action))
	case !s.isAdmin(r):
		answer("", refuse(403, "AccessDenied", "not the administrator"))
	case service == "ses" || service == "email":
		answer(s.ses(r.Form, action, region))
	default:
		answer(s.iam(r.Form, action))
	}
}

func members(list []string, form string) (s string) {
	for _, v := range list {
		s += "<member>" + fmt.Sprintf(form, html.EscapeString(v)) + "</member>"
	}
	return s
}

// listed reads a list of a form: Name.member.1, Name.member.2, …
func listed(form url.Values, name string) (list []string) {
	for i := 1; form.Has(fmt.Sprintf("%s.member.%d", name, i)); i++ {
		list = append(list, form.Get(fmt.Sprintf("%s.member.%d", name, i)))
	}
	return list
}

func tagsOf(form url.Values) map[string]string {
	tags := map[string]string{}
	for i := 1; form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		tags[form.Get(fmt.Sprintf("Tags.member.%d.Key", i))] = form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	return tags
}

func tagsXML(tags map[string]string) string {
	text := "<Tags>"
	for k, v := range tags {
		text += "<member><Key>" + html.EscapeString(k) + "</Key><Value>" + html.EscapeString(v) + "</Value></member>"
	}
	return text + "</Tags>"
}

func (s *Server) iam(form url.Values, action string) (string, *fault) {
	missing := refuse(404, "NoSuchEntity", "there is none")
	name := form.Get("RoleName")
	role := s.Roles[name]
	if name != "" && role == nil && action != "CreateRole" {
		return "", missing
	}
	policy := form.Get("PolicyDocument") + form.Get("AssumeRolePolicyDocument")
	if policy != "" {
		if _, err := cloudpolicy.Parse([]byte(policy)); err != nil {
			return "", refuse(400, "MalformedPolicyDocument", "%v", err)
		}
	}
	describe := func() string {
		return "<Role><RoleName>" + name + "</RoleName><Arn>arn:aws:iam::" + Account + ":role/" + name + "</Arn><Path>/</Path><RoleId>AROAEXAMPLE</RoleId><CreateDate>2026-01-01T00:00:00Z</CreateDate><MaxSessionDuration>" +
			role.Seconds + "</MaxSessionDuration><AssumeRolePolicyDocument>" + url.PathEscape(role.Trust) + "</AssumeRolePolicyDocument></Role>"
	}
	switch action {
	case "CreateRole":
		if role != nil {
			return "", refuse(409, "EntityAlreadyExists", "it is there")
		}
		role = &Role{Trust: policy, Seconds: form.Get("MaxSessionDuration"), Inline: map[string]string{}, Tags: tagsOf(form)}
		s.Roles[name] = role
		return describe(), nil
	case "GetRole":
		return describe(), nil
	case "ListRoleTags":
		return tagsXML(role.Tags) + "<IsTruncated>false</IsTruncated>", nil
	case "UpdateRole":
		role.Seconds = form.Get("MaxSessionDuration")
	case "UpdateAssumeRolePolicy":
		role.Trust = policy
	case "PutRolePolicy":
		role.Inline[form.Get("PolicyName")] = policy
	case "GetRolePolicy":
		doc, ok := role.Inline[form.Get("PolicyName")]
		if !ok {
			return "", missing
		}
		return "<RoleName>" + name + "</RoleName><PolicyName>x</PolicyName><PolicyDocument>" + url.PathEscape(doc) + "</PolicyDocument>", nil
	case "DeleteRolePolicy":
		delete(role.Inline, form.Get("PolicyName"))
	case "ListRolePolicies":
		var names []string
		for n := range role.Inline {
			names = append(names, n)
		}
		return "<PolicyNames>" + members(names, "%s") + "</PolicyNames><IsTruncated>false</IsTruncated>", nil
	case "ListAttachedRolePolicies":
		return "<AttachedPolicies>" + members(role.Attached, "<PolicyArn>%s</PolicyArn>") + "</AttachedPolicies><IsTruncated>false</IsTruncated>", nil
	case "DetachRolePolicy":
		role.Attached = slices.DeleteFunc(role.Attached, func(a string) bool { return a == form.Get("PolicyArn") })
	case "DeleteRole":
		if len(role.Inline)+len(role.Attached) > 0 {
			return "", refuse(409, "DeleteConflict", "it has policies")
		}
		delete(s.Roles, name)
	default:
		return s.providers(form, action)
	}
	return "", nil
}

func (s *Server) providers(form url.Values, action string) (string, *fault) {
	if s.Provider == nil && action != "CreateOpenIDConnectProvider" {
		return "", refuse(404, "NoSuchEntity", "there is none")
	}
	switch action {
	case "CreateOpenIDConnectProvider":
		s.Provider = &Provider{form.Get("Url"), listed(form, "ClientIDList"), tagsOf(form)}
	case "AddClientIDToOpenIDConnectProvider":
		s.Provider.Audiences = append(s.Provider.Audiences, form.Get("ClientID"))
	case "GetOpenIDConnectProvider":
		return "<ClientIDList>" + members(s.Provider.Audiences, "%s") + "</ClientIDList>" + tagsXML(s.Provider.Tags), nil
	case "DeleteOpenIDConnectProvider":
		s.Provider = nil
	default:
		return "", refuse(400, "InvalidAction", "%s is not played", action)
	}
	return "", nil
}

// Token is a web-identity token, unsigned. No tag is a token without one.
func Token(issuer, subject, tag string) string {
	claims := map[string]any{"iss": issuer, "sub": subject, "aud": cloudpolicy.Audience}
	if tag != "" {
		claims[tagsClaim] = map[string]any{"principal_tags": map[string][]string{cloudpolicy.Tag: {tag}}}
	}
	b, _ := json.Marshal(claims)
	return "e30." + base64.RawURLEncoding.EncodeToString(b) + ".x"
}

const tagsClaim = "https://aws.amazon.com/tags"

type token struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Tags     struct {
		Principal map[string][]string `json:"principal_tags"`
	} `json:"https://aws.amazon.com/tags"`
}

func (s *Server) sts(r *http.Request, action string) (string, *fault) {
	who, _, _, signed := s.scope(r)
	switch action {
	case "GetCallerIdentity":
		if !signed || who.role != "" {
			return "", refuse(403, "AccessDenied", "not the administrator")
		}
		return "<Account>" + Account + "</Account><Arn>arn:aws:iam::" + Account + ":user/admin</Arn><UserId>AIDAEXAMPLE</UserId>", nil
	case "AssumeRole", "AssumeRoleWithWebIdentity":
		tags, ok := s.assume(r.Form, action)
		if !ok {
			return "", refuse(403, "AccessDenied", "the trust policy does not allow it")
		}
		key, arn := s.next("ASIAEXAMPLE"), r.Form.Get("RoleArn")
		s.sessions[key] = session{arn[strings.LastIndexByte(arn, '/')+1:], tags}
		return "<Credentials><AccessKeyId>" + key + "</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>x</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>", nil
	}
	return "", refuse(400, "InvalidAction", "%s is not played", action)
}

// assume decides by the role's trust policy.
func (s *Server) assume(form url.Values, action string) (tags map[string]string, ok bool) {
	arn := form.Get("RoleArn")
	role := s.Roles[arn[strings.LastIndexByte(arn, '/')+1:]]
	if role == nil {
		return nil, false
	}
	trust, err := cloudpolicy.Parse([]byte(role.Trust))
	if err != nil {
		return nil, false
	}
	q := cloudpolicy.Request{Action: "sts:" + action, Resource: arn, Owner: Account, Context: map[string][]string{}, Caller: cloudpolicy.Caller{ARN: "arn:aws:iam::" + Account + ":user/admin"}}
	if action == "AssumeRoleWithWebIdentity" {
		var t token
		parts := strings.Split(form.Get("WebIdentityToken"), ".")
		if len(parts) != 3 || s.Provider == nil {
			return nil, false
		}
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || json.Unmarshal(claims, &t) != nil || t.Issuer != s.Provider.Issuer || !slices.Contains(s.Provider.Audiences, t.Audience) {
			return nil, false
		}
		host := strings.TrimPrefix(t.Issuer, "https://")
		q.Caller.ARN = "arn:aws:iam::" + Account + ":oidc-provider/" + host
		q.Context[host+":aud"], q.Context[host+":sub"] = []string{t.Audience}, []string{t.Subject}
		for k, v := range t.Tags.Principal {
			q.Context["aws:RequestTag/"+k] = v
			q.Context["aws:TagKeys"] = append(q.Context["aws:TagKeys"], k)
			if tags == nil {
				tags = map[string]string{}
			}
			tags[k] = v[0]
		}
	}
	return tags, cloudpolicy.Evaluate(q, cloudpolicy.Policies{Resource: &trust}).Verdict == cloudpolicy.Allowed
}
