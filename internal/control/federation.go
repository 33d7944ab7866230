package control

import (
	"context"
	"net/http"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/local"
)

// FederationRequest has tokens exchanged for a service from now on.
type FederationRequest struct {
	Exchange catalog.Exchange `json:"exchange"`
	Verify   bool             `json:"verify,omitempty"` // try it first
}

func (s *Server) setFederation(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	var q FederationRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	return s.host.SetFederation(r.Context(), svc, &q.Exchange, q.Verify)
}

func (s *Server) endFederation(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	return s.host.SetFederation(r.Context(), svc, nil, false)
}

func federationPath(s agentkeys.Service) string { return "/v1/federation/" + s.String() }

// Federation says how a service exchanges tokens.
func (c *Client) Federation(ctx context.Context, s agentkeys.Service) (out local.FederationState, err error) {
	return out, c.call(ctx, "GET", federationPath(s), nil, &out)
}

// SetFederation has tokens exchanged for a service from now on.
func (c *Client) SetFederation(ctx context.Context, s agentkeys.Service, q FederationRequest) (out local.FederationState, err error) {
	return out, c.call(ctx, "PUT", federationPath(s), q, &out)
}

// EndFederation goes back to keys.
func (c *Client) EndFederation(ctx context.Context, s agentkeys.Service) (out local.FederationState, err error) {
	return out, c.call(ctx, "DELETE", federationPath(s), nil, &out)
}

// CheckFederation has a token exchanged and tried, now.
func (c *Client) CheckFederation(ctx context.Context, s agentkeys.Service) (out local.FederationResult, err error) {
	return out, c.call(ctx, "POST", federationPath(s)+"/check", nil, &out)
}
