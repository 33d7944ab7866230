package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

func (s *Server) status(r *http.Request) (any, error) { return s.host.Status(r.Context()) }

func (s *Server) shutdown(*http.Request) (any, error) {
	s.stop()
	return nil, nil
}

func service(r *http.Request) (agentkeys.Service, error) {
	return agentkeys.ParseService(r.PathValue("service"))
}

// ofService answers a request that is about a service and says nothing more.
func ofService[T any](ask func(*local.Host, context.Context, agentkeys.Service) (T, error)) handler {
	return func(s *Server, r *http.Request) (any, error) {
		svc, err := service(r)
		if err != nil {
			return nil, err
		}
		return ask(s.host, r.Context(), svc)
	}
}

func agent(r *http.Request) (agentkeys.Agent, error) {
	return agentkeys.ParseAgent(r.PathValue("agent"))
}

func (s *Server) listCredentials(r *http.Request) (any, error) {
	return s.host.Credentials(r.Context())
}

// storeCredential takes the secret as the whole body, so that no JSON decoder
// makes a string of it.
func (s *Server) storeCredential(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	v, err := secret.Read(r.Body, local.MaxSecret)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	return s.host.Store(r.Context(), svc, v, local.StoreOptions{
		AnyForm: q.Get("any_form") == "true", NoVerify: q.Get("no_verify") == "true", Route: catalog.Door(q.Get("route")),
	})
}

func (s *Server) removeCredential(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.Remove(r.Context(), svc, r.URL.Query().Get("force") == "true")
}

func (s *Server) revealCredential(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	v, err := s.host.Reveal(r.Context(), svc)
	if err != nil {
		return nil, err
	}
	return bare(v), nil
}

func (s *Server) listAgents(*http.Request) (any, error) { return s.host.Agents(), nil }

// AgentRequest names an agent.
type AgentRequest struct {
	Label agentkeys.Agent `json:"label"`
}

func (s *Server) createAgent(r *http.Request) (any, error) {
	var req AgentRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Label.IsZero() {
		return nil, fmt.Errorf("%w: an agent has a label", ErrRequest)
	}
	return s.host.CreateAgent(r.Context(), req.Label)
}

func (s *Server) removeAgent(r *http.Request) (any, error) {
	a, err := agent(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.RemoveAgent(r.Context(), a)
}

// enrolAgent makes a one-time code by which a machine becomes an agent's.
func (s *Server) enrolAgent(r *http.Request) (any, error) {
	a, err := agent(r)
	if err != nil {
		return nil, err
	}
	return s.host.Enrolment(r.Context(), a)
}

func (s *Server) listDevices(r *http.Request) (any, error) { return s.host.Devices(r.Context()) }

func (s *Server) revokeDevice(r *http.Request) (any, error) {
	return nil, s.host.RevokeDevice(r.Context(), r.PathValue("device"))
}

func (s *Server) listGrants(*http.Request) (any, error) { return s.host.Grants(), nil }

// GrantRequest are the terms of a grant.
type GrantRequest struct {
	Rules    []grant.Rule    `json:"rules,omitempty"`
	Unsafe   []grant.Rule    `json:"unsafe_rules,omitempty"`
	Requests *grant.Requests `json:"requests,omitempty"`
	Budget   *grant.Budget   `json:"budget,omitempty"`
	Rate     *grant.Rate     `json:"rate,omitempty"`
	Expires  time.Time       `json:"expires"`
}

func (s *Server) putGrant(r *http.Request) (any, error) {
	a, err1 := agent(r)
	svc, err2 := service(r)
	var req GrantRequest
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.host.Grant(r.Context(), a, svc, book.Terms(req))
}

func (s *Server) removeGrant(r *http.Request) (any, error) {
	a, err1 := agent(r)
	svc, err2 := service(r)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return nil, s.host.Revoke(r.Context(), a, svc)
}

// SessionRequest asks for a token. Run says that the caller is `agentkeys run`
// and about to become the parent of an agent's processes.
type SessionRequest struct {
	Agent agentkeys.Agent `json:"agent"`
	TTL   int64           `json:"ttl_seconds"`
	Run   bool            `json:"run,omitempty"`
}

// SessionAnswer is a token and the environment made of it.
type SessionAnswer struct {
	local.Session
	Env local.Env `json:"env"`
}

func (s *Server) startSession(r *http.Request) (any, error) {
	var req SessionRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	sess, err := s.host.StartSession(r.Context(), req.Agent, time.Duration(req.TTL)*time.Second)
	if err != nil {
		return nil, err
	}
	env, err := s.host.Env(req.Agent, sess.Token)
	if err != nil {
		return nil, err
	}
	if p, ok := r.Context().Value(peerKey{}).(peer); ok && req.Run {
		s.host.Runs().Add(p.PID, req.Agent)
	}
	return SessionAnswer{sess, env}, nil
}

// TokenRequest names a token by itself.
type TokenRequest struct {
	Token string `json:"token"`
}

func (s *Server) renewSession(r *http.Request) (any, error) {
	var req TokenRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := s.host.RenewSession(req.Token); err != nil {
		return nil, err
	}
	// A daemon that was restarted learns here again who runs agents.
	p, ok := r.Context().Value(peerKey{}).(peer)
	if a, live := s.host.SessionAgent(req.Token); ok && live {
		s.host.Runs().Add(p.PID, a)
	}
	return nil, nil
}

func (s *Server) endSession(r *http.Request) (any, error) {
	var req TokenRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		s.host.Runs().Remove(p.PID)
	}
	return nil, s.host.EndSession(r.Context(), req.Token)
}

func (s *Server) listServices(*http.Request) (any, error) { return s.host.Services() }

func (s *Server) addService(r *http.Request) (any, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("file")
	if name == "" {
		name = "service file"
	}
	return s.host.AddService(r.Context(), name, data, r.URL.Query().Get("force") == "true")
}

func (s *Server) setService(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	var req local.ServiceChange
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.host.SetService(r.Context(), svc, req)
}

func (s *Server) removeService(r *http.Request) (any, error) {
	svc, err := service(r)
	if err != nil {
		return nil, err
	}
	return nil, s.host.RemoveService(r.Context(), svc, r.URL.Query().Get("force") == "true")
}

// LogLine is one audit entry with its index.
type LogLine struct {
	Index int64           `json:"index"`
	Entry json.RawMessage `json:"entry"`
}

// tailAudit sends the last n entries, a JSON object a line, and with follow
// those that come after until the client goes.
func (s *Server) tailAudit(r *http.Request) (any, error) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 || n > 1e6 {
		return nil, fmt.Errorf("%w: n is a number of entries up to a million", ErrRequest)
	}
	follow := r.URL.Query().Get("follow") == "true"
	return stream(func(w http.ResponseWriter, flush func()) error {
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		err := s.host.TailAudit(r.Context(), n, follow, func(i int64, raw json.RawMessage) error {
			if err := enc.Encode(LogLine{i, raw}); err != nil {
				return err
			}
			flush()
			return nil
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}), nil
}

// Checkpoint is a signed checkpoint of the audit log.
type Checkpoint struct {
	Note string `json:"note"`
	Key  string `json:"key"` // the verifier key, in the signed note format
}

func (s *Server) checkpoint(r *http.Request) (any, error) {
	note, key, err := s.host.Checkpoint(r.Context())
	return Checkpoint{note, key}, err
}

// Progress is one line of a long answer.
type Progress struct {
	Done  int `json:"done"`
	Total int `json:"total"`
	// Epoch is in the last line of Reseal alone.
	Epoch uint32 `json:"epoch,omitempty"`
}

// rotate takes the new roots as the body, in the form of signer.Encode.
func (s *Server) rotate(r *http.Request) (any, error) {
	roots, err := readRoots(r)
	if err != nil {
		return nil, err
	}
	return stream(func(w http.ResponseWriter, flush func()) error {
		defer roots.Clear()
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		return s.host.Rotate(r.Context(), roots, func(done, total int) {
			_ = enc.Encode(Progress{Done: done, Total: total})
			flush()
		})
	}), nil
}

// reseal ends with a line that has the epoch.
func (s *Server) reseal(r *http.Request) (any, error) {
	return stream(func(w http.ResponseWriter, flush func()) error {
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		epoch, err := s.host.Reseal(r.Context(), func(done, total int) {
			_ = enc.Encode(Progress{Done: done, Total: total})
			flush()
		})
		if err != nil {
			return err
		}
		return enc.Encode(Progress{Epoch: epoch})
	}), nil
}

func (s *Server) retire(r *http.Request) (any, error) {
	roots, err := readRoots(r)
	if err != nil {
		return nil, err
	}
	defer roots.Clear()
	return nil, s.host.Retire(roots)
}

func readRoots(r *http.Request) (signer.Roots, error) {
	v, err := secret.Read(r.Body, 1<<16)
	if err != nil {
		return signer.Roots{}, err
	}
	defer v.Clear()
	return signer.DecodeRoots(v)
}
