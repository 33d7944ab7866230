package control

import (
	"bytes"
	"context"
	"net/http"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// drawer is the one that a request is about. A management key has doors of its
// own, which see to it that keys it made can still be deleted.
func drawer(r *http.Request) (agentkeys.Service, local.Drawer, error) {
	svc, err := service(r)
	d := local.Drawer(r.PathValue("drawer"))
	if err == nil && d == local.DrawerManagement {
		err = local.ErrDrawer
	}
	return svc, d, err
}

// putDrawer takes what is to be kept as the whole body.
func (s *Server) putDrawer(r *http.Request) (any, error) {
	svc, d, err := drawer(r)
	if err != nil {
		return nil, err
	}
	v, err := secret.Read(r.Body, local.MaxSecret)
	if err != nil {
		return nil, err
	}
	return nil, s.host.PutDrawer(r.Context(), svc, d, v)
}

func (s *Server) openDrawer(r *http.Request) (any, error) {
	svc, d, err := drawer(r)
	if err != nil {
		return nil, err
	}
	v, err := s.host.Drawer(r.Context(), svc, d)
	if err != nil {
		return nil, err
	}
	return bare(v), nil
}

// bare answers with a secret as the whole body, and clears it.
func bare(v secret.Value) stream {
	return func(w http.ResponseWriter, _ func()) error {
		defer v.Clear()
		w.Header().Set("Content-Type", "application/octet-stream")
		_, err := w.Write(v.Expose())
		return err
	}
}

func (s *Server) removeDrawer(r *http.Request) (any, error) {
	svc, d, err := drawer(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.RemoveDrawer(r.Context(), svc, d)
}

func (s *Server) recordProvision(r *http.Request) (any, error) {
	var e local.ProvisionEvent
	if err := decode(r, &e); err != nil {
		return nil, err
	}
	return nil, s.host.RecordProvision(r.Context(), e)
}

// CheckKey asks the service about the key that is stored.
func (c *Client) CheckKey(ctx context.Context, s agentkeys.Service) (out local.KeyCheck, err error) {
	return out, c.call(ctx, "POST", "/v1/credentials/"+s.String()+"/check", nil, &out)
}

func drawerPath(s agentkeys.Service, d local.Drawer) string {
	return "/v1/credentials/" + s.String() + "/drawers/" + string(d)
}

// PutDrawer keeps v in a drawer; it does not clear it.
func (c *Client) PutDrawer(ctx context.Context, s agentkeys.Service, d local.Drawer, v secret.Value) error {
	return c.raw(ctx, "PUT", drawerPath(s, d), bytes.NewReader(v.Expose()), nil)
}

// Drawer returns what is in a drawer.
func (c *Client) Drawer(ctx context.Context, s agentkeys.Service, d local.Drawer) (secret.Value, error) {
	rc, err := c.do(ctx, "POST", drawerPath(s, d)+"/open", nil)
	if err != nil {
		return secret.Value{}, err
	}
	defer rc.Close()
	return secret.Read(rc, local.MaxSecret)
}

// RemoveDrawer empties a drawer.
func (c *Client) RemoveDrawer(ctx context.Context, s agentkeys.Service, d local.Drawer) error {
	return c.call(ctx, "DELETE", drawerPath(s, d), nil, nil)
}

// RecordProvision has an event of a run written to the audit log.
func (c *Client) RecordProvision(ctx context.Context, e local.ProvisionEvent) error {
	return c.call(ctx, "POST", "/v1/provision-events", e, nil)
}
