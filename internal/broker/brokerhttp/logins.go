package brokerhttp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/strictjson"
	"github.com/litentry/agentkeys/internal/webserve"
)

// answer writes what a handler came to.
func answer[T any](w http.ResponseWriter, v T, err error) error {
	if err != nil {
		return err
	}
	webserve.WriteJSON(w, http.StatusOK, v)
	return nil
}

// done answers that there is nothing to say.
func done(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) beginLogin(w http.ResponseWriter, r *http.Request, key broker.DeviceKey) error {
	var q brokerapi.LoginRequest
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	login, err := s.b.BeginLogin(r.Context(), key, peer(r), q)
	return answer(w, login, err)
}

func (s *server) proveMail(w http.ResponseWriter, r *http.Request) error {
	var q brokerapi.MailProof
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	h, err := s.b.ProveMail(r.Context(), r.PathValue("id"), q.Token)
	return answer(w, h, err)
}

func (s *server) proveWallet(w http.ResponseWriter, r *http.Request) error {
	var q brokerapi.WalletProof
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	h, err := s.b.ProveWallet(r.Context(), r.PathValue("id"), q)
	return answer(w, h, err)
}

func (s *server) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	var q brokerapi.PasskeyBegin
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	options, err := s.b.BeginPasskey(r.Context(), r.PathValue("id"), q.Register)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(options)
	return nil
}

func (s *server) provePasskey(w http.ResponseWriter, r *http.Request) error {
	body, err := webserve.Body(r)
	if err != nil {
		return err
	}
	// The names are WebAuthn's, not ours.
	if err := strictjson.Unique(body); err != nil {
		return &brokerapi.Problem{Code: brokerapi.CodeRequest, Status: http.StatusBadRequest, Title: "The request is malformed", Detail: err.Error()}
	}
	h, err := s.b.ProvePasskey(r.Context(), r.PathValue("id"), body)
	return answer(w, h, err)
}

func (s *server) endLogin(w http.ResponseWriter, r *http.Request, key broker.DeviceKey) error {
	var q brokerapi.HandoffProof
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	session, err := s.b.EndLogin(r.Context(), key, r.PathValue("id"), q.Code, q.Device)
	return answer(w, session, err)
}

func (s *server) enrol(w http.ResponseWriter, r *http.Request, key broker.DeviceKey) error {
	var q brokerapi.EnrolRequest
	if err := webserve.DecodeJSON(r, &q); err != nil {
		return err
	}
	session, err := s.b.Enrol(r.Context(), key, q.Code, q.Device)
	return answer(w, session, err)
}

func (s *server) renew(w http.ResponseWriter, r *http.Request, key broker.DeviceKey) error {
	session, err := s.b.Renew(r.Context(), key)
	return answer(w, session, err)
}

func (s *server) logout(w http.ResponseWriter, r *http.Request, c broker.Caller) error {
	return done(w, s.b.Logout(r.Context(), c))
}

// googleReturn ends the browser's way through the provider. It answers with
// pages, for a person looks at it.
func (s *server) googleReturn(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet { // HEAD, which must not consume anything
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	q, err := once(r.URL.RawQuery)
	if err != nil {
		s.o.Pages.Refused(w, r, http.StatusBadRequest)
		return nil
	}
	back := broker.Return{State: q["state"], Code: q["code"], Issuer: q["iss"], Error: q["error"]}
	var id string
	var h brokerapi.Handoff
	// Any page can send its visitor's browser here: what is of no login is not
	// counted, and costs no more than a look.
	if err = s.b.Awaits(r.Context(), back); err == nil {
		if !s.attempt(w, r) {
			return nil
		}
		id, h, err = s.b.ProveProvider(r.Context(), back)
	}
	switch {
	case errors.Is(err, broker.ErrLogin):
		s.o.Pages.Refused(w, r, http.StatusForbidden)
	case err != nil:
		s.o.Log.Error("request failed", "request", webserve.RequestID(r.Context()), "err", err)
		s.o.Pages.Refused(w, r, http.StatusServiceUnavailable)
	case h.LoopbackPort != 0:
		u := fmt.Sprintf("http://127.0.0.1:%d/login?%s", h.LoopbackPort, url.Values{"login": {id}, "code": {h.Code}}.Encode())
		w.Header().Set("Location", u)
		w.WriteHeader(http.StatusSeeOther)
	default:
		s.o.Pages.Code(w, r, h.Code)
	}
	return nil
}

// once parses a query in which no parameter may stand twice.
func once(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, v := range values {
		if len(v) != 1 {
			return nil, errors.New("a parameter stands twice")
		}
		out[name] = v[0]
	}
	return out, nil
}
