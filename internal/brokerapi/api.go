// Package brokerapi is the broker's HTTP API as both sides of it see it: paths,
// bodies, problems. openapi.yaml beside it describes the same for others, and
// a test holds the two and the running broker together.
//
// Times are RFC 3339 in UTC. A body is strict JSON: unknown, duplicate and
// case-variant names are refused, as is anything behind the value.
package brokerapi

import (
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// Paths. Those with a wildcard are patterns of http.ServeMux.
const (
	PathDiscovery = "/.well-known/openid-configuration"
	PathKeys      = "/.well-known/jwks.json"
	PathOpenAPI   = "/v1/openapi.json"
	PathConfig    = "/v1/config" // GET: Config, for anybody

	PathLogins       = "/v1/logins"              // POST LoginRequest: Login
	PathLoginMail    = "/v1/logins/{id}/mail"    // POST MailProof, by the browser: Handoff
	PathLoginWallet  = "/v1/logins/{id}/wallet"  // POST WalletProof: Handoff
	PathPasskeyBegin = "/v1/logins/{id}/passkey" // POST PasskeyBegin, by the browser: options for the browser
	PathPasskeyEnd   = "/v1/logins/{id}/passkey/answer"
	PathLoginSession = "/v1/logins/{id}/session" // POST HandoffProof: Session
	PathGoogleReturn = "/login/google/return"    // where the provider sends the browser

	PathSession = "/v1/session" // POST: Session anew for this device; DELETE: logout, the device is forgotten
	PathDevices = "/v1/devices" // GET: []Device
	PathDevice  = "/v1/devices/{device}"

	PathAgents    = "/v1/agents"                          // GET: []Agent; POST AgentRequest: Agent
	PathAgent     = "/v1/agents/{agent}"                  // DELETE
	PathEnrolment = "/v1/agents/{agent}/enrolment"        // POST: Enrolment
	PathEnrol     = "/v1/enrol"                           // POST EnrolRequest: Session
	PathGrants    = "/v1/grants"                          // GET: []grant.Grant
	PathGrant     = "/v1/agents/{agent}/grants/{service}" // PUT Terms: grant.Grant; DELETE

	PathToken  = "/v1/token"  // POST, form-encoded, RFC 8693: TokenAnswer
	PathEvents = "/v1/events" // GET: text/event-stream of Event

	PathHealth  = "/healthz"
	PathReady   = "/readyz"
	PathMetrics = "/metrics"
)

// Config is what a client must know of a broker.
type Config struct {
	Issuer  string   `json:"issuer"`  // the broker's origin, without a slash at its end
	Version string   `json:"version"` // of the program
	Logins  []string `json:"logins"`  // the methods that are on
	Cloud   *Cloud   `json:"cloud,omitempty"`
	Signer  *Signer  `json:"signer,omitempty"`
}

// Cloud is where credentials are kept.
type Cloud struct {
	Region      string `json:"region"`
	Bucket      string `json:"bucket"`
	RoleARN     string `json:"role_arn"`               // of the data role
	Audience    string `json:"audience"`               // of web-identity tokens for STS
	S3Endpoint  string `json:"s3_endpoint,omitempty"`  // empty: AWS's own
	STSEndpoint string `json:"sts_endpoint,omitempty"` // empty: AWS's own
	PathStyle   bool   `json:"path_style,omitempty"`   // bucket in the path, not in the host name
	Mail        *Mail  `json:"mail,omitempty"`         // nil: no mail comes into the bucket
}

// Mail is how mail for wallets comes into the bucket.
type Mail struct {
	Domain   string `json:"domain"`             // of wallets' addresses
	Receiver string `json:"receiver,omitempty"` // the host name of 'agentkeys mail serve'; empty: SES
}

// Signer is where key-encryption keys are derived.
type Signer struct {
	URL      string `json:"url"`
	Audience string `json:"audience"`     // of signer tokens
	CA       string `json:"ca,omitempty"` // PEM; empty: the system's roots
}

// Login methods.
const (
	LoginEmail   = "email"
	LoginWallet  = "wallet"
	LoginGoogle  = "google"
	LoginPasskey = "passkey"
)

// LoginRequest begins a login for the device whose key signs the request's DPoP
// proof. Nobody else will get the session.
type LoginRequest struct {
	Method       string `json:"method"`
	Email        string `json:"email,omitempty"`         // LoginEmail
	Address      string `json:"address,omitempty"`       // LoginWallet: the user's own wallet, EIP-55 or lowercase
	ChainID      uint64 `json:"chain_id,omitempty"`      // LoginWallet; 0: 1
	LoopbackPort int    `json:"loopback_port,omitempty"` // 1024 and up: where on the device the browser brings the code; 0: the person types it
}

// Login is one that has begun.
type Login struct {
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
	Message string    `json:"message,omitempty"` // LoginWallet: the EIP-4361 text to sign
	URL     string    `json:"url,omitempty"`     // LoginGoogle, LoginPasskey: the page to open
}

// MailProof is the token of a mailed link's fragment. Only POST consumes it.
type MailProof struct {
	Token string `json:"token"`
}

// WalletProof is the signature, in hex, of the message exactly as it was given.
type WalletProof struct {
	Message   string `json:"message"`
	Signature string `json:"signature"`
}

// PasskeyBegin asks for the browser's ceremony.
type PasskeyBegin struct {
	Register bool `json:"register"` // make a passkey and an account for it
}

// Handoff is what whoever proved who they are brings to the device that asked:
// the browser to loopback, or the person by typing. It is good once.
type Handoff struct {
	Code         string `json:"code"` // eight letters and digits, shown as XXXX-XXXX
	LoopbackPort int    `json:"loopback_port,omitempty"`
}

// HandoffProof ends a login. It takes the key of the device that began it.
type HandoffProof struct {
	Code   string `json:"code"`
	Device string `json:"device"` // a name for people, up to 64 bytes
}

// Session is a DPoP-bound access token. The device asks for another before it
// expires, with its key alone.
type Session struct {
	Token   string           `json:"access_token"`
	Type    string           `json:"token_type"` // DPoP
	Expires time.Time        `json:"expires"`
	Account string           `json:"account"`
	Wallet  agentkeys.Wallet `json:"wallet"`
	Role    string           `json:"role"` // master or agent
	Parent  agentkeys.Wallet `json:"parent,omitzero"`
	Agent   agentkeys.Agent  `json:"agent,omitzero"`
	Device  string           `json:"device"` // its id
}

// Device is one that may have sessions.
type Device struct {
	ID      string          `json:"id"` // the thumbprint of its key, RFC 7638, base64url
	Name    string          `json:"name"`
	Agent   agentkeys.Agent `json:"agent,omitzero"` // zero: one of the master's
	Created time.Time       `json:"created"`
	Current bool            `json:"current,omitempty"` // the one that asks
}

// AgentRequest makes an agent.
type AgentRequest struct {
	Label agentkeys.Agent `json:"label"`
}

// Agent is one agent of the account.
type Agent struct {
	Label    agentkeys.Agent  `json:"label"`
	Wallet   agentkeys.Wallet `json:"wallet"`
	Created  time.Time        `json:"created"`
	Enrolled bool             `json:"enrolled"` // it has a device
}

// Enrolment is a code for one device of an agent, good once.
type Enrolment struct {
	Code    string    `json:"code"`
	Expires time.Time `json:"expires"`
}

// EnrolRequest redeems a code for the device whose key signs the proof. An
// earlier device of the agent is out from then on.
type EnrolRequest struct {
	Code   string `json:"code"`
	Device string `json:"device"`
}

// Terms are the conditions of a grant.
type Terms struct {
	Rules    []grant.Rule    `json:"rules,omitempty"`
	Unsafe   []grant.Rule    `json:"unsafe_rules,omitempty"`
	Requests *grant.Requests `json:"requests,omitempty"`
	Budget   *grant.Budget   `json:"budget,omitempty"`
	Rate     *grant.Rate     `json:"rate,omitempty"`
	Expires  time.Time       `json:"expires"`
}

// RFC 8693.
const (
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeAccessToken    = "urn:ietf:params:oauth:token-type:access_token"
	TypeJWT            = "urn:ietf:params:oauth:token-type:jwt"

	// Parameters of the request, besides grant_type, subject_token (the session
	// itself) and subject_token_type.
	ParamAudience = "audience" // required
	ParamWallet   = "wallet"   // optional: an agent's wallet, for its master
	ParamLifetime = "lifetime" // optional: seconds, 60 to 3600, 300 if absent
)

// TokenAnswer carries a web-identity token, or a signer token where the
// audience is the signer's.
type TokenAnswer struct {
	Token      string `json:"access_token"`
	IssuedType string `json:"issued_token_type"` // TypeJWT
	TokenType  string `json:"token_type"`        // N_A
	ExpiresIn  int    `json:"expires_in"`        // seconds
}

// Events of the stream. Each connection begins with a snapshot of all that is
// in force for the session's wallet; whoever loses the connection takes the
// next snapshot. A beat comes at least every 300 ms: it says that what was
// revoked before it has been told.
const (
	EventSnapshot = "snapshot" // Snapshot
	EventGrant    = "grant"    // grant.Grant, new or in place of another
	EventRevoked  = "revoked"  // Revoked
	EventAgents   = "agents"   // []Agent, to the master
	EventEnded    = "ended"    // the session's device is out; the stream ends
	EventBeat     = "beat"     // Beat
)

// Snapshot is everything in force. Nothing that was acknowledged before At, by
// the broker's clock, is missing from it.
type Snapshot struct {
	At     time.Time     `json:"at"`
	Agents []Agent       `json:"agents"`
	Grants []grant.Grant `json:"grants"`
}

// Beat says that everything revoked before At, by the broker's clock, has been
// told. At is at most 300 ms old when the beat is sent; one that comes much
// later than its forerunners did, by At, was held up on the way.
type Beat struct {
	At time.Time `json:"at"`
}

// Revoked ends one grant.
type Revoked struct {
	Agent   agentkeys.Agent   `json:"agent"`
	Service agentkeys.Service `json:"service"`
	Grant   string            `json:"grant"` // its id
}

// Problem is RFC 9457, application/problem+json.
type Problem struct {
	Type    string `json:"type"`             // urn:agentkeys:problem:<code>
	Title   string `json:"title"`            // the problem
	Status  int    `json:"status"`           // of HTTP
	Detail  string `json:"detail,omitempty"` // the cause
	Fix     string `json:"fix,omitempty"`    // what to do
	Code    string `json:"code"`             // to branch on
	Request string `json:"request_id,omitempty"`
	// OAuth and Description are the words of RFC 6749, 8693 and 9449 for the
	// same, at PathToken alone, whose problems are application/json.
	OAuth       string `json:"error,omitempty"`
	Description string `json:"error_description,omitempty"`
}

// Codes of problems.
const (
	CodeRequest     = "malformed-request"
	CodeLogin       = "login-refused" // unknown, ended, or for another device: all the same
	CodeToken       = "invalid-token" // with WWW-Authenticate: DPoP
	CodeProof       = "invalid-proof"
	CodeDevice      = "unknown-device"
	CodeForbidden   = "forbidden"
	CodeNotFound    = "not-found"
	CodeExists      = "exists-already"
	CodeConflict    = "conflict"
	CodeAudience    = "invalid-target" // RFC 8693
	CodeRate        = "too-many-requests"
	CodeUnavailable = "unavailable" // a part that is needed does not answer
	CodeInternal    = "internal"
)

// Error implements error.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}
