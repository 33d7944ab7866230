package inject

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

// code names a problem. Codes are stable: agents and scripts branch on them.
// The codes of denials are grant's own.
type code string

const (
	codeForeignHost   code = "foreign-host"
	codeForeignOrigin code = "foreign-origin"

	codeMethod        code = "bad-method"
	codeTarget        code = "bad-target"
	codePath          code = "bad-path"
	codeQuery         code = "bad-query"
	codeUpgrade       code = "no-upgrade"
	codeExpect        code = "bad-expectation"
	codeTooLarge      code = "request-too-large"
	codeRequestBroken code = "request-broken"
	codeCaller        code = "unknown-caller"
	codeService       code = "unknown-service"
	codeBusy          code = "busy"

	codeUnheard    code = "broker-unreachable" // a denial of the daemon's
	codeNotLent    code = "not-lent"
	codeCredential code = "credential-unusable"

	codeExchangeRefused code = "exchange-refused" // a NoToken's
	codeExchangeFailed  code = "exchange-failed"  // likewise

	codeRoute    code = "route-unusable"
	codeInternal code = "internal"

	codeUnreachable code = "upstream-unreachable"
	codeForbidden   code = "upstream-forbidden-address"
	codeTLS         code = "upstream-tls"
	codeTimeout     code = "upstream-timeout"
	codeBroken      code = "upstream-broken"
	codeEncoding    code = "upstream-encoding"
	codeSwitched    code = "upstream-switched-protocols"

	// In Outcomes only: nobody is there to be told.
	codeClientClosed code = "client-closed"
	codeRevoked      code = "revoked"
	codeCut          code = "upstream-cut"
)

// sort is what problems of one code have in common.
type sort struct {
	status int
	title  string
	cure   string
	// again: the same request may succeed a little later, without anybody
	// doing anything.
	again bool
}

var sorts = map[code]sort{
	codeForeignHost:   {403, "Not a name of this listener", "Use the base URL exactly as AgentKeys printed it.", false},
	codeForeignOrigin: {403, "Web pages may not use this listener", "Call AgentKeys from a program, not from a web page.", false},

	codeMethod:        {405, "Method not served", "Send an ordinary HTTP request to the base URL.", false},
	codeTarget:        {400, "Not a forward proxy", "Set the base URL to AgentKeys instead of setting it as an HTTP proxy.", false},
	codePath:          {400, "Malformed path", "Write the path as /<service>/<path>, without escapes, empty or dot segments.", false},
	codeQuery:         {400, "Malformed query", "Percent-escape the query and separate its parameters by &.", false},
	codeUpgrade:       {400, "Protocol upgrades are not served", "Use plain HTTP/1.1 requests; streams are served as server-sent events.", false},
	codeExpect:        {417, "Expectation not met", "Leave the Expect header out, or send 100-continue.", false},
	codeTooLarge:      {413, "Request too large", "Send a smaller body.", false},
	codeRequestBroken: {400, "Request broken off", "Send the whole body that was announced.", false},
	codeCaller:        {401, "Unknown caller", "Send the placeholder that AgentKeys gave this agent where the API key would stand.", false},
	codeService:       {404, "Unknown service", "Name a service that AgentKeys serves as the first segment of the path.", false},
	codeBusy:          {503, "Too many requests under way", "Wait for earlier requests to end.", true},

	codeUnheard:         {503, "Broker not heard", "Wait: nothing is lent while it is not known whether it may be.", true},
	codeNotLent:         {503, "Not lent", "Look at the status of AgentKeys: it could not record the use or unlock the credential.", false},
	codeCredential:      {503, "Unusable credential", "Ask the owner to store the credential again.", false},
	codeExchangeRefused: {503, "No token", "Ask the owner to look at 'agentkeys federate SERVICE': it says why the exchange is refused, and what to compare.", false},
	codeExchangeFailed:  {503, "No token now", "Wait: the exchange is tried again with a later request. The owner sees why with 'agentkeys federate SERVICE'.", true},

	codeRoute:    {503, "Unusable route", "Ask the owner to correct the settings of the service.", false},
	codeInternal: {500, "Internal error", "Look at the log of AgentKeys.", false},

	codeUnreachable: {502, "Service unreachable", "Look whether the service is up and the network lets AgentKeys reach it.", true},
	codeForbidden:   {403, "Forbidden address", "The service's name leads to an address that is not public. The owner can list it by address and port.", false},
	codeTLS:         {502, "Service not authenticated", "The TLS certificate of the service was not accepted. Look for an intercepting proxy or a wrong clock.", false},
	codeTimeout:     {504, "Service did not answer in time", "Try again later, or ask for less at once.", true},
	codeBroken:      {502, "Broken answer", "Try again later.", true},
	codeEncoding:    {502, "Answer in an unreadable encoding", "Nothing was passed on, because it could not be searched for the credential. Report it as a fault.", false},
	codeSwitched:    {502, "Answer switched protocols", "Nothing was passed on. Report it as a fault.", false},

	code(grant.CodeNoGrant):       {403, "No grant", "Ask the owner to grant this agent the service.", false},
	code(grant.CodeExpired):       {403, "Grant expired", "Ask the owner to grant the service anew.", false},
	code(grant.CodePathShut):      {403, "Path shut", "Manage keys as the owner, not as an agent.", false},
	code(grant.CodePathDenied):    {403, "Path not granted", "Ask the owner to grant this method and path.", false},
	code(grant.CodeRequestsSpent): {403, "Requests spent", "Wait for the next period, or ask the owner for a larger budget.", false},
	code(grant.CodeBudgetSpent):   {403, "Budget spent", "Wait for the next period, or ask the owner for a larger budget.", false},
	code(grant.CodeRateLimited):   {429, "Rate limited", "Send requests more slowly.", true},
}

// problemTypes is where the problem types are described, one anchor each.
const problemTypes = "https://github.com/litentry/agentkeys/blob/main/docs/problems.md#"

// problem is an answer of this proxy itself, as opposed to the upstream's.
type problem struct {
	code    code
	detail  string
	after   time.Duration // Retry-After, if positive
	request string        // id in the audit log, if it got that far
}

func fault(c code, detail string) *problem { return &problem{code: c, detail: detail} }

func denied(d *grant.Denial) *problem {
	return &problem{code: code(d.Code), detail: d.Detail, after: d.RetryAfter}
}

func (pb *problem) sort() sort {
	if s, ok := sorts[pb.code]; ok {
		return s
	}
	// A denial with a code of later date is a denial.
	return sort{403, "Denied", "Ask the owner.", false}
}

// render writes the problem, as RFC 9457 has it, with an error member of the
// shape that the SDKs of language models show to their users.
func (pb *problem) render(w http.ResponseWriter) {
	s := pb.sort()
	type sdkError struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    code   `json:"code"`
	}
	body, err := json.Marshal(struct {
		Type    string   `json:"type"`
		Title   string   `json:"title"`
		Status  int      `json:"status"`
		Detail  string   `json:"detail,omitempty"`
		Code    code     `json:"code"`
		Cure    string   `json:"cure"`
		Request string   `json:"request,omitempty"`
		Error   sdkError `json:"error"`
	}{
		problemTypes + string(pb.code), s.title, s.status, pb.detail, pb.code, s.cure, pb.request,
		sdkError{"AgentKeys: " + s.title + ": " + pb.detail + ". " + s.cure, "agentkeys_error", pb.code},
	})
	if err != nil {
		body = []byte(`{"status":500}`) // strings only: cannot happen
	}
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch {
	case s.status == http.StatusTooManyRequests:
		h.Set("Retry-After", seconds(pb.after))
	case s.again && pb.after > 0:
		h.Set("Retry-After", seconds(pb.after))
	case !s.again:
		// The SDKs of OpenAI and Anthropic try 5xx again unless told not to.
		h.Set("X-Should-Retry", "false")
	}
	if pb.code == codeRequestBroken || pb.code == codeTooLarge {
		h.Set("Connection", "close") // nobody waits for the rest of it
	}
	if s.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="agentkeys"`)
	}
	if s.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE")
	}
	w.WriteHeader(s.status)
	_, _ = w.Write(body)
}

// seconds is d as Retry-After has it, rounded up. At least one: zero means "at
// once" to some clients.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

// lendProblem turns what Backend.Lend said into an answer.
func lendProblem(err error) *problem {
	var d *grant.Denial
	if errors.As(err, &d) {
		return denied(d)
	}
	if n, ok := errors.AsType[*NoToken](err); ok {
		return &problem{code: code(n.Code()), detail: n.Detail, after: n.After}
	}
	// What failed is the owner's business and in the log; it may name places.
	return fault(codeNotLent, "the use could not be recorded or the credential not be unlocked")
}
