package aws

import (
	"bytes"
	"crypto/md5"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// missingCode is what a setting of a bucket is called that is not there.
var missingCode = map[string]string{
	"tagging": "NoSuchTagSet", "policy": "NoSuchBucketPolicy", "ownershipControls": "OwnershipControlsNotFoundError", "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
	"encryption": "ServerSideEncryptionConfigurationNotFoundError", "lifecycle": "NoSuchLifecycleConfiguration",
}

// empty are settings that every bucket has.
var empty = map[string]string{"versioning": "<VersioningConfiguration/>", "notification": "<NotificationConfiguration/>"}

// arn is the bucket's, with a key.
func (s *Server) arn(key string) string {
	if key != "" {
		key = "/" + key
	}
	return "arn:aws:s3:::" + s.Bucket + key
}

// policy returns a stored policy; none decides nothing.
func policy(text string) *cloudpolicy.Document {
	if d, err := cloudpolicy.Parse([]byte(text)); err == nil {
		return &d
	}
	return nil
}

// may decides an S3 action by the policies that are stored.
func (s *Server) may(r *http.Request, action, key string, prefix *string) bool {
	who, _, _, signed := s.scope(r)
	if signed && who.role == "" {
		return true // the administrator
	}
	q := cloudpolicy.Request{Action: action, Resource: s.arn(key), Owner: Account, Context: map[string][]string{"aws:SecureTransport": {"true"}}}
	if prefix != nil {
		q.Context["s3:prefix"] = []string{*prefix}
	}
	p := cloudpolicy.Policies{Resource: policy(s.Settings["policy"])}
	if signed {
		q.Caller.ARN = "arn:aws:sts::" + Account + ":assumed-role/" + who.role + "/x"
		q.Context["aws:PrincipalArn"] = []string{"arn:aws:iam::" + Account + ":role/" + who.role}
		for k, v := range who.tags {
			q.Context["aws:PrincipalTag/"+k] = []string{v}
		}
		p.Identity = s.identity(who.role)
	}
	return cloudpolicy.Evaluate(q, p).Verdict == cloudpolicy.Allowed
}

// identity are the policies of a role.
func (s *Server) identity(role string) (list []cloudpolicy.Document) {
	if s.Roles[role] == nil {
		return nil
	}
	for _, text := range s.Roles[role].Inline {
		if d := policy(text); d != nil {
			list = append(list, *d)
		}
	}
	return list
}

// allows decides what an AWS service does by itself for the account.
func allows(doc string, service, action, resource, account, source string) bool {
	d := policy(doc)
	if d == nil {
		return false
	}
	return cloudpolicy.Evaluate(cloudpolicy.Request{
		Caller: cloudpolicy.Caller{Service: service}, Action: action, Resource: resource, Owner: Account,
		Context: map[string][]string{"aws:SecureTransport": {"true"}, "aws:SourceAccount": {account}, "aws:SourceArn": {source}},
	}, cloudpolicy.Policies{Resource: d}).Verdict == cloudpolicy.Allowed
}

func (s *Server) s3(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	setting := ""
	for name := range r.URL.Query() {
		if _, ok := missingCode[name]; ok || empty[name] != "" {
			setting = name
		}
	}
	text, f := "", (*fault)(nil)
	switch {
	case s.early("s3", r.Method+" "+setting):
		f = refuse(400, "MalformedPolicy", "too early")
	case s.Bucket != bucket && !(s.Bucket == "" && r.Method == http.MethodPut && key == "" && setting == ""):
		f = refuse(404, "NoSuchBucket", "there is no such bucket")
	case key == "" && setting != "":
		text, f = s.setting(r, setting, string(body))
	case key == "":
		text, f = s.bucket(w, r, bucket, body)
	default:
		text, f = s.object(w, r, key, body)
	}
	if f != nil {
		w.WriteHeader(f.status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", f.code, html.EscapeString(f.message))
		}
		return
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (s *Server) setting(r *http.Request, name, body string) (string, *fault) {
	denied := refuse(403, "AccessDenied", "no")
	switch r.Method {
	case http.MethodGet:
		if !s.may(r, "s3:GetBucketPolicy", "", nil) {
			return "", denied
		}
		if text, ok := s.Settings[name]; ok {
			return text, nil
		}
		if empty[name] != "" {
			return empty[name], nil
		}
		return "", refuse(404, missingCode[name], "there is none")
	case http.MethodPut:
		if !s.isAdmin(r) {
			return "", denied
		}
		switch name {
		case "policy":
			if policy(body) == nil {
				return "", refuse(400, "MalformedPolicy", "it is no policy")
			}
		case "lifecycle":
			if f := checkLifecycle(body); f != nil {
				return "", f
			}
		case "notification":
			if f := s.notify(body); f != nil {
				return "", f
			}
		}
		s.Settings[name] = body
		return "", nil
	}
	return "", refuse(405, "MethodNotAllowed", "not played")
}

type notifications struct {
	Queues    []notification `xml:"QueueConfiguration"`
	Topics    []notification `xml:"TopicConfiguration"`
	Functions []notification `xml:"CloudFunctionConfiguration"`
}

type notification struct {
	ID     string   `xml:"Id"`
	Queue  string   `xml:"Queue"`
	Events []string `xml:"Event"`
	Rules  []struct {
		Name, Value string
	} `xml:"Filter>S3Key>FilterRule"`
}

func (n notification) prefix() string {
	for _, r := range n.Rules {
		if strings.EqualFold(r.Name, "prefix") {
			return r.Value
		}
	}
	return ""
}

// notify checks a notification configuration as S3 does: destinations must let
// it send, and no two may be about one object.
func (s *Server) notify(body string) *fault {
	var n notifications
	if err := xml.Unmarshal([]byte(body), &n); err != nil {
		return refuse(400, "MalformedXML", "%v", err)
	}
	all := slices.Concat(n.Queues, n.Topics, n.Functions)
	for i, a := range all {
		if len(a.Events) == 0 {
			return refuse(400, "InvalidArgument", "a notification without events")
		}
		for _, b := range all[:i] {
			if a.ID == b.ID || strings.HasPrefix(a.prefix(), b.prefix()) || strings.HasPrefix(b.prefix(), a.prefix()) {
				return refuse(400, "InvalidArgument", "Configurations overlap.")
			}
		}
	}
	for _, q := range n.Queues {
		name := q.Queue[strings.LastIndexByte(q.Queue, ':')+1:]
		to := s.Queues[name]
		if to == nil || !allows(to.Attributes["Policy"], "s3.amazonaws.com", "sqs:SendMessage", q.Queue, Account, s.arn("")) {
			return refuse(400, "InvalidArgument", "Unable to validate the following destination configurations: %s", q.Queue)
		}
		to.Messages = append(to.Messages, `{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"`+s.Bucket+`"}`)
	}
	return nil
}

func (s *Server) bucket(w http.ResponseWriter, r *http.Request, name string, body []byte) (string, *fault) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPut:
		s.Bucket, s.Settings = name, map[string]string{}
	case r.Method == http.MethodHead:
	case r.Method == http.MethodDelete:
		if len(s.Objects) > 0 {
			return "", refuse(409, "BucketNotEmpty", "it has objects")
		}
		s.Bucket, s.Settings = "", nil
	case r.Method == http.MethodPost && q.Has("delete"):
		var in struct{ Object []struct{ Key string } }
		if err := xml.Unmarshal(body, &in); err != nil {
			return "", refuse(400, "MalformedXML", "%v", err)
		}
		for _, o := range in.Object {
			delete(s.Objects, o.Key)
		}
		return "<DeleteResult/>", nil
	case q.Has("versions"):
		text := "<ListVersionsResult><IsTruncated>false</IsTruncated>"
		for _, key := range slices.Sorted(maps.Keys(s.Objects)) {
			if strings.HasPrefix(key, q.Get("prefix")) {
				text += "<Version><Key>" + html.EscapeString(key) + "</Key><VersionId>null</VersionId></Version>"
			}
		}
		return text + "</ListVersionsResult>", nil
	default:
		var prefix *string
		if q.Has("prefix") {
			p := q.Get("prefix")
			prefix = &p
		}
		if !s.may(r, "s3:ListBucket", "", prefix) {
			return "", refuse(403, "AccessDenied", "no")
		}
		text := "<ListBucketResult>"
		for _, key := range slices.Sorted(maps.Keys(s.Objects)) {
			if strings.HasPrefix(key, q.Get("prefix")) {
				text += "<Contents><Key>" + html.EscapeString(key) + "</Key><Size>" + strconv.Itoa(len(s.Objects[key])) + "</Size></Contents>"
			}
		}
		return text + "</ListBucketResult>", nil
	}
	return "", nil
}

func (s *Server) object(w http.ResponseWriter, r *http.Request, key string, body []byte) (string, *fault) {
	if r.URL.Query().Has("tagging") {
		return "", s.tagObject(r, key, body)
	}
	action := map[string]string{http.MethodGet: "s3:GetObject", http.MethodHead: "s3:GetObject", http.MethodPut: "s3:PutObject", http.MethodDelete: "s3:DeleteObject"}[r.Method]
	_, source, _ := strings.Cut(r.Header.Get("X-Amz-Copy-Source"), "/")
	if !s.may(r, action, key, nil) || source != "" && !s.may(r, "s3:GetObject", source, nil) {
		return "", refuse(403, "AccessDenied", "no")
	}
	// A request for an object has no prefix, so that who may list some prefixes
	// only is not told what is there.
	missing := refuse(403, "AccessDenied", "no")
	if s.may(r, "s3:ListBucket", "", nil) {
		missing = refuse(404, "NoSuchKey", "there is none")
	}
	switch r.Method {
	case http.MethodPut:
		tag, f := s.tagOfPut(r, key, source)
		if f != nil {
			return "", f
		}
		if _, there := s.Objects[key]; there && r.Header.Get("If-None-Match") == "*" {
			return "", refuse(412, "PreconditionFailed", "it is there")
		}
		answer := ""
		if source != "" {
			have, ok := s.Objects[source]
			if !ok {
				return "", missing
			}
			if match := r.Header.Get("X-Amz-Copy-Source-If-Match"); match != "" && match != etag(have) {
				return "", refuse(412, "PreconditionFailed", "the source is another")
			}
			body, answer = have, "<CopyObjectResult><ETag>"+html.EscapeString(etag(have))+"</ETag></CopyObjectResult>"
		}
		s.Objects[key] = body
		delete(s.ObjectTags, key)
		if tag != "" {
			s.ObjectTags[key] = tag
		}
		return answer, nil
	case http.MethodDelete:
		delete(s.Objects, key)
		delete(s.ObjectTags, key)
	default:
		have, ok := s.Objects[key]
		if !ok {
			return "", missing
		}
		w.Header().Set("ETag", etag(have))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(have))
	}
	return "", nil
}

func etag(data []byte) string { return fmt.Sprintf("\"%x\"", md5.Sum(data)) }
