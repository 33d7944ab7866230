package control

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// storeManagement takes the secret as the whole body, as storeCredential does.
func (s *Server) storeManagement(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	v, err := secret.Read(r.Body, local.MaxSecret)
	if err != nil {
		return nil, err
	}
	return s.host.StoreManagement(r.Context(), svc, v, r.URL.Query().Get("force") == "true")
}

func (s *Server) removeManagement(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.RemoveManagement(r.Context(), svc, r.URL.Query().Get("force") == "true")
}

func (s *Server) listMinted(r *http.Request) (any, error) { return s.host.Minted(r.Context()) }

// StoreManagement stores a key that makes keys; it does not clear v.
func (c *Client) StoreManagement(ctx context.Context, s agentkeys.Service, v secret.Value, force bool) (out local.Management, err error) {
	q := url.Values{"force": {strconv.FormatBool(force)}}
	return out, c.raw(ctx, "PUT", "/v1/credentials/"+s.String()+"/management?"+q.Encode(), bytes.NewReader(v.Expose()), &out)
}

// RemoveManagement forgets a key that makes keys.
func (c *Client) RemoveManagement(ctx context.Context, s agentkeys.Service, force bool) error {
	return c.call(ctx, "DELETE", "/v1/credentials/"+s.String()+"/management?force="+strconv.FormatBool(force), nil, nil)
}

// RotateKey has new keys made for a service, in place of those there are.
func (c *Client) RotateKey(ctx context.Context, s agentkeys.Service) (out local.KeyRotation, err error) {
	return out, c.call(ctx, "POST", "/v1/credentials/"+s.String()+"/rotate", nil, &out)
}

// Minted lists the keys that are alive at services, or may be.
func (c *Client) Minted(ctx context.Context) (out []local.MintedKey, err error) {
	return out, c.call(ctx, "GET", "/v1/minted", nil, &out)
}
