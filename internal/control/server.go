// Package control owns the owner's door to the process that serves a laptop:
// HTTP with JSON over a Unix socket that only the owner's own processes may
// use, and the client for it. Agents' processes are turned away. It must not
// depend on cmd, and holds no state of its own.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// Server serves a Host on the owner's socket.
type Server struct {
	host *local.Host
	log  *slog.Logger
	stop func()
	http *http.Server
}

// handler answers one request with a value to encode as JSON, or an error.
type handler func(s *Server, r *http.Request) (any, error)

// stream is an answer that writes itself.
type stream func(w http.ResponseWriter, flush func()) error

// access says who may call a route.
type access int

const (
	owner  access = iota // the owner's processes, but not an agent's
	anyone               // an agent's processes too
)

// routes is every door there is, and who may use it.
var routes = []struct {
	pattern string
	access  access
	handle  handler
}{
	{"GET /v1/status", anyone, (*Server).status},
	{"POST /v1/stop", owner, (*Server).shutdown},

	{"GET /v1/credentials", owner, (*Server).listCredentials},
	{"GET /v1/credentials/{service}", owner, ofService((*local.Host).Credential)},
	{"PUT /v1/credentials/{service}", owner, (*Server).storeCredential},
	{"DELETE /v1/credentials/{service}", owner, (*Server).removeCredential},
	{"POST /v1/credentials/{service}/reveal", owner, (*Server).revealCredential},
	{"POST /v1/credentials/{service}/compare", owner, (*Server).compareCredential},
	{"POST /v1/credentials/{service}/check", owner, ofService((*local.Host).CheckKey)},
	{"PUT /v1/credentials/{service}/drawers/{drawer}", owner, (*Server).putDrawer},
	{"POST /v1/credentials/{service}/drawers/{drawer}/open", owner, (*Server).openDrawer},
	{"DELETE /v1/credentials/{service}/drawers/{drawer}", owner, (*Server).removeDrawer},
	{"POST /v1/credentials/{service}/rotate", owner, ofService((*local.Host).RotateKey)},
	{"PUT /v1/credentials/{service}/management", owner, (*Server).storeManagement},
	{"DELETE /v1/credentials/{service}/management", owner, (*Server).removeManagement},
	{"GET /v1/minted", owner, (*Server).listMinted},
	{"POST /v1/provision-events", owner, (*Server).recordProvision},

	{"GET /v1/agents", owner, (*Server).listAgents},
	{"POST /v1/agents", owner, (*Server).createAgent},
	{"DELETE /v1/agents/{agent}", owner, (*Server).removeAgent},
	{"POST /v1/agents/{agent}/enrolment", owner, (*Server).enrolAgent},

	{"GET /v1/devices", owner, (*Server).listDevices},
	{"DELETE /v1/devices/{device}", owner, (*Server).revokeDevice},

	{"GET /v1/grants", owner, (*Server).listGrants},
	{"PUT /v1/grants/{agent}/{service}", owner, (*Server).putGrant},
	{"DELETE /v1/grants/{agent}/{service}", owner, (*Server).removeGrant},

	{"POST /v1/sessions", owner, (*Server).startSession},
	{"POST /v1/sessions/renew", owner, (*Server).renewSession},
	{"POST /v1/sessions/end", owner, (*Server).endSession},

	{"GET /v1/services", owner, (*Server).listServices},
	{"POST /v1/services", owner, (*Server).addService},
	{"PATCH /v1/services/{service}", owner, (*Server).setService},
	{"DELETE /v1/services/{service}", owner, (*Server).removeService},

	{"GET /v1/terms", owner, (*Server).listTerms},
	{"GET /v1/terms/{service}", owner, ofService((*local.Host).Terms)},
	{"PUT /v1/terms/{service}", owner, (*Server).reviewTerms},
	{"DELETE /v1/terms/{service}", owner, (*Server).forgetTerms},

	{"GET /v1/federation/{service}", owner, ofService((*local.Host).Federation)},
	{"PUT /v1/federation/{service}", owner, (*Server).setFederation},
	{"DELETE /v1/federation/{service}", owner, (*Server).endFederation},
	{"POST /v1/federation/{service}/check", owner, ofService((*local.Host).CheckFederation)},

	{"POST /v1/mail-addresses", owner, (*Server).makeMailAddress},
	{"POST /v1/mail-waits", owner, (*Server).waitMail},
	{"GET /v1/mail", owner, (*Server).listMail},
	{"GET /v1/mail/{message}", owner, (*Server).showMail},
	{"POST /v1/mail/{message}/reveal", owner, (*Server).revealMail},

	{"GET /v1/audit/tail", owner, (*Server).tailAudit},
	{"POST /v1/audit/checkpoint", owner, (*Server).checkpoint},
	{"POST /v1/rotate", owner, (*Server).rotate},
	{"POST /v1/reseal", owner, (*Server).reseal},
	{"POST /v1/retire", owner, (*Server).retire},
}

// long are those that end with their client, whatever the method: what they
// have done until then is whole.
var long = map[string]bool{"/v1/rotate": true, "/v1/reseal": true, "/v1/mail-waits": true}

// NewServer makes a Server. stop is called when the owner asks to stop.
func NewServer(h *local.Host, log *slog.Logger, stop func()) *Server {
	s := &Server{host: h, log: log, stop: stop}
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { s.serve(w, req, r.access, r.handle) })
	}
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			p, err := daemon.PeerOf(c)
			return context.WithValue(ctx, peerKey{}, peer{p, err})
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve serves ln until Close.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close lets requests under way end for as long as ctx lasts.
func (s *Server) Close(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

type peerKey struct{}

type peer struct {
	daemon.Peer
	err error
}

// ErrForbidden says that the caller may not use this door.
var ErrForbidden = errors.New("not for this process")

func (s *Server) serve(w http.ResponseWriter, r *http.Request, a access, h handler) {
	if err := s.admit(r, a); err != nil {
		s.fail(w, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.Method != http.MethodGet && !long[r.URL.Path] {
		// A change is made whole, also for a client that gave up half-way.
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	answer, err := h(s, r)
	if err != nil {
		s.fail(w, err)
		return
	}
	switch v := answer.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case stream:
		rc := http.NewResponseController(w)
		if err := v(w, func() { _ = rc.Flush() }); err != nil {
			// The status has gone out: the end of the stream says it.
			_ = json.NewEncoder(w).Encode(map[string]any{"error": s.describe(err)})
		}
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

// admit knows its peer by the kernel. That keeps out other users, and an
// agent's process that asks plainly. It cannot keep out one that runs as the
// same user and is set on getting in: docs/security.md says so.
func (s *Server) admit(r *http.Request, a access) error {
	p, ok := r.Context().Value(peerKey{}).(peer)
	switch {
	case !ok:
		return ErrForbidden
	case p.err != nil:
		return p.err
	case p.UID != os.Getuid():
		return ErrForbidden
	case a == anyone:
		return nil
	}
	if _, itself, ok := s.host.Runs().Of(p.PID); ok && !itself {
		return ErrForbidden
	}
	return nil
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	e := s.describe(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": e})
}

// ErrRequest says that a request is malformed.
var ErrRequest = errors.New("malformed request")
