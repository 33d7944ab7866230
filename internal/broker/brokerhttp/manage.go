package brokerhttp

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/webserve"
)

func malformed(detail string) error {
	return &brokerapi.Problem{Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed", Detail: detail}
}

func (s *server) devices(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	all, err := s.b.Devices(r.Context(), m)
	return answer(w, all, err)
}

func (s *server) revokeDevice(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	err := s.b.RevokeDevice(r.Context(), m, r.PathValue("device"))
	if errors.Is(err, broker.ErrDevice) { // the one that is named, not the one that asks
		return &brokerapi.Problem{Code: brokerapi.CodeNotFound, Status: http.StatusNotFound, Title: "There is no such device"}
	}
	return done(w, err)
}

func (s *server) agents(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	all, err := s.b.Agents(r.Context(), m)
	return answer(w, all, err)
}

func (s *server) createAgent(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	var q brokerapi.AgentRequest
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	a, err := s.b.CreateAgent(r.Context(), m, q.Label)
	return answer(w, a, err)
}

// label is the agent in the path.
func label(r *http.Request) (agentkeys.Agent, error) {
	a, err := agentkeys.ParseAgent(r.PathValue("agent"))
	if err != nil {
		return a, malformed(err.Error())
	}
	return a, nil
}

func (s *server) removeAgent(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	a, err := label(r)
	if err != nil {
		return err
	}
	return done(w, s.b.RemoveAgent(r.Context(), m, a))
}

func (s *server) enrolment(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	a, err := label(r)
	if err != nil {
		return err
	}
	e, err := s.b.Enrolment(r.Context(), m, a)
	return answer(w, e, err)
}

func (s *server) grants(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	all, err := s.b.Grants(r.Context(), m)
	return answer(w, all, err)
}

// lent is the agent and the service in the path.
func lent(r *http.Request) (agentkeys.Agent, agentkeys.Service, error) {
	a, err := label(r)
	if err != nil {
		return a, agentkeys.Service{}, err
	}
	svc, err := agentkeys.ParseService(r.PathValue("service"))
	if err != nil {
		return a, svc, malformed(err.Error())
	}
	return a, svc, nil
}

func (s *server) putGrant(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	a, svc, err := lent(r)
	if err != nil {
		return err
	}
	var terms brokerapi.Terms
	if err := webserve.DecodeJSON(r, &terms); err != nil {
		return err
	}
	g, err := s.b.PutGrant(r.Context(), m, a, svc, terms)
	return answer(w, g, err)
}

func (s *server) deleteGrant(w http.ResponseWriter, r *http.Request, m broker.Master) error {
	a, svc, err := lent(r)
	if err != nil {
		return err
	}
	return done(w, s.b.DeleteGrant(r.Context(), m, a, svc))
}

// mint is the token exchange of RFC 8693, in which the session is both what is
// exchanged and what authorises it.
func (s *server) mint(w http.ResponseWriter, r *http.Request, c broker.Caller) error {
	const kind, subject, subjectType, requested = "grant_type", "subject_token", "subject_token_type", "requested_token_type"
	q, err := webserve.Form(r, kind, subject, subjectType, requested, brokerapi.ParamAudience, brokerapi.ParamWallet, brokerapi.ParamLifetime)
	if err != nil {
		return err
	}
	_, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, has := q[requested]
	switch {
	case q[kind] != brokerapi.GrantTokenExchange:
		return malformed("grant_type is " + brokerapi.GrantTokenExchange)
	case q[subjectType] != brokerapi.TypeAccessToken:
		return malformed("subject_token_type is " + brokerapi.TypeAccessToken)
	case subtle.ConstantTimeCompare([]byte(q[subject]), []byte(strings.TrimSpace(raw))) != 1:
		return malformed("subject_token is the session itself")
	case has && want != brokerapi.TypeJWT:
		return malformed("requested_token_type is " + brokerapi.TypeJWT)
	}
	m := broker.MintRequest{Audience: q[brokerapi.ParamAudience]}
	if text, ok := q[brokerapi.ParamWallet]; ok {
		if m.Wallet, err = agentkeys.ParseWallet(text); err != nil {
			return malformed(err.Error())
		}
	}
	if text, ok := q[brokerapi.ParamLifetime]; ok {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return malformed("lifetime is a number of seconds, 60 to 900")
		}
		m.Lifetime = time.Duration(n) * time.Second
	}
	t, err := s.b.Mint(r.Context(), c, m)
	if err == nil {
		w.Header().Set("Pragma", "no-cache") // RFC 6749, section 5.1
	}
	return answer(w, t, err)
}
