package brokerclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
)

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// Session returns a session that is good for a while yet, having a new one with
// the device's key if need be: one request, however many ask. ErrDeviceOut.
func (c *Client) Session(ctx context.Context) (brokerapi.Session, error) {
	if s, ok := c.current(); ok {
		return s, nil
	}
	// Whoever asked first may give up; the others wait for it all the same.
	made := c.flight.DoChan("session", func() (any, error) {
		if s, ok := c.current(); ok {
			return s, nil
		}
		var s brokerapi.Session
		err := c.send(context.WithoutCancel(ctx), request{method: http.MethodPost, path: brokerapi.PathSession}, "", &s)
		if err == nil {
			err = c.keep(s)
		}
		return s, err
	})
	select {
	case r := <-made:
		if r.Err != nil {
			return brokerapi.Session{}, r.Err
		}
		return r.Val.(brokerapi.Session), nil
	case <-ctx.Done():
		return brokerapi.Session{}, ctx.Err()
	}
}

// current is the session there is, until shortly before its end: a tenth of its
// life, and a minute at most.
func (c *Client) current() (brokerapi.Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Token == "" {
		return brokerapi.Session{}, false
	}
	margin := min(c.session.Expires.Sub(c.made)/10, time.Minute)
	// Round strips the monotonic reading, which stands still while a laptop
	// sleeps.
	return c.session, c.o.Now().Round(0).Before(c.session.Expires.Add(-margin))
}

// keep checks a session that the broker gave and makes it the current one.
func (c *Client) keep(s brokerapi.Session) error {
	var fault string
	switch {
	case s.Type != "DPoP":
		fault = "the session is not bound to this device"
	case !isToken(s.Token):
		fault = "the session is no token"
	case s.Device != c.device.String():
		fault = "the session is another device's"
	case s.Wallet.IsZero() || s.Account == "":
		fault = "the session names no wallet"
	case s.Role == string(token.Agent) && (s.Agent.IsZero() || s.Parent.IsZero()),
		s.Role == string(token.Master) && (!s.Agent.IsZero() || !s.Parent.IsZero()),
		s.Role != string(token.Agent) && s.Role != string(token.Master):
		fault = "the session has no role that makes sense"
	case !c.o.Now().Round(0).Before(s.Expires):
		fault = "the session has expired already; is the clock of this machine right?"
	}
	if fault != "" {
		return fmt.Errorf("%w: %s", ErrAnswer, fault)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.made = s, c.o.Now().Round(0)
	return nil
}

// drop forgets a session that the broker does not take.
func (c *Client) drop(tok string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Token == tok {
		c.session = brokerapi.Session{}
	}
}

// isToken reports whether s can stand in a header and is of a sane length.
func isToken(s string) bool {
	if s == "" || len(s) > 16<<10 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
