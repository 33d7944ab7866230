package brokerhttp

import (
	"net/http"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// How long others may keep what is public. Keys are published long before they
// sign, and withdrawn long after.
const (
	cachePublic = "public, max-age=300"
	cacheConfig = "public, max-age=60"
)

// discovery is OpenID Connect Discovery 1.0, as far as an issuer has it that
// gives tokens to programs alone.
type discovery struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"` // there is none, and one is required
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	Responses     []string `json:"response_types_supported"`
	Grants        []string `json:"grant_types_supported"`
	Subjects      []string `json:"subject_types_supported"`
	Algs          []string `json:"id_token_signing_alg_values_supported"`
	ProofAlgs     []string `json:"dpop_signing_alg_values_supported"`
	Scopes        []string `json:"scopes_supported"`
	Claims        []string `json:"claims_supported"`
}

func (s *server) discovery(w http.ResponseWriter, _ *http.Request) error {
	origin := s.b.Origin()
	algs := []string{}
	for _, a := range s.o.Issuer.Ring().Algs(s.o.Now()) {
		algs = append(algs, string(a))
	}
	w.Header().Set("Cache-Control", cachePublic)
	webserve.WriteJSON(w, http.StatusOK, discovery{
		Issuer: origin, Authorization: "urn:agentkeys:programmatic-authorization",
		Token: origin + brokerapi.PathToken, Keys: origin + brokerapi.PathKeys,
		Responses: []string{"id_token"}, Grants: []string{brokerapi.GrantTokenExchange}, Subjects: []string{"public"},
		Algs: algs, ProofAlgs: []string{string(token.ES256)}, Scopes: []string{"openid"},
		Claims: []string{"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "agentkeys_user_wallet", "https://aws.amazon.com/tags"},
	})
	return nil
}

func (s *server) keys(w http.ResponseWriter, _ *http.Request) error {
	set, err := s.o.Issuer.Ring().JWKS(s.o.Now())
	if err != nil {
		return err
	}
	return s.document(w, set)
}

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	return s.document(w, brokerapi.OpenAPI())
}

func (s *server) document(w http.ResponseWriter, text []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", cachePublic)
	_, _ = w.Write(text)
	return nil
}

func (s *server) config(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", cacheConfig)
	webserve.WriteJSON(w, http.StatusOK, s.o.Config)
	return nil
}

func (s *server) health(w http.ResponseWriter, r *http.Request) error {
	webserve.Health(w, r)
	return nil
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	checks := append([]webserve.Check{{Name: "state", Try: s.b.Ready}}, s.o.Checks...)
	webserve.Ready(webserve.Options{Log: s.o.Log}, checks...)(w, r)
	return nil
}

func (s *server) metrics(w http.ResponseWriter, r *http.Request) error {
	s.o.Exposition.ServeHTTP(w, r)
	return nil
}

func (s *server) pages(w http.ResponseWriter, r *http.Request) error {
	s.o.Pages.ServeHTTP(w, r)
	return nil
}
