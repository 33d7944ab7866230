package control

import (
	"context"
	"net/http"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
)

func (s *Server) listTerms(r *http.Request) (any, error) { return s.host.AllTerms(r.Context()) }

func (s *Server) reviewTerms(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	var req local.TermsReview
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.host.ReviewTerms(r.Context(), svc, req)
}

func (s *Server) forgetTerms(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.ForgetTerms(r.Context(), svc)
}

// AllTerms lists what is known of services' terms; nothing is fetched.
func (c *Client) AllTerms(ctx context.Context) (out []local.TermsState, err error) {
	return out, c.call(ctx, "GET", "/v1/terms", nil, &out)
}

// Terms says whether a sign-up may go on now.
func (c *Client) Terms(ctx context.Context, s agentkeys.Service) (out local.TermsState, err error) {
	return out, c.call(ctx, "GET", "/v1/terms/"+s.String(), nil, &out)
}

// ReviewTerms keeps a person's decision.
func (c *Client) ReviewTerms(ctx context.Context, s agentkeys.Service, r local.TermsReview) (out local.TermsState, err error) {
	return out, c.call(ctx, "PUT", "/v1/terms/"+s.String(), r, &out)
}

// ForgetTerms takes a decision back.
func (c *Client) ForgetTerms(ctx context.Context, s agentkeys.Service) error {
	return c.call(ctx, "DELETE", "/v1/terms/"+s.String(), nil, nil)
}
