package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// ErrDown says that no process serves the socket.
var ErrDown = errors.New("the background process is not running")

// Client talks to a Server. It is safe for concurrent use.
type Client struct{ http *http.Client }

// NewClient makes a client for the socket at path. Nothing is dialled yet.
func NewClient(path string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, err
			}
			// A key is about to be sent: not to whoever made the socket first.
			if p, err := daemon.PeerOf(conn); err != nil || p.UID != os.Getuid() {
				_ = conn.Close()
				return nil, fmt.Errorf("%w: it is not yours", daemon.ErrPeer)
			}
			return conn, nil
		},
		DisableCompression: true,
	}}}
}

// do sends a request and returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://agentkeys"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// A process that dies takes those along that it had not come to; whether
		// it had made a change, nobody can tell.
		dying := method == http.MethodGet && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF))
		if dying || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrDown
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("talking to agentkeys: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var answer struct {
		Error *Error `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&answer); err != nil || answer.Error == nil {
		return nil, fmt.Errorf("agentkeys answered %s", resp.Status)
	}
	return nil, answer.Error
}

// call sends in as JSON, if it is not nil, and decodes the answer into out, if
// that is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	return c.raw(ctx, method, path, body, out)
}

func (c *Client) raw(ctx context.Context, method, path string, body io.Reader, out any) error {
	rc, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer rc.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, rc)
		return err
	}
	return json.NewDecoder(rc).Decode(out)
}

// lines calls f with each line of a streamed answer.
func (c *Client) lines(ctx context.Context, method, path string, body io.Reader, f func([]byte) error) error {
	rc, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer rc.Close()
	sc := bufio.NewScanner(rc)
	sc.Buffer(nil, maxBody)
	for sc.Scan() {
		var fail struct {
			Error *Error `json:"error"`
		}
		if json.Unmarshal(sc.Bytes(), &fail) == nil && fail.Error != nil {
			return fail.Error
		}
		if err := f(sc.Bytes()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return sc.Err()
}

// Status asks the process about itself; ErrDown if there is none.
func (c *Client) Status(ctx context.Context) (st local.Status, err error) {
	return st, c.call(ctx, "GET", "/v1/status", nil, &st)
}

// Stop asks the process to stop. It returns before the process has.
func (c *Client) Stop(ctx context.Context) error { return c.call(ctx, "POST", "/v1/stop", nil, nil) }

// Credentials lists what is stored.
func (c *Client) Credentials(ctx context.Context) (out []local.CredentialInfo, err error) {
	return out, c.call(ctx, "GET", "/v1/credentials", nil, &out)
}

// Credential shows one credential, less the secret.
func (c *Client) Credential(ctx context.Context, s agentkeys.Service) (out local.CredentialDetail, err error) {
	return out, c.call(ctx, "GET", "/v1/credentials/"+s.String(), nil, &out)
}

// Store stores v; it does not clear it.
func (c *Client) Store(ctx context.Context, s agentkeys.Service, v secret.Value, o local.StoreOptions) (out local.StoreResult, err error) {
	q := url.Values{"any_form": {strconv.FormatBool(o.AnyForm)}, "no_verify": {strconv.FormatBool(o.NoVerify)}, "route": {string(o.Route)}}
	return out, c.raw(ctx, "PUT", "/v1/credentials/"+s.String()+"?"+q.Encode(), bytes.NewReader(v.Expose()), &out)
}

// Remove deletes a credential, with force also one that is lent.
func (c *Client) Remove(ctx context.Context, s agentkeys.Service, force bool) error {
	return c.call(ctx, "DELETE", "/v1/credentials/"+s.String()+"?force="+strconv.FormatBool(force), nil, nil)
}

// Reveal returns a secret.
func (c *Client) Reveal(ctx context.Context, s agentkeys.Service) (secret.Value, error) {
	rc, err := c.do(ctx, "POST", "/v1/credentials/"+s.String()+"/reveal", nil)
	if err != nil {
		return secret.Value{}, err
	}
	defer rc.Close()
	return secret.Read(rc, local.MaxSecret)
}

// Agents lists the agents.
func (c *Client) Agents(ctx context.Context) (out []book.Agent, err error) {
	return out, c.call(ctx, "GET", "/v1/agents", nil, &out)
}

// CreateAgent adds an agent.
func (c *Client) CreateAgent(ctx context.Context, a agentkeys.Agent) (out book.Agent, err error) {
	return out, c.call(ctx, "POST", "/v1/agents", AgentRequest{a}, &out)
}

// RemoveAgent removes an agent with all it was lent.
func (c *Client) RemoveAgent(ctx context.Context, a agentkeys.Agent) error {
	return c.call(ctx, "DELETE", "/v1/agents/"+a.String(), nil, nil)
}

// Enrolment makes a one-time code by which a machine becomes an agent's.
func (c *Client) Enrolment(ctx context.Context, a agentkeys.Agent) (out brokerapi.Enrolment, err error) {
	return out, c.call(ctx, "POST", "/v1/agents/"+a.String()+"/enrolment", nil, &out)
}

// Devices lists the devices of the account at the broker.
func (c *Client) Devices(ctx context.Context) (out []brokerapi.Device, err error) {
	return out, c.call(ctx, "GET", "/v1/devices", nil, &out)
}

// RevokeDevice ends a device's sessions at the broker.
func (c *Client) RevokeDevice(ctx context.Context, id string) error {
	return c.call(ctx, "DELETE", "/v1/devices/"+url.PathEscape(id), nil, nil)
}

// Grants lists the grants.
func (c *Client) Grants(ctx context.Context) (out []local.GrantInfo, err error) {
	return out, c.call(ctx, "GET", "/v1/grants", nil, &out)
}

// Grant lends a service to an agent.
func (c *Client) Grant(ctx context.Context, a agentkeys.Agent, s agentkeys.Service, r GrantRequest) (out local.GrantInfo, err error) {
	return out, c.call(ctx, "PUT", "/v1/grants/"+a.String()+"/"+s.String(), r, &out)
}

// Revoke ends a grant.
func (c *Client) Revoke(ctx context.Context, a agentkeys.Agent, s agentkeys.Service) error {
	return c.call(ctx, "DELETE", "/v1/grants/"+a.String()+"/"+s.String(), nil, nil)
}

// StartSession gets a token and an environment for an agent's process.
func (c *Client) StartSession(ctx context.Context, r SessionRequest) (out SessionAnswer, err error) {
	return out, c.call(ctx, "POST", "/v1/sessions", r, &out)
}

// RenewSession prolongs a token.
func (c *Client) RenewSession(ctx context.Context, token string) error {
	return c.call(ctx, "POST", "/v1/sessions/renew", TokenRequest{token}, nil)
}

// EndSession ends a token.
func (c *Client) EndSession(ctx context.Context, token string) error {
	return c.call(ctx, "POST", "/v1/sessions/end", TokenRequest{token}, nil)
}

// Services lists the services.
func (c *Client) Services(ctx context.Context) (out []local.ServiceInfo, err error) {
	return out, c.call(ctx, "GET", "/v1/services", nil, &out)
}

// AddService adds or replaces a service of the user's own.
func (c *Client) AddService(ctx context.Context, file string, data []byte, force bool) (out local.ServiceInfo, err error) {
	q := url.Values{"file": {file}, "force": {strconv.FormatBool(force)}}
	return out, c.raw(ctx, "POST", "/v1/services?"+q.Encode(), bytes.NewReader(data), &out)
}

// SetService changes the settings of a service.
func (c *Client) SetService(ctx context.Context, s agentkeys.Service, ch local.ServiceChange) (out local.ServiceInfo, err error) {
	return out, c.call(ctx, "PATCH", "/v1/services/"+s.String(), ch, &out)
}

// RemoveService takes back an added service or the settings of one.
func (c *Client) RemoveService(ctx context.Context, s agentkeys.Service, force bool) error {
	return c.call(ctx, "DELETE", "/v1/services/"+s.String()+"?force="+strconv.FormatBool(force), nil, nil)
}

// TailAudit calls f with the last n audit entries, and with follow with those
// that come, until ctx ends.
func (c *Client) TailAudit(ctx context.Context, n int, follow bool, f func(LogLine) error) error {
	q := url.Values{"n": {strconv.Itoa(n)}, "follow": {strconv.FormatBool(follow)}}
	return c.lines(ctx, "GET", "/v1/audit/tail?"+q.Encode(), nil, func(b []byte) error {
		var l LogLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		return f(l)
	})
}

// Checkpoint signs the audit log as it is and returns the checkpoint.
func (c *Client) Checkpoint(ctx context.Context) (out Checkpoint, err error) {
	return out, c.call(ctx, "POST", "/v1/audit/checkpoint", nil, &out)
}

// Rotate hands over new roots and waits until everything is sealed anew.
func (c *Client) Rotate(ctx context.Context, roots secret.Value, f func(Progress)) error {
	return c.lines(ctx, "POST", "/v1/rotate", bytes.NewReader(roots.Expose()), func(b []byte) error {
		var p Progress
		if err := json.Unmarshal(b, &p); err != nil {
			return err
		}
		f(p)
		return nil
	})
}

// Reseal waits until everything is sealed anew under the epoch of the signer
// that a broker names, which it returns.
func (c *Client) Reseal(ctx context.Context, f func(Progress)) (epoch uint32, err error) {
	err = c.lines(ctx, "POST", "/v1/reseal", nil, func(b []byte) error {
		var p Progress
		if err := json.Unmarshal(b, &p); err != nil {
			return err
		}
		if p.Epoch != 0 {
			epoch = p.Epoch
			return nil
		}
		f(p)
		return nil
	})
	return epoch, err
}

// Retire hands over roots without the old epochs.
func (c *Client) Retire(ctx context.Context, roots secret.Value) error {
	return c.raw(ctx, "POST", "/v1/retire", bytes.NewReader(roots.Expose()), nil)
}
