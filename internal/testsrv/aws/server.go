// Package aws plays what no server to be had here is: AWS's own IAM, STS, S3,
// SES, SQS, Lambda, CloudWatch and CloudWatch Logs, as far as `agentkeys cloud`
// speaks to them, on one real socket and in each service's own protocol: query
// and XML for IAM, STS and SES, REST and XML for S3, JSON 1.0 and 1.1 for SQS
// and Logs, REST and JSON for Lambda, CBOR for CloudWatch. A process is sent to
// it by AWS_ENDPOINT_URL. It depends on cloudpolicy and not on testing.
//
// Who is allowed what is decided by cloudpolicy's evaluator, which has its own
// oracle. What AWS refuses when it comes too early is refused: a rule whose
// bucket does not let SES in, a notification to a queue that does not let S3 in,
// a function whose role Lambda cannot take or whose role cannot read its queue,
// a dead-letter queue that is not there.
//
// It shows that requests go out and come back as they should; it is no proof of
// AWS, which `agentkeys cloud verify` in an account is. Known divergences: one
// account, one bucket, no signatures are verified and tokens are believed, there
// is no eventual consistency but Early, and what it does not know it refuses.
package aws

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// AdminKey is the access key of the administrator, who may do anything. Any
// secret goes with it.
const AdminKey = "AKIAADMINEXAMPLE"

// Account is the one account there is.
const Account = "012345678901"

// Mark is the tag that is kept of roles and providers.
const Mark = "agentkeys:managed"

// Server is an AWS that is listening. Its exported fields are its state: who
// looks at it or changes it does so between requests.
type Server struct {
	URL string

	Roles    map[string]*Role
	Provider *Provider
	Bucket   string            // its name; "" is none
	Settings map[string]string // of the bucket, by subresource
	Objects  map[string][]byte
	// ObjectTags are the tags of objects that have any, each as a URL's query.
	ObjectTags map[string]string
	Queues     map[string]*Queue
	Functions  map[string]*Function
	Mappings   map[string]*Mapping
	Alarms     map[string]*Alarm
	Logs       map[string]*Log
	// Identities, RuleSets and Active are SES's, of the one region that is used.
	Identities map[string]*Identity
	RuleSets   map[string][]*Rule
	Active     string
	// Early is how often an action is still to fail as what comes too early does.
	Early map[string]int
	// Calls are all actions that were asked for, as "service Action".
	Calls []string

	mu       sync.Mutex
	sessions map[string]session
	http     *http.Server
	made     int
}

// session is who has an access key. No role is the administrator.
type session struct {
	role string
	tags map[string]string
}

// Start listens on loopback.
func Start() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL: "http://" + l.Addr().String(), Roles: map[string]*Role{}, Objects: map[string][]byte{}, ObjectTags: map[string]string{}, Queues: map[string]*Queue{}, Functions: map[string]*Function{},
		Mappings: map[string]*Mapping{}, Alarms: map[string]*Alarm{}, Logs: map[string]*Log{}, Identities: map[string]*Identity{}, RuleSets: map[string][]*Rule{},
		Early: map[string]int{}, sessions: map[string]session{AdminKey: {}},
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
	go func() { _ = s.http.Serve(l) }()
	return s, nil
}

// Close stops it.
func (s *Server) Close() error { return s.http.Close() }

// maxBody is more than any request has, in bytes: a function's zip in base64.
const maxBody = 80 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	target := r.Header.Get("X-Amz-Target")
	switch {
	case strings.HasPrefix(target, "AmazonSQS."):
		s.json(w, r, "sqs", strings.TrimPrefix(target, "AmazonSQS."), s.sqs)
	case strings.HasPrefix(target, "Logs_20140328."):
		s.json(w, r, "logs", strings.TrimPrefix(target, "Logs_20140328."), s.logs)
	case strings.HasPrefix(r.URL.Path, "/service/GraniteServiceVersion20100801/operation/"):
		s.watch(w, r)
	case lambdaPath.MatchString(r.URL.Path):
		s.lambda(w, r)
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		s.query(w, r)
	default:
		s.s3(w, r)
	}
}

// early notes a call, and reports whether it is to fail as too early.
func (s *Server) early(service, action string) bool {
	s.Calls = append(s.Calls, service+" "+action)
	if s.Early[action] > 0 {
		s.Early[action]--
		return true
	}
	return false
}

var credential = regexp.MustCompile(`Credential=([^/]+)/[0-9]+/([^/]+)/([^/]+)/`)

// scope is who signed a request, and for which region and service.
func (s *Server) scope(r *http.Request) (who session, region, service string, signed bool) {
	m := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return session{}, "", "", false
	}
	who, signed = s.sessions[m[1]]
	return who, m[2], m[3], signed
}

// isAdmin reports whether the administrator signed. All but S3 and STS are for
// nobody else.
func (s *Server) isAdmin(r *http.Request) bool {
	who, _, _, signed := s.scope(r)
	return signed && who.role == ""
}

// fault is an error as the API reports it.
type fault struct {
	status        int
	code, message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

func refuse(status int, code, form string, args ...any) *fault {
	return &fault{status, code, fmt.Sprintf(form, args...)}
}

// next is a name that was not there before.
func (s *Server) next(prefix string) string {
	s.made++
	return fmt.Sprintf("%s%04d", prefix, s.made)
}
