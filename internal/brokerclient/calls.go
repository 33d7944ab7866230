package brokerclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// path fills the wildcards of a pattern.
func path(pattern string, values ...string) string {
	for _, v := range values {
		from := strings.IndexByte(pattern, '{')
		to := strings.IndexByte(pattern, '}')
		pattern = pattern[:from] + url.PathEscape(v) + pattern[to+1:]
	}
	return pattern
}

// Config is what the broker says of itself. ErrIssuer if that is not what it
// was asked as: tokens would be for another.
func (c *Client) Config(ctx context.Context) (brokerapi.Config, error) {
	var cfg brokerapi.Config
	if err := c.send(ctx, request{method: http.MethodGet, path: brokerapi.PathConfig}, "", &cfg); err != nil {
		return cfg, err
	}
	if cfg.Issuer != c.origin {
		return cfg, fmt.Errorf("%w: %s was asked, and it calls itself %s", ErrIssuer, c.origin, plain(strconv.Quote(cfg.Issuer)))
	}
	return cfg, nil
}

// BeginLogin begins a login for this device.
func (c *Client) BeginLogin(ctx context.Context, r brokerapi.LoginRequest) (l brokerapi.Login, err error) {
	err = c.send(ctx, request{method: http.MethodPost, path: brokerapi.PathLogins, body: r}, "", &l)
	if err == nil && l.ID == "" {
		err = fmt.Errorf("%w: the login has no id", ErrAnswer)
	}
	return l, err
}

// ProveWallet answers a wallet login with the signature of its message.
func (c *Client) ProveWallet(ctx context.Context, login string, p brokerapi.WalletProof) (h brokerapi.Handoff, err error) {
	err = c.send(ctx, request{method: http.MethodPost, path: path(brokerapi.PathLoginWallet, login), body: p}, "", &h)
	return h, err
}

// EndLogin redeems the code of a login that this device has begun.
func (c *Client) EndLogin(ctx context.Context, login string, p brokerapi.HandoffProof) (brokerapi.Session, error) {
	return c.begin(ctx, path(brokerapi.PathLoginSession, login), p)
}

// Enrol redeems an enrolment code: this device becomes an agent's.
func (c *Client) Enrol(ctx context.Context, r brokerapi.EnrolRequest) (brokerapi.Session, error) {
	return c.begin(ctx, brokerapi.PathEnrol, r)
}

func (c *Client) begin(ctx context.Context, path string, body any) (brokerapi.Session, error) {
	var s brokerapi.Session
	if err := c.send(ctx, request{method: http.MethodPost, path: path, body: body}, "", &s); err != nil {
		return s, err
	}
	return s, c.keep(s)
}

// Logout has the broker forget this device. One that it does not know is as
// good.
func (c *Client) Logout(ctx context.Context) error {
	err := c.call(ctx, request{method: http.MethodDelete, path: brokerapi.PathSession}, nil)
	c.mu.Lock()
	c.session = brokerapi.Session{}
	c.mu.Unlock()
	if errors.Is(err, ErrDeviceOut) {
		return nil
	}
	return err
}

// Devices lists the devices of the account and of its agents.
func (c *Client) Devices(ctx context.Context) (out []brokerapi.Device, err error) {
	err = c.call(ctx, request{method: http.MethodGet, path: brokerapi.PathDevices}, &out)
	return out, err
}

// RevokeDevice ends a device's sessions for good.
func (c *Client) RevokeDevice(ctx context.Context, id string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: path(brokerapi.PathDevice, id)}, nil)
}

// Agents lists the account's agents.
func (c *Client) Agents(ctx context.Context) (out []brokerapi.Agent, err error) {
	err = c.call(ctx, request{method: http.MethodGet, path: brokerapi.PathAgents}, &out)
	return out, err
}

// CreateAgent makes an agent.
func (c *Client) CreateAgent(ctx context.Context, label agentkeys.Agent) (a brokerapi.Agent, err error) {
	err = c.call(ctx, request{method: http.MethodPost, path: brokerapi.PathAgents, body: brokerapi.AgentRequest{Label: label}}, &a)
	if err == nil && (a.Label != label || a.Wallet.IsZero()) {
		err = fmt.Errorf("%w: it is another agent", ErrAnswer)
	}
	return a, err
}

// RemoveAgent ends an agent with its grants and devices.
func (c *Client) RemoveAgent(ctx context.Context, label agentkeys.Agent) error {
	return c.call(ctx, request{method: http.MethodDelete, path: path(brokerapi.PathAgent, label.String())}, nil)
}

// Enrolment makes a code by which one device becomes the agent's.
func (c *Client) Enrolment(ctx context.Context, label agentkeys.Agent) (e brokerapi.Enrolment, err error) {
	err = c.call(ctx, request{method: http.MethodPost, path: path(brokerapi.PathEnrolment, label.String())}, &e)
	return e, err
}

// Grants lists what is in force.
func (c *Client) Grants(ctx context.Context) (out []grant.Grant, err error) {
	err = c.call(ctx, request{method: http.MethodGet, path: brokerapi.PathGrants}, &out)
	return out, err
}

// PutGrant lends a service to an agent, in place of an earlier grant.
func (c *Client) PutGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t brokerapi.Terms) (*grant.Grant, error) {
	g := new(grant.Grant)
	err := c.call(ctx, request{method: http.MethodPut, path: path(brokerapi.PathGrant, label.String(), svc.String()), body: t}, g)
	if err != nil {
		return nil, err
	}
	if g.Validate() != nil || g.Agent != label || g.Svc != svc {
		return nil, fmt.Errorf("%w: it is another grant", ErrAnswer)
	}
	return g, nil
}

// RemoveGrant revokes a grant.
func (c *Client) RemoveGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service) error {
	return c.call(ctx, request{method: http.MethodDelete, path: path(brokerapi.PathGrant, label.String(), svc.String())}, nil)
}

// Minted is a token for somebody else than the broker.
type Minted struct {
	Token   string
	Expires time.Time // by this device's clock
}

// Mint exchanges the session for a token (RFC 8693): for an audience, about the
// session's own wallet or, if wallet is not zero, about that one, of an agent
// of this master. lifetime 0 is the broker's own choice.
func (c *Client) Mint(ctx context.Context, audience string, wallet agentkeys.Wallet, lifetime time.Duration) (Minted, error) {
	for again := false; ; again = true {
		s, err := c.Session(ctx)
		if err != nil {
			return Minted{}, err
		}
		form := url.Values{
			"grant_type": {brokerapi.GrantTokenExchange}, "subject_token": {s.Token},
			"subject_token_type": {brokerapi.TypeAccessToken}, brokerapi.ParamAudience: {audience},
		}
		if !wallet.IsZero() && wallet != s.Wallet {
			form.Set(brokerapi.ParamWallet, wallet.String())
		}
		if lifetime > 0 {
			form.Set(brokerapi.ParamLifetime, strconv.Itoa(int(lifetime/time.Second)))
		}
		asked := c.o.Now()
		var a brokerapi.TokenAnswer
		err = c.send(ctx, request{method: http.MethodPost, path: brokerapi.PathToken, form: form}, s.Token, &a)
		if p, ok := errors.AsType[*brokerapi.Problem](err); ok && p.Code == brokerapi.CodeToken && !again {
			c.drop(s.Token)
			continue
		}
		if err != nil {
			return Minted{}, err
		}
		if !isToken(a.Token) || a.IssuedType != brokerapi.TypeJWT || a.ExpiresIn <= 0 || a.ExpiresIn > 86400 {
			return Minted{}, fmt.Errorf("%w: it is no token", ErrAnswer)
		}
		return Minted{a.Token, asked.Add(time.Duration(a.ExpiresIn) * time.Second)}, nil
	}
}

// Format keeps every verb from printing the token.
func (m Minted) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "[token until %s]", m.Expires) }

// MarshalJSON refuses.
func (m Minted) MarshalJSON() ([]byte, error) { return nil, errNoJSON }

var errNoJSON = errors.New("a token is not written as JSON")

var _ json.Marshaler = Minted{}
