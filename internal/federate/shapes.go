package federate

import (
	"bytes"
	"encoding/json"
	"time"
)

// shape is how one kind of service is asked.
type shape struct {
	// fixed are the fields before the parameters; "" stands for our token.
	fixed      []field
	parameters []parameter
	headers    map[string]string
	// unsaid is how long a token lives if the answer does not say it; 0: then it
	// is no answer.
	unsaid time.Duration
}

type field struct{ name, value string }

// parameter is an id that the owner was given, left out if it is not set.
type parameter struct {
	name     string
	required bool
}

const (
	grantBearer   = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 §2.1
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 §2.1
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"            // RFC 8693 §3
	typeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
)

// shapes by the names that catalogue entries use. All three take JSON, also
// where RFC 8693 has forms: so say the vendors' own clients and documents.
var shapes = map[string]*shape{
	// anthropics/anthropic-sdk-go internal/auth/workload.go.
	"anthropic": {
		fixed: []field{{"grant_type", grantBearer}, {"assertion", ""}},
		parameters: []parameter{
			{"federation_rule_id", true}, {"organization_id", true}, {"service_account_id", false}, {"workspace_id", false},
		},
		headers: map[string]string{"Anthropic-Beta": "oauth-2025-04-20,oidc-federation-2026-04-01"},
	},
	// openai/openai-go auth/workloadidentity.go. It sends a client_id always;
	// others of the vendor's clients do not.
	"openai": {
		fixed: []field{{"grant_type", grantExchange}, {"subject_token", ""}, {"subject_token_type", typeJWT}},
		parameters: []parameter{
			{"identity_provider_id", true}, {"service_account_id", true}, {"client_id", false},
		},
		unsaid: time.Hour, // so the vendor's client
	},
	// huggingface/hub-docs docs/hub/trusted-publishers.md: a repository or a user
	// name is the resource, and the token has to be called an id_token.
	"huggingface": {
		fixed:      []field{{"grant_type", grantExchange}, {"subject_token_type", typeIDToken}, {"subject_token", ""}},
		parameters: []parameter{{"resource", true}},
	},
}

// body is the request's. assertion has the characters of a JWT only.
func (s *shape) body(set map[string]string, assertion []byte) []byte {
	var b bytes.Buffer
	before := byte('{')
	add := func(name string, value []byte) {
		b.WriteByte(before)
		b.WriteString(`"` + name + `":`)
		b.Write(value)
		before = ','
	}
	for _, f := range s.fixed {
		if f.value == "" {
			add(f.name, append(append([]byte{'"'}, assertion...), '"'))
			continue
		}
		add(f.name, quoted(f.value))
	}
	for _, p := range s.parameters {
		if v := set[p.name]; v != "" {
			add(p.name, quoted(v))
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // not of a string
	}
	return b
}
