package brokerhttp

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/webserve"
)

// Standing is who may call a route.
type Standing string

// The standings. The zero Standing is no route's.
const (
	Anybody Standing = "anybody"
	Key     Standing = "key"     // whoever proves possession of a device key
	Session Standing = "session" // a device's session, a master's or an agent's
	Master  Standing = "master"  // a master's session
)

// Route is one of the API.
type Route struct {
	Method, Path string
	Who          Standing
	// guess: whoever calls it without being who they say could be guessing, or
	// is making us work.
	guess bool
	// known: the key must be a device's already.
	known bool
	// One of them, by the standing.
	open    func(http.ResponseWriter, *http.Request) error
	keyed   func(http.ResponseWriter, *http.Request, broker.DeviceKey) error
	session func(http.ResponseWriter, *http.Request, broker.Caller) error
	master  func(http.ResponseWriter, *http.Request, broker.Master) error
}

// Routes are all there are, metrics and the pages under /login/ too.
func Routes() []Route { return (&server{}).table() }

func (s *server) table() []Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []Route{
		{Method: get, Path: brokerapi.PathDiscovery, Who: Anybody, open: s.discovery},
		{Method: get, Path: brokerapi.PathKeys, Who: Anybody, open: s.keys},
		{Method: get, Path: brokerapi.PathOpenAPI, Who: Anybody, open: s.openAPI},
		{Method: get, Path: brokerapi.PathConfig, Who: Anybody, open: s.config},
		{Method: get, Path: brokerapi.PathHealth, Who: Anybody, open: s.health},
		{Method: get, Path: brokerapi.PathReady, Who: Anybody, open: s.ready},
		{Method: get, Path: brokerapi.PathMetrics, Who: Anybody, open: s.metrics},

		{Method: post, Path: brokerapi.PathLogins, Who: Key, guess: true, keyed: s.beginLogin},
		{Method: post, Path: brokerapi.PathLoginMail, Who: Anybody, guess: true, open: s.proveMail},
		{Method: post, Path: brokerapi.PathLoginWallet, Who: Anybody, guess: true, open: s.proveWallet},
		{Method: post, Path: brokerapi.PathPasskeyBegin, Who: Anybody, guess: true, open: s.beginPasskey},
		{Method: post, Path: brokerapi.PathPasskeyEnd, Who: Anybody, guess: true, open: s.provePasskey},
		{Method: get, Path: brokerapi.PathGoogleReturn, Who: Anybody, open: s.googleReturn},
		{Method: post, Path: brokerapi.PathLoginSession, Who: Key, guess: true, keyed: s.endLogin},
		{Method: post, Path: brokerapi.PathEnrol, Who: Key, guess: true, keyed: s.enrol},
		{Method: get, Path: "/login/", Who: Anybody, open: s.pages},

		{Method: post, Path: brokerapi.PathSession, Who: Key, known: true, keyed: s.renew},
		{Method: del, Path: brokerapi.PathSession, Who: Session, session: s.logout},
		{Method: post, Path: brokerapi.PathToken, Who: Session, session: s.mint},
		{Method: get, Path: brokerapi.PathEvents, Who: Session, session: s.events},

		{Method: get, Path: brokerapi.PathDevices, Who: Master, master: s.devices},
		{Method: del, Path: brokerapi.PathDevice, Who: Master, master: s.revokeDevice},
		{Method: get, Path: brokerapi.PathAgents, Who: Master, master: s.agents},
		{Method: post, Path: brokerapi.PathAgents, Who: Master, master: s.createAgent},
		{Method: del, Path: brokerapi.PathAgent, Who: Master, master: s.removeAgent},
		{Method: post, Path: brokerapi.PathEnrolment, Who: Master, master: s.enrolment},
		{Method: get, Path: brokerapi.PathGrants, Who: Master, master: s.grants},
		{Method: put, Path: brokerapi.PathGrant, Who: Master, master: s.putGrant},
		{Method: del, Path: brokerapi.PathGrant, Who: Master, master: s.deleteGrant},
	}
}

// routes are those that are on.
func (s *server) routes() []Route {
	var on []Route
	for _, rt := range s.table() {
		if rt.Path != brokerapi.PathMetrics || s.o.Exposition != nil {
			on = append(on, rt)
		}
	}
	return on
}

// guard lets those through who have the standing of a route: the one place
// where that is decided. A route without a standing, or whose handler does not
// fit it, is an error.
func (s *server) guard(rt Route) (http.Handler, error) {
	var serve func(http.ResponseWriter, *http.Request) error
	switch {
	case rt.Who == Anybody && rt.open != nil:
		serve = rt.open
	case rt.Who == Key && rt.keyed != nil:
		serve = func(w http.ResponseWriter, r *http.Request) error {
			q, err := credentials(r)
			if err != nil {
				return err
			}
			prove := s.b.ProveKey
			if rt.known {
				prove = s.b.ProveDevice
			}
			key, err := prove(r.Context(), q)
			if err != nil {
				return err
			}
			return rt.keyed(w, r, key)
		}
	case rt.Who == Session && rt.session != nil:
		serve = func(w http.ResponseWriter, r *http.Request) error {
			c, err := s.caller(r)
			if err != nil {
				return err
			}
			return rt.session(w, r, c)
		}
	case rt.Who == Master && rt.master != nil:
		serve = func(w http.ResponseWriter, r *http.Request) error {
			c, err := s.caller(r)
			if err != nil {
				return err
			}
			m, err := c.Master()
			if err != nil {
				return err
			}
			return rt.master(w, r, m)
		}
	default:
		return nil, fmt.Errorf("%s %s: nobody may call it", rt.Method, rt.Path)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// First: a page must not use up what its visitor's logins are counted by.
		if s.cross.Check(r) != nil {
			s.fail(w, r, &brokerapi.Problem{
				Code: brokerapi.CodeForbidden, Status: http.StatusForbidden, Title: "The request comes from a page of another site",
			})
			return
		}
		if rt.guess && !s.attempt(w, r) {
			return
		}
		if err := serve(w, r); err != nil {
			s.fail(w, r, err)
		}
	}), nil
}

// attempt counts what could be a guess. It answers one that is one too many, and
// reports whether to go on.
func (s *server) attempt(w http.ResponseWriter, r *http.Request) bool {
	if s.o.Attempts == nil {
		return true
	}
	wait, ok := s.o.Attempts.Allow(peer(r))
	if !ok {
		webserve.WriteLimited(w, r, wait)
	}
	return ok
}

// peer is what limits count whoever asks by.
func peer(r *http.Request) string { return webserve.Subnet(webserve.Peer(r)) }

func (s *server) caller(r *http.Request) (broker.Caller, error) {
	q, err := credentials(r)
	if err != nil {
		return broker.Caller{}, err
	}
	if q.Token == "" {
		return broker.Caller{}, errNoSession
	}
	return s.b.Authenticate(r.Context(), q)
}

// credentials reads what a request proves itself with: at most one token, and
// at most one proof.
func credentials(r *http.Request) (broker.Request, error) {
	q := broker.Request{Method: r.Method, Path: r.URL.EscapedPath()}
	switch proofs := r.Header.Values("DPoP"); len(proofs) {
	case 0:
	case 1:
		q.Proof = proofs[0]
	default:
		return q, fmt.Errorf("%w: there are several", broker.ErrProof)
	}
	switch tokens := r.Header.Values("Authorization"); len(tokens) {
	case 0:
	case 1:
		scheme, raw, _ := strings.Cut(tokens[0], " ")
		if q.Token = strings.TrimSpace(raw); !strings.EqualFold(scheme, "DPoP") || q.Token == "" {
			return q, fmt.Errorf("%w: it is sent as Authorization: DPoP", broker.ErrSession)
		}
	default:
		return q, fmt.Errorf("%w: there are several", broker.ErrSession)
	}
	return q, nil
}
