package token

import (
	"errors"
	"reflect"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/litentry/agentkeys"
)

// What typ says. A verifier wants exactly one of them.
const (
	typSession  = "at+jwt"     // RFC 9068
	typAccess   = "signer+jwt" // for the signer alone
	typIdentity = "JWT"        // RFC 7519; what cloud providers expect
	typProof    = "dpop+jwt"   // RFC 9449
)

// clientID is the one OAuth client there is; RFC 9068 wants it named.
const clientID = "agentkeys"

const subjectPrefix = "agentkeys:wallet:"

// header is the whole protected header of a token. Anything more, such as
// crit, jwk, jku, x5u, x5c or b64, is refused unread.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// registered are the claims of RFC 7519 that every token has.
type registered struct {
	Iss string   `json:"iss"`
	Sub string   `json:"sub"`
	Aud audience `json:"aud"`
	Iat int64    `json:"iat"`
	Nbf int64    `json:"nbf"`
	Exp int64    `json:"exp"`
	Jti string   `json:"jti"`
}

// holderClaims is the payload of session and signer tokens:
//
//	{"iss":"https://broker.example","sub":"<account id>","aud":"…","iat":…,"nbf":…,"exp":…,"jti":"…",
//	 "client_id":"agentkeys","agentkeys":{"wallet_address":"0x…","role":"agent","parent_wallet":"0x…","agent":"ci"},
//	 "cnf":{"jkt":"<thumbprint>"}}
type holderClaims struct {
	registered
	Client string       `json:"client_id"`
	Keys   holder       `json:"agentkeys"`
	Cnf    confirmation `json:"cnf"`
}

type holder struct {
	Wallet agentkeys.Wallet  `json:"wallet_address"`
	Role   Role              `json:"role"`
	Parent *agentkeys.Wallet `json:"parent_wallet,omitempty"`
	Agent  *agentkeys.Agent  `json:"agent,omitempty"`
}

type confirmation struct {
	JKT Thumbprint `json:"jkt"` // RFC 9449 section 6.1
}

// identityClaims is the payload of a web-identity token:
//
//	{"iss":…,"sub":"agentkeys:wallet:0x…","aud":"sts.amazonaws.com","iat":…,"nbf":…,"exp":…,"jti":"…",
//	 "agentkeys_user_wallet":"0x…",
//	 "https://aws.amazon.com/tags":{"principal_tags":{"agentkeys_user_wallet":["0x…"]},
//	                                "transitive_tag_keys":["agentkeys_user_wallet"]}}
//
// The tag has one value and it is a wallet: STS itself would take slashes,
// dots, spaces and the empty string, each of which is another prefix.
type identityClaims struct {
	registered
	Wallet agentkeys.Wallet `json:"agentkeys_user_wallet"`
	Tags   tags             `json:"https://aws.amazon.com/tags"`
}

type tags struct {
	Principal  principalTags `json:"principal_tags"`
	Transitive []string      `json:"transitive_tag_keys"`
}

type principalTags struct {
	Wallet []agentkeys.Wallet `json:"agentkeys_user_wallet"`
}

const tagKey = "agentkeys_user_wallet"

// audience is one audience. Others write it as an array of one.
type audience string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil && b[0] == '"' {
		*a = audience(one)
		return nil
	}
	var list []*string
	if err := json.Unmarshal(b, &list); err != nil || len(list) != 1 || list[0] == nil {
		return errMembers
	}
	*a = audience(*list[0])
	return nil
}

var errMembers = errors.New("malformed, duplicate or unknown members")

// strict decodes one JSON object into the struct that v points to. Names must
// be exactly those of its fields, none may be null, and none may be there twice
// (go-jose's decoder sees to that, and to case).
func strict(data []byte, v any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return errMembers
	}
	known := 0
	for name, value := range members {
		if string(value) != "null" && hasField(reflect.TypeOf(v).Elem(), name) {
			known++
		}
	}
	if known != len(members) || json.Unmarshal(data, v) != nil {
		return errMembers
	}
	return nil
}

func hasField(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && hasField(f.Type, name) {
			return true
		}
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && tag == name {
			return true
		}
	}
	return false
}

// UnmarshalJSON implements json.Unmarshaler, as do those below: json decodes
// nested objects leniently unless they say otherwise.
func (h *holder) UnmarshalJSON(b []byte) error {
	type plain holder
	return strict(b, (*plain)(h))
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *confirmation) UnmarshalJSON(b []byte) error {
	type plain confirmation
	return strict(b, (*plain)(c))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *tags) UnmarshalJSON(b []byte) error {
	type plain tags
	return strict(b, (*plain)(t))
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *principalTags) UnmarshalJSON(b []byte) error {
	type plain principalTags
	return strict(b, (*plain)(t))
}
