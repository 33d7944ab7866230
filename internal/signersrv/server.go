// Package signersrv is the signer as a service: it derives wallets for
// brokers, and key-encryption keys for the devices whose wallet they belong
// to, over mutual TLS. It decides who may ask; a signer.Core derives, and a
// grant.Recorder keeps the record. It knows no store, no vault and no broker's
// state.
//
// Laws:
//   - A wallet's keys go to a session of that wallet or of its master, and to
//     the device that the session is bound to. The wallets of a token are
//     derived again from its account: what does not agree opens nothing.
//   - A key leaves only after its record is durable.
//   - A broker's certificate gets wallets and never a key; a device's gets
//     keys and never another's wallet.
//   - Without the issuer's keys nobody is admitted.
//
// A key is cleared from our memory when it is sent. The copies that net/http
// and crypto/tls make of what is written cannot be cleared from here: accepted.
package signersrv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// OpDerive is the audit operation of a key that is given out, or refused to a
// valid token. Its subject is the wallet.
const OpDerive = "key.derive"

// Options of a Server. All but Ready, Limits and Metrics are needed.
type Options struct {
	Core     signer.Core
	Issuer   string                          // iss of signer tokens
	Audience string                          // aud of signer tokens
	Keys     token.Keys                      // the issuer's
	Ready    func(ctx context.Context) error // whether Keys can be trusted now; nil: always
	Brokers  []token.Thumbprint              // of the keys of their certificates; none: nobody gets wallets
	Recorder grant.Recorder
	Limits   Limits
	Metrics  *webserve.Metrics
	Log      *slog.Logger
	Now      func() time.Time
}

// Limits are how many requests are allowed at once and how long until one
// more; zero is the default.
type Limits struct {
	Peer, Device, Wallet Limit
}

// Limit allows Burst at once and one more after each Every.
type Limit struct {
	Every time.Duration
	Burst int
}

func (l Limit) limiter(every time.Duration, burst int, now func() time.Time) *webserve.Limiter {
	if l.Every > 0 {
		every = l.Every
	}
	if l.Burst > 0 {
		burst = l.Burst
	}
	return webserve.NewLimiter(every, burst, 10_000, now)
}

// Server answers the API of signerapi.
type Server struct {
	o        Options
	verifier token.Verifier
	devices  *webserve.Limiter // by the certificate's key
	wallets  *webserve.Limiter // by the wallet of an admitted caller
	handler  http.Handler
	keks     *prometheus.CounterVec
}

// New makes a Server.
func New(o Options) (*Server, error) {
	switch {
	case o.Core == nil || o.Keys == nil || o.Recorder == nil || o.Log == nil || o.Now == nil:
		return nil, errors.New("a signer service needs a core, the issuer's keys, a recorder, a log and a clock")
	case o.Issuer == "" || o.Audience == "":
		return nil, errors.New("a signer service needs an issuer and an audience")
	}
	for _, b := range o.Brokers {
		if b.IsZero() {
			return nil, errors.New("the thumbprint of a broker is zero")
		}
	}
	s := &Server{
		o:        o,
		verifier: token.Verifier{Issuer: o.Issuer, Audience: o.Audience, Keys: o.Keys},
		devices:  o.Limits.Device.limiter(20*time.Millisecond, 200, o.Now),
		wallets:  o.Limits.Wallet.limiter(20*time.Millisecond, 200, o.Now),
		keks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentkeys_signer_keys_total", Help: "Key-encryption keys asked for by admitted callers, by what came of it.",
		}, []string{"result"}),
	}
	if o.Metrics != nil {
		o.Metrics.Registry.MustRegister(s.keks)
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+signerapi.PathWallet, s.route(s.wallet))
	mux.Handle("POST "+signerapi.PathKEK, s.route(s.kek))
	mux.Handle("GET "+signerapi.PathEpoch, s.route(s.epoch))
	s.handler = webserve.Handler(mux, webserve.Options{
		Log: o.Log, Metrics: o.Metrics, Now: o.Now,
		Limiter: o.Limits.Peer.limiter(5*time.Millisecond, 400, o.Now),
	})
	return s, nil
}

// Handler serves connections of a listener with TLS' configuration.
func (s *Server) Handler() http.Handler { return s.handler }

// Operations is what a second listener, plain and not for the public, serves:
// health, readiness with the checks that fail, and metrics. Nothing in it is
// secret.
func (s *Server) Operations(checks ...webserve.Check) http.Handler {
	mux := http.NewServeMux()
	o := webserve.Options{Log: s.o.Log, Now: s.o.Now}
	checks = append([]webserve.Check{{Name: "issuer-keys", Try: s.ready}}, checks...)
	mux.HandleFunc("GET "+brokerapi.PathHealth, webserve.Health)
	mux.HandleFunc("GET "+brokerapi.PathReady, webserve.Ready(o, checks...))
	if s.o.Metrics != nil {
		mux.Handle("GET "+brokerapi.PathMetrics, s.o.Metrics.Handler())
	}
	return mux
}

// TLS is how the service's connections are made: TLS 1.3, and a certificate of
// the client's with a P-256 key. Who signed it and until when it is good does
// not count: its key is pinned, by the configuration or by a token. Sessions
// are not resumed, so that each connection proves the key anew.
func TLS(server *webserve.Certificate) *tls.Config {
	c := server.Config()
	c.MinVersion = tls.VersionTLS13
	c.ClientAuth = tls.RequireAnyClientCert
	c.SessionTicketsDisabled = true
	c.NextProtos = []string{"h2", "http/1.1"}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("there is no client certificate")
		}
		if k, ok := cs.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
			return errors.New("the client certificate's key is not a P-256 key")
		}
		return nil
	}
	return c
}

func (s *Server) ready(ctx context.Context) error {
	if s.o.Ready == nil {
		return nil
	}
	return s.o.Ready(ctx)
}

// answer is what a handler returns: JSON, or something that writes itself and
// is cleared then.
type answer interface{ write(http.ResponseWriter) }

type jsonAnswer struct{ v any }

func (a jsonAnswer) write(w http.ResponseWriter) { webserve.WriteJSON(w, http.StatusOK, a.v) }

// route renders what handlers return; no other place does.
func (s *Server) route(h func(*http.Request) (answer, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := h(r)
		if err == nil {
			a.write(w)
			return
		}
		var wait limitError
		if errors.As(err, &wait) {
			webserve.WriteLimited(w, r, time.Duration(wait))
			return
		}
		var p *brokerapi.Problem
		if !errors.As(err, &p) {
			s.o.Log.Error("request failed", "request", webserve.RequestID(r.Context()), "err", err)
			p = &brokerapi.Problem{Code: brokerapi.CodeInternal, Status: http.StatusInternalServerError, Title: "Internal error"}
		}
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		}
		webserve.WriteProblem(w, r, p)
	})
}

// limitError is how long to wait.
type limitError time.Duration

func (limitError) Error() string { return "too many requests" }

func limited(wait time.Duration) error { return limitError(wait) }

// failed turns what a core says into what a client may know; the log has all.
func (s *Server) failed(r *http.Request, err error) error {
	switch {
	case errors.Is(err, signer.ErrUnknownEpoch):
		return &brokerapi.Problem{
			Code: signerapi.CodeEpoch, Status: http.StatusNotFound, Title: "There is no sealing root of this epoch",
			Detail: "it was retired, or the signer has an older copy of the roots",
		}
	case errors.Is(err, agentkeys.ErrName):
		return &brokerapi.Problem{Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed", Detail: "a name is malformed"}
	}
	s.o.Log.Error("the roots could not be asked", "request", webserve.RequestID(r.Context()), "err", err)
	return unavailable("the roots")
}

func (s *Server) epoch(r *http.Request) (answer, error) {
	if _, err := s.admit(r); err != nil {
		return nil, err
	}
	return jsonAnswer{signerapi.EpochAnswer{Epoch: s.o.Core.Epoch()}}, nil
}

func (s *Server) kek(r *http.Request) (answer, error) {
	c, err := s.admit(r)
	if err != nil {
		return nil, err
	}
	if wait, ok := s.wallets.Allow(c.wallet.String()); !ok {
		s.keks.WithLabelValues("limited").Inc()
		return nil, limited(wait)
	}
	var q signerapi.KEKRequest
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return nil, err
	}
	if q.Wallet.IsZero() || q.Service.IsZero() || q.Epoch == 0 {
		return nil, &brokerapi.Problem{
			Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed",
			Detail: "it names no wallet, no service or no epoch",
		}
	}
	e := grant.Event{
		Time: s.o.Now().UTC(), Op: OpDerive, Actor: c.actor, Parent: c.parent, Agent: c.agent,
		Svc: q.Service, Subject: q.Wallet.String(), Epoch: q.Epoch, Request: c.token, Decision: grant.Allowed,
	}
	if q.Wallet != c.wallet {
		e.Decision, e.Reason = grant.Denied, "the token is for the keys of another wallet"
		if err := s.o.Recorder.Note(e); err != nil {
			s.o.Log.Error("a refusal could not be recorded", "err", err)
		}
		s.keks.WithLabelValues("denied").Inc()
		return nil, forbidden(e.Reason)
	}
	v, err := s.o.Core.ExposeKEK(r.Context(), q.Wallet, q.Service, q.Epoch)
	if err != nil {
		s.keks.WithLabelValues("failed").Inc()
		return nil, s.failed(r, err)
	}
	defer v.Clear()
	if err := s.o.Recorder.Record(r.Context(), e); err != nil {
		s.keks.WithLabelValues("failed").Inc()
		s.o.Log.Error("a key was withheld: it could not be recorded", "request", webserve.RequestID(r.Context()), "err", err)
		return nil, unavailable("the audit log")
	}
	s.keks.WithLabelValues("given").Inc()
	return newKEKAnswer(v.Expose(), s.o.Core.Epoch()), nil
}

// kekAnswer is signerapi.KEKAnswer in memory that is cleared once written.
type kekAnswer []byte

func newKEKAnswer(kek []byte, epoch uint32) kekAnswer {
	// Room for all: an array that is outgrown would be left behind. And no fmt,
	// which keeps buffers.
	b := make([]byte, 0, 64+base64.StdEncoding.EncodedLen(len(kek)))
	b = append(b, `{"kek":"`...)
	b = base64.StdEncoding.AppendEncode(b, kek)
	b = append(b, `","epoch":`...)
	b = strconv.AppendUint(b, uint64(epoch), 10)
	return append(b, '}')
}

func (a kekAnswer) write(w http.ResponseWriter) {
	defer clear(a)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(a)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(a)
}
