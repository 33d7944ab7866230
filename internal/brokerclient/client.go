// Package brokerclient speaks to a broker as one device: every request carries
// a proof of the device's key (DPoP, RFC 9449), sessions are had and renewed
// with that key alone, and a stream keeps a Directory of what is in force. It
// depends on brokerapi, token and the nouns; what is done with a grant it does
// not know.
//
// Laws:
//   - Nothing is sent but over TLS, or to a loopback address.
//   - The broker is the origin that was asked for: it must call itself so, and
//     what it redirects to is not followed.
//   - No token, code or key is in an error.
//   - A Directory that is not known to be true says so: whoever lends asks Fresh.
package brokerclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/strictjson"
	"github.com/litentry/agentkeys/internal/token"
)

// What a Client answers besides a *brokerapi.Problem, which is the broker's own
// refusal.
var (
	// ErrURL: the text is not the origin of a broker.
	ErrURL = errors.New("not the address of a broker")
	// ErrUnreachable: the broker did not answer. What was asked for may have
	// been done.
	ErrUnreachable = errors.New("the broker cannot be reached")
	// ErrAnswer: what answered does not speak as a broker.
	ErrAnswer = errors.New("this is not a broker's answer")
	// ErrIssuer: the broker has another name than the one it was asked by.
	ErrIssuer = errors.New("the broker calls itself otherwise")
	// ErrDeviceOut: the broker does not know this device, or not any more.
	ErrDeviceOut = errors.New("the broker does not know this device")
)

const (
	callTime = 20 * time.Second // for one request, its answer included
	dialTime = 10 * time.Second
	maxBody  = 4 << 20 // bytes of an answer
)

// Options are what a Client needs.
type Options struct {
	URL   string            // the broker's origin
	Key   *ecdsa.PrivateKey // the device's
	Roots *x509.CertPool    // nil: the system's
	Agent string            // of the User-Agent header
	Log   *slog.Logger
	Now   func() time.Time
}

// Client is one device at one broker. Any number of goroutines may use it.
type Client struct {
	o      Options
	origin string
	device token.Thumbprint
	http   *http.Client
	stream *http.Client

	flight  singleflight.Group
	mu      sync.Mutex
	session brokerapi.Session // zero: none yet
	made    time.Time
}

// ParseOrigin checks the address of a broker, scheme://host[:port], and returns
// it in the form that a broker is named by. ErrURL.
func ParseOrigin(s string) (string, error) {
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	switch {
	case err != nil: // not the error, which shows a password
		return "", fmt.Errorf("%w: it is no URL, such as https://broker.example.com", ErrURL)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Hostname() == "":
		return "", fmt.Errorf("%w: it begins with https:// and a name, such as https://broker.example.com", ErrURL)
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("%w: it is scheme and host alone, such as https://broker.example.com", ErrURL)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", fmt.Errorf("%w: http://%s would send everything in the clear; use https (http is for 127.0.0.1 alone)", ErrURL, u.Host)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// New makes a Client and contacts nobody. ErrURL.
func New(o Options) (*Client, error) {
	origin, err := ParseOrigin(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Key == nil {
		return nil, errors.New("a client of a broker has a device key")
	}
	device, err := token.ThumbprintOf(&o.Key.PublicKey)
	if err != nil {
		return nil, err
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &Client{o: o, origin: origin, device: device}
	c.http = &http.Client{Transport: o.transport(), Timeout: callTime, CheckRedirect: noRedirect}
	// A connection of its own for each stream: a dead one is left, not asked
	// again.
	once := o.transport()
	once.DisableKeepAlives = true
	once.ResponseHeaderTimeout = dialTime
	c.stream = &http.Client{Transport: once, CheckRedirect: noRedirect}
	return c, nil
}

func (o Options) transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTime, KeepAlive: 15 * time.Second}).DialContext
	t.TLSHandshakeTimeout = dialTime
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true // a body is bounded as it comes
	// HTTP/1: a connection that died in a laptop's sleep is one request's
	// trouble, not everybody's.
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.ForceAttemptHTTP2 = false
	t.TLSClientConfig = tlsConfig(o.Roots)
	return t
}

// Origin is the broker's name.
func (c *Client) Origin() string { return c.origin }

// Device is the id of this device: the thumbprint of its key.
func (c *Client) Device() string { return c.device.String() }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call of the API.
type request struct {
	method string
	path   string
	body   any        // JSON; nil: none
	form   url.Values // in place of body
}

// call makes a request with a session, and reads the answer into v unless that
// is nil. A session that the broker does not take is had anew once.
func (c *Client) call(ctx context.Context, r request, v any) error {
	for again := false; ; again = true {
		s, err := c.Session(ctx)
		if err != nil {
			return err
		}
		err = c.send(ctx, r, s.Token, v)
		if p, ok := errors.AsType[*brokerapi.Problem](err); ok && p.Code == brokerapi.CodeToken && !again {
			c.drop(s.Token)
			continue
		}
		return err
	}
}

// send makes a request with the proof of the device's key, and with a session
// unless that is "".
func (c *Client) send(ctx context.Context, r request, session string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := c.prepare(ctx, r, session)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	defer clear(data) // it may hold a token
	if err != nil {
		return unreachable(ctx, err)
	}
	if len(data) > maxBody {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrAnswer, maxBody)
	}
	if err := refusal(resp, data); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "application/json" {
		return fmt.Errorf("%w: status %d without JSON", ErrAnswer, resp.StatusCode)
	}
	// Not the decoder's words, which may quote what must not be shown.
	if json.Unmarshal(data, v) != nil || strictjson.Unique(data) != nil {
		return fmt.Errorf("%w: malformed JSON", ErrAnswer)
	}
	return nil
}

func (c *Client) prepare(ctx context.Context, r request, session string) (*http.Request, error) {
	u := c.origin + r.path
	var body []byte
	var kind string
	switch {
	case r.form != nil:
		body, kind = []byte(r.form.Encode()), "application/x-www-form-urlencoded"
	case r.body != nil:
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, err
		}
		kind = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == nil {
		req.Body, req.GetBody = nil, nil
	} else {
		req.Header.Set("Content-Type", kind)
	}
	proof, err := token.NewProof(c.o.Key, r.method, u, session, c.o.Now())
	if err != nil {
		return nil, err
	}
	req.Header.Set("DPoP", proof)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if c.o.Agent != "" {
		req.Header.Set("User-Agent", c.o.Agent)
	}
	if session != "" {
		req.Header.Set("Authorization", "DPoP "+session)
	}
	return req, nil
}

// unreachable names a failure to get an answer. A caller that gave up gets its
// own error.
func unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	// Not the request's URL again, which url.Error says first.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// refusal is what an answer that is not a success says.
func refusal(resp *http.Response, data []byte) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "application/problem+json" || t == "application/json" {
		p := new(brokerapi.Problem)
		if json.Unmarshal(data, p) == nil && p.Code != "" && p.Title != "" {
			p.Status = resp.StatusCode
			for _, text := range []*string{&p.Title, &p.Detail, &p.Fix, &p.Code, &p.Request} {
				*text = plain(*text)
			}
			if p.Code == brokerapi.CodeDevice {
				return fmt.Errorf("%w: %w", ErrDeviceOut, p)
			}
			return p
		}
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("%w: it redirects elsewhere (status %d)", ErrAnswer, resp.StatusCode)
	case resp.StatusCode >= 500:
		// A proxy before the broker speaks for it.
		return fmt.Errorf("%w: status %d", ErrUnreachable, resp.StatusCode)
	}
	return fmt.Errorf("%w: status %d without a problem", ErrAnswer, resp.StatusCode)
}

// plain keeps what somebody else wrote from steering a terminal.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 500)]
}
