package aws

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// Function is one of Lambda's.
type Function struct {
	Runtime, Handler, Role, Architecture, CodeSha256 string
	Memory, Timeout                                  int
	Environment, Tags                                map[string]string
	Reserved                                         *int
}

// Mapping feeds a function from a queue.
type Mapping struct {
	Function, Queue    string
	Enabled            bool
	Batch, Concurrency int
	Reports            []string
}

var lambdaPath = regexp.MustCompile(`^/20[0-9]{2}-[0-9]{2}-[0-9]{2}/(functions|event-source-mappings)(?:/([^/]*))?(?:/([^/]*))?$`)

// lambdaInput is all that any of the requests played has.
type lambdaInput struct {
	FunctionName, Runtime, Handler, Role string
	Architectures                        []string
	MemorySize, Timeout                  int
	Environment                          struct{ Variables map[string]string }
	Code                                 struct{ ZipFile []byte }
	ZipFile                              []byte
	Tags                                 map[string]string
	ReservedConcurrentExecutions         *int
	EventSourceArn                       string
	Enabled                              *bool
	BatchSize                            int
	FunctionResponseTypes                []string
	ScalingConfig                        struct{ MaximumConcurrency int }
}

// lambda is REST with JSON.
func (s *Server) lambda(w http.ResponseWriter, r *http.Request) {
	m := lambdaPath.FindStringSubmatch(r.URL.Path)
	name, _ := url.PathUnescape(m[2])
	action := r.Method + " " + m[1] + map[bool]string{true: "/" + m[3]}[m[3] != ""]
	var in lambdaInput
	var out any
	f := refuse(403, "AccessDeniedException", "not the administrator")
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	switch {
	case s.early("lambda", action):
		f = refuse(409, "ResourceConflictException", "The operation cannot be performed at this time. An update is in progress")
	case !s.isAdmin(r):
	case m[1] == "functions":
		out, f = s.functions(action, name, in)
	default:
		out, f = s.mappings(action, name, in, r.URL.Query())
	}
	w.Header().Set("Content-Type", "application/json")
	if f != nil {
		w.Header().Set("X-Amzn-Errortype", f.code)
		w.WriteHeader(f.status)
		out = map[string]string{"Type": "User", "message": f.message}
	}
	if out == nil {
		out = struct{}{}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func invalid(form string, args ...any) *fault {
	return refuse(400, "InvalidParameterValueException", form, args...)
}

func (s *Server) functions(action, name string, in lambdaInput) (any, *fault) {
	fn := s.Functions[name]
	if fn == nil && action != "POST functions" {
		return nil, refuse(404, "ResourceNotFoundException", "Function not found: %s", name)
	}
	switch action {
	case "POST functions":
		if s.Functions[in.FunctionName] != nil {
			return nil, refuse(409, "ResourceConflictException", "Function already exist: %s", in.FunctionName)
		}
		if in.FunctionName == "" || in.Role == "" || in.Runtime != "provided.al2023" || in.Handler == "" {
			return nil, invalid("FunctionName, Role, Runtime and Handler are needed")
		}
		fn = &Function{Architecture: "x86_64", Memory: 128, Timeout: 3, Tags: in.Tags}
		if f := s.code(fn, in.Code.ZipFile, in.Architectures); f != nil {
			return nil, f
		}
		if f := s.configure(fn, in); f != nil {
			return nil, f
		}
		s.Functions[in.FunctionName] = fn
		return fn.configuration(in.FunctionName), nil
	case "GET functions":
		return map[string]any{"Configuration": fn.configuration(name), "Tags": fn.Tags}, nil
	case "PUT functions/configuration":
		return fn.configuration(name), s.configure(fn, in)
	case "PUT functions/code":
		return fn.configuration(name), s.code(fn, in.ZipFile, in.Architectures)
	case "DELETE functions":
		delete(s.Functions, name)
	case "GET functions/concurrency":
		if fn.Reserved != nil {
			return map[string]int{"ReservedConcurrentExecutions": *fn.Reserved}, nil
		}
	case "PUT functions/concurrency":
		fn.Reserved = in.ReservedConcurrentExecutions
	case "DELETE functions/concurrency":
		fn.Reserved = nil
	default:
		return nil, refuse(404, "ResourceNotFoundException", "%s is not played", action)
	}
	return nil, nil
}

func (f *Function) configuration(name string) map[string]any {
	return map[string]any{
		"FunctionName": name, "FunctionArn": functionARN(name), "Runtime": f.Runtime, "Handler": f.Handler, "Role": f.Role, "Architectures": []string{f.Architecture},
		"CodeSha256": f.CodeSha256, "MemorySize": f.Memory, "Timeout": f.Timeout, "Environment": map[string]any{"Variables": f.Environment}, "State": "Active", "LastUpdateStatus": "Successful",
	}
}

// Key starts a session of a function's role, as Lambda gives one to the
// function, and returns its access key. Any secret goes with it.
func (s *Server) Key(function string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.Functions[function]
	if f == nil {
		return "", fmt.Errorf("there is no function %s", function)
	}
	if err := s.configure(f, lambdaInput{Role: f.Role}); err != nil {
		return "", err
	}
	key := s.next("ASIAEXAMPLE")
	s.sessions[key] = session{role: f.Role[strings.LastIndexByte(f.Role, '/')+1:]}
	return key, nil
}

func functionARN(name string) string {
	return "arn:aws:lambda:eu-central-1:" + Account + ":function:" + name
}

// configure sets what a request names, as Lambda checks it.
func (s *Server) configure(f *Function, in lambdaInput) *fault {
	if in.Role != "" {
		role := s.Roles[in.Role[strings.LastIndexByte(in.Role, '/')+1:]]
		if role == nil || cloudpolicy.Evaluate(cloudpolicy.Request{
			Caller: cloudpolicy.Caller{Service: "lambda.amazonaws.com"}, Action: "sts:AssumeRole", Resource: in.Role, Owner: Account,
		}, cloudpolicy.Policies{Resource: policy(role.Trust)}).Verdict != cloudpolicy.Allowed {
			return invalid("The role defined for the function cannot be assumed by Lambda.")
		}
		f.Role = in.Role
	}
	if in.MemorySize != 0 {
		if in.MemorySize < 128 || in.MemorySize > 10240 {
			return invalid("'MemorySize' failed to satisfy constraint")
		}
		f.Memory = in.MemorySize
	}
	if in.Timeout != 0 {
		if in.Timeout > 900 {
			return invalid("'Timeout' failed to satisfy constraint")
		}
		f.Timeout = in.Timeout
	}
	if in.Runtime != "" {
		f.Runtime = in.Runtime
	}
	if in.Handler != "" {
		f.Handler = in.Handler
	}
	for k := range in.Environment.Variables {
		if strings.HasPrefix(k, "AWS_") || strings.HasPrefix(k, "LAMBDA_") {
			return invalid("Reserved keys used in this request: %s", k)
		}
	}
	if in.Environment.Variables != nil {
		f.Environment = in.Environment.Variables
	}
	return nil
}

func (s *Server) code(f *Function, data []byte, architectures []string) *fault {
	if len(architectures) > 1 || len(architectures) == 1 && architectures[0] != "arm64" && architectures[0] != "x86_64" {
		return invalid("one of arm64 and x86_64")
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil || !slices.ContainsFunc(r.File, func(f *zip.File) bool { return f.Name == "bootstrap" }) {
		return invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
	}
	if len(architectures) == 1 {
		f.Architecture = architectures[0]
	}
	sum := sha256.Sum256(data)
	f.CodeSha256 = base64.StdEncoding.EncodeToString(sum[:])
	return nil
}

func (s *Server) mappings(action, id string, in lambdaInput, q url.Values) (any, *fault) {
	m := s.Mappings[id]
	if m == nil && id != "" {
		return nil, refuse(404, "ResourceNotFoundException", "The resource you requested does not exist.")
	}
	switch action {
	case "GET event-source-mappings":
		list := []any{}
		for id, m := range s.Mappings {
			if m.Queue == q.Get("EventSourceArn") && (m.Function == q.Get("FunctionName") || q.Get("FunctionName") == "") {
				list = append(list, m.description(id))
			}
		}
		if name := q.Get("FunctionName"); name != "" && s.Functions[name] == nil {
			return nil, refuse(404, "ResourceNotFoundException", "Function not found: %s", name)
		}
		return map[string]any{"EventSourceMappings": list}, nil
	case "POST event-source-mappings":
		m := &Mapping{Function: in.FunctionName, Queue: in.EventSourceArn, Enabled: true, Batch: 10}
		if f := s.feed(m, in); f != nil {
			return nil, f
		}
		id := "00000000-0000-4000-8000-00000000" + strconv.Itoa(1000+len(s.Calls)%9000)
		s.Mappings[id] = m
		return m.description(id), nil
	case "PUT event-source-mappings":
		return m.description(id), s.feed(m, in)
	case "DELETE event-source-mappings":
		delete(s.Mappings, id)
		return m.description(id), nil
	}
	return nil, refuse(404, "ResourceNotFoundException", "%s is not played", action)
}

func (m *Mapping) description(id string) map[string]any {
	state := "Enabled"
	if !m.Enabled {
		state = "Disabled"
	}
	out := map[string]any{"UUID": id, "EventSourceArn": m.Queue, "FunctionArn": functionARN(m.Function), "State": state, "BatchSize": m.Batch, "FunctionResponseTypes": m.Reports}
	if m.Concurrency > 0 {
		out["ScalingConfig"] = map[string]int{"MaximumConcurrency": m.Concurrency}
	}
	return out
}

// feed sets a mapping, as Lambda checks it: the function's role must be able to
// read the queue, and a message must stay out of sight for as long as a call
// may last.
func (s *Server) feed(m *Mapping, in lambdaInput) *fault {
	f, q := s.Functions[m.Function], s.Queues[m.Queue[strings.LastIndexByte(m.Queue, ':')+1:]]
	if f == nil {
		return refuse(404, "ResourceNotFoundException", "Function not found: %s", m.Function)
	}
	if q == nil {
		return invalid("Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue.")
	}
	role := f.Role[strings.LastIndexByte(f.Role, '/')+1:]
	for _, action := range []string{"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"} {
		d := cloudpolicy.Evaluate(cloudpolicy.Request{
			Caller: cloudpolicy.Caller{ARN: "arn:aws:sts::" + Account + ":assumed-role/" + role + "/x"}, Action: "sqs:" + action, Resource: m.Queue, Owner: Account,
			Context: map[string][]string{"aws:SecureTransport": {"true"}},
		}, cloudpolicy.Policies{Identity: s.identity(role), Resource: policy(q.Attributes["Policy"])})
		if d.Verdict != cloudpolicy.Allowed {
			return invalid("The provided execution role does not have permissions to call %s on SQS", action)
		}
	}
	if visible, _ := strconv.Atoi(q.Attributes["VisibilityTimeout"]); visible < f.Timeout {
		return invalid("Queue visibility timeout: %d seconds is less than Function timeout: %d seconds", visible, f.Timeout)
	}
	if in.BatchSize > 0 {
		m.Batch = in.BatchSize
	}
	if n := in.ScalingConfig.MaximumConcurrency; n == 1 || n > 1000 {
		return invalid("MaximumConcurrency is 2 to 1000")
	} else if n > 0 {
		m.Concurrency = n
	}
	if in.FunctionResponseTypes != nil {
		m.Reports = in.FunctionResponseTypes
	}
	if in.Enabled != nil {
		m.Enabled = *in.Enabled
	}
	return nil
}
