package cloud

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// fakeAWS plays what no server to be had here is: AWS's own IAM, STS and S3,
// with session tags and variables, on real sockets and in AWS's protocols. Who
// is allowed what is decided by cloudpolicy's evaluator, which has its own
// oracle. It shows that the AWS form goes out and comes back as it should; it
// is no proof of AWS, which `cloud verify` in an account is.
type fakeAWS struct {
	mu       sync.Mutex
	roles    map[string]*fakeRole
	provider []string          // its audiences, nil: none
	settings map[string]string // of the bucket, by subresource; nil: no bucket
	objects  map[string]bool
	sessions map[string]session // by access key
	early    map[string]int     // how often an action is still to fail as too early
	calls    []string
	ours     bool // the provider's mark
}

type fakeRole struct {
	trust    string
	inline   map[string]string
	attached []string
	tags     string
	seconds  string
}

type session struct {
	role string // "" is the administrator
	tags map[string]string
}

const adminKey = "AKIAADMIN"

func startFakeAWS(t *testing.T) (*fakeAWS, *Cloud) {
	t.Helper()
	f := &fakeAWS{roles: map[string]*fakeRole{}, objects: map[string]bool{}, sessions: map[string]session{adminKey: {}}, early: map[string]int{}}
	iamSTS, store := httptest.NewServer(http.HandlerFunc(f.query)), httptest.NewServer(http.HandlerFunc(f.s3))
	t.Cleanup(iamSTS.Close)
	t.Cleanup(store.Close)
	conf := awsConfig()
	conf.Names.Broker = "arn:aws:iam::012345678901:user/admin" // so that verify can take the role
	conf.Endpoints = Endpoints{S3: store.URL, IAM: iamSTS.URL, STS: iamSTS.URL}
	c, err := Open(t.Context(), conf, credentials.NewStaticCredentialsProvider(adminKey, "x", ""), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Pause, c.Tries = time.Millisecond, 5
	return f, c
}

func (f *fakeAWS) who(r *http.Request) (session, bool) {
	m := regexp.MustCompile(`Credential=([^/]+)/`).FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return session{}, false
	}
	s, ok := f.sessions[m[1]]
	return s, ok
}

func (f *fakeAWS) query(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	action, name := r.Form.Get("Action"), r.Form.Get("RoleName")
	f.calls = append(f.calls, action)
	answer := func(result string) {
		fmt.Fprintf(w, "<%sResponse><%sResult>%s</%sResult></%sResponse>", action, action, result, action, action)
	}
	fail := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>x</Message></Error></ErrorResponse>", code)
	}
	if f.early[action] > 0 {
		f.early[action]--
		fail(404, "NoSuchEntity")
		return
	}
	role := f.roles[name]
	if name != "" && role == nil && action != "CreateRole" {
		fail(404, "NoSuchEntity")
		return
	}
	member := func(list []string, form string) (s string) {
		for _, v := range list {
			s += "<member>" + fmt.Sprintf(form, html.EscapeString(v)) + "</member>"
		}
		return s
	}
	const marked = "<Tags><member><Key>agentkeys:managed</Key><Value>agentkeys-example</Value></member></Tags>"
	describe := func() string {
		return "<Role><RoleName>" + name + "</RoleName><Arn>a</Arn><Path>/</Path><RoleId>x</RoleId><CreateDate>2026-01-01T00:00:00Z</CreateDate><MaxSessionDuration>" + role.seconds +
			"</MaxSessionDuration><AssumeRolePolicyDocument>" + url.PathEscape(role.trust) + "</AssumeRolePolicyDocument></Role>"
	}
	switch action {
	case "CreateRole":
		role = &fakeRole{trust: r.Form.Get("AssumeRolePolicyDocument"), seconds: r.Form.Get("MaxSessionDuration"), inline: map[string]string{}}
		if r.Form.Get("Tags.member.1.Key") == Mark {
			role.tags = marked
		}
		f.roles[name] = role
		answer(describe())
	case "GetRole":
		answer(describe())
	case "ListRoleTags":
		answer(role.tags + "<IsTruncated>false</IsTruncated>")
	case "UpdateRole":
		role.seconds = r.Form.Get("MaxSessionDuration")
		answer("")
	case "UpdateAssumeRolePolicy":
		role.trust = r.Form.Get("PolicyDocument")
		answer("")
	case "PutRolePolicy":
		role.inline[r.Form.Get("PolicyName")] = r.Form.Get("PolicyDocument")
		answer("")
	case "GetRolePolicy":
		doc, ok := role.inline[r.Form.Get("PolicyName")]
		if !ok {
			fail(404, "NoSuchEntity")
			return
		}
		answer("<RoleName>x</RoleName><PolicyName>x</PolicyName><PolicyDocument>" + url.PathEscape(doc) + "</PolicyDocument>")
	case "DeleteRolePolicy":
		delete(role.inline, r.Form.Get("PolicyName"))
		answer("")
	case "ListRolePolicies":
		var names []string
		for n := range role.inline {
			names = append(names, n)
		}
		answer("<PolicyNames>" + member(names, "%s") + "</PolicyNames><IsTruncated>false</IsTruncated>")
	case "ListAttachedRolePolicies":
		answer("<AttachedPolicies>" + member(role.attached, "<PolicyArn>%s</PolicyArn>") + "</AttachedPolicies><IsTruncated>false</IsTruncated>")
	case "DetachRolePolicy":
		role.attached = slices.DeleteFunc(role.attached, func(s string) bool { return s == r.Form.Get("PolicyArn") })
		answer("")
	case "DeleteRole":
		if len(role.inline)+len(role.attached) > 0 {
			fail(409, "DeleteConflict")
			return
		}
		delete(f.roles, name)
		answer("")
	case "CreateOpenIDConnectProvider":
		f.provider, f.ours = []string{r.Form.Get("ClientIDList.member.1")}, r.Form.Get("Tags.member.1.Key") == Mark
		answer("")
	case "AddClientIDToOpenIDConnectProvider":
		f.provider = append(f.provider, r.Form.Get("ClientID"))
		answer("")
	case "GetOpenIDConnectProvider":
		if f.provider == nil {
			fail(404, "NoSuchEntity")
			return
		}
		tags := ""
		if f.ours {
			tags = marked
		}
		answer("<ClientIDList>" + member(f.provider, "%s") + "</ClientIDList>" + tags)
	case "DeleteOpenIDConnectProvider":
		f.provider = nil
		answer("")
	case "GetCallerIdentity":
		answer("<Account>012345678901</Account><Arn>arn:aws:iam::012345678901:user/admin</Arn>")
	case "AssumeRole", "AssumeRoleWithWebIdentity":
		if !f.assume(r.Form, action) {
			fail(403, "AccessDenied")
			return
		}
		key := fmt.Sprintf("ASIA%d", len(f.sessions))
		s := session{role: r.Form.Get("RoleArn")[strings.LastIndexByte(r.Form.Get("RoleArn"), '/')+1:]}
		if tag := tokenOf(r.Form.Get("WebIdentityToken")).Tag; tag != "" {
			s.tags = map[string]string{cloudpolicy.Tag: tag}
		}
		f.sessions[key] = s
		answer("<Credentials><AccessKeyId>" + key + "</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>x</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>")
	default:
		fail(400, "InvalidAction")
	}
}

type fakeToken struct {
	Subject string `json:"sub"`
	Tag     string `json:"tag"`
}

func (t fakeToken) String() string {
	b, _ := json.Marshal(t)
	return "e30." + base64.RawURLEncoding.EncodeToString(b) + ".x"
}

func tokenOf(s string) (t fakeToken) {
	if parts := strings.Split(s, "."); len(parts) == 3 {
		b, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(b, &t)
	}
	return t
}

// assume decides by the role's trust policy.
func (f *fakeAWS) assume(form url.Values, action string) bool {
	arn := form.Get("RoleArn")
	role := f.roles[arn[strings.LastIndexByte(arn, '/')+1:]]
	if role == nil {
		return false
	}
	trust, err := cloudpolicy.Parse([]byte(role.trust))
	if err != nil {
		return false
	}
	q := cloudpolicy.Request{Action: "sts:" + action, Resource: arn, Owner: "012345678901", Context: map[string][]string{}, Caller: cloudpolicy.Caller{ARN: "arn:aws:iam::012345678901:user/admin"}}
	if action == "AssumeRoleWithWebIdentity" {
		t := tokenOf(form.Get("WebIdentityToken"))
		q.Caller.ARN = "arn:aws:iam::012345678901:oidc-provider/broker.example.com"
		q.Context["broker.example.com:aud"], q.Context["broker.example.com:sub"] = f.provider, []string{t.Subject}
		if t.Tag != "" {
			q.Context["aws:RequestTag/"+cloudpolicy.Tag], q.Context["aws:TagKeys"] = []string{t.Tag}, []string{cloudpolicy.Tag}
		}
	}
	return cloudpolicy.Evaluate(q, cloudpolicy.Policies{Resource: &trust}).Verdict == cloudpolicy.Allowed
}

// may decides an S3 action by the policies that are stored.
func (f *fakeAWS) may(r *http.Request, action, key string, prefix *string) bool {
	s, signed := f.who(r)
	if signed && s.role == "" {
		return true // the administrator
	}
	q := cloudpolicy.Request{Action: action, Resource: "arn:aws:s3:::agentkeys-example", Owner: "012345678901", Context: map[string][]string{"aws:SecureTransport": {"true"}}}
	if key != "" {
		q.Resource += "/" + key
	}
	if prefix != nil {
		q.Context["s3:prefix"] = []string{*prefix}
	}
	var p cloudpolicy.Policies
	if signed {
		q.Caller.ARN = "arn:aws:sts::012345678901:assumed-role/" + s.role + "/x"
		q.Context["aws:PrincipalArn"] = []string{"arn:aws:iam::012345678901:role/" + s.role}
		for k, v := range s.tags {
			q.Context["aws:PrincipalTag/"+k] = []string{v}
		}
		for _, text := range f.roles[s.role].inline {
			if d, err := cloudpolicy.Parse([]byte(text)); err == nil {
				p.Identity = append(p.Identity, d)
			}
		}
	}
	if d, err := cloudpolicy.Parse([]byte(f.settings["policy"])); err == nil {
		p.Resource = &d
	}
	return cloudpolicy.Evaluate(q, p).Verdict == cloudpolicy.Allowed
}

var missingCode = map[string]string{
	"tagging": "NoSuchTagSet", "policy": "NoSuchBucketPolicy", "ownershipControls": "OwnershipControlsNotFoundError", "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
	"encryption": "ServerSideEncryptionConfigurationNotFoundError", "lifecycle": "NoSuchLifecycleConfiguration",
}

func (f *fakeAWS) s3(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	fail := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	setting := ""
	for s := range missingCode {
		if q.Has(s) {
			setting = s
		}
	}
	if q.Has("versioning") {
		setting = "versioning"
	}
	call := r.Method + " " + setting
	if f.early[call] > 0 {
		f.early[call]--
		fail(400, "MalformedPolicy")
		return
	}
	switch {
	case f.settings == nil && !(r.Method == "PUT" && key == "" && setting == ""):
		fail(404, "NoSuchBucket")
	case key == "" && setting != "" && r.Method == "GET":
		if !f.may(r, "s3:GetBucketPolicy", "", nil) {
			fail(403, "AccessDenied")
		} else if text, ok := f.settings[setting]; ok {
			_, _ = io.WriteString(w, text)
		} else if setting == "versioning" {
			_, _ = io.WriteString(w, "<VersioningConfiguration/>")
		} else {
			fail(404, missingCode[setting])
		}
	case key == "" && setting != "" && r.Method == "PUT":
		f.settings[setting] = string(body)
	case key == "" && q.Has("versions"):
		_, _ = io.WriteString(w, "<ListVersionsResult><IsTruncated>false</IsTruncated>")
		for o := range f.objects {
			if strings.HasPrefix(o, q.Get("prefix")) {
				fmt.Fprintf(w, "<Version><Key>%s</Key><VersionId>null</VersionId></Version>", html.EscapeString(o))
			}
		}
		_, _ = io.WriteString(w, "</ListVersionsResult>")
	case key == "" && r.Method == "PUT":
		f.settings = map[string]string{}
	case key == "" && r.Method == "HEAD":
	case key == "" && r.Method == "DELETE":
		if len(f.objects) > 0 {
			fail(409, "BucketNotEmpty")
			return
		}
		f.settings = nil
		w.WriteHeader(204)
	case key == "" && r.Method == "POST" && q.Has("delete"):
		var in struct{ Object []struct{ Key string } }
		_ = xml.Unmarshal(body, &in)
		for _, o := range in.Object {
			delete(f.objects, o.Key)
		}
		_, _ = io.WriteString(w, "<DeleteResult/>")
	case key == "":
		var prefix *string
		if q.Has("prefix") {
			prefix = aws.String(q.Get("prefix"))
		}
		if !f.may(r, "s3:ListBucket", "", prefix) {
			fail(403, "AccessDenied")
			return
		}
		_, _ = io.WriteString(w, "<ListBucketResult/>")
	default:
		action := map[string]string{"GET": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}[r.Method]
		_, source, _ := strings.Cut(r.Header.Get("X-Amz-Copy-Source"), "/")
		switch {
		case !f.may(r, action, key, nil) || source != "" && !f.may(r, "s3:GetObject", source, nil):
			fail(403, "AccessDenied")
		case r.Method == "PUT":
			f.objects[key] = true
			if source != "" {
				_, _ = io.WriteString(w, "<CopyObjectResult/>")
			}
		case r.Method == "DELETE":
			delete(f.objects, key)
			w.WriteHeader(204)
		case !f.objects[key]:
			fail(404, "NoSuchKey")
		}
	}
}
