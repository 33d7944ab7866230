package control

import (
	"bytes"
	"context"
	"net/http"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// SameAnswer says whether a key is the one that is stored.
type SameAnswer struct {
	Stored bool `json:"stored"` // there is one
	Same   bool `json:"same"`
}

// compareCredential takes the secret as the whole body, as storing does.
func (s *Server) compareCredential(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	v, err := secret.Read(r.Body, local.MaxSecret)
	if err != nil {
		return nil, err
	}
	stored, same, err := s.host.Same(r.Context(), svc, v)
	return SameAnswer{stored, same}, err
}

// Same says whether v is what is stored; it does not clear it.
func (c *Client) Same(ctx context.Context, s agentkeys.Service, v secret.Value) (out SameAnswer, err error) {
	return out, c.raw(ctx, "POST", "/v1/credentials/"+s.String()+"/compare", bytes.NewReader(v.Expose()), &out)
}
