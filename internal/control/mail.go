package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailbox"
)

// MailAddressRequest asks for an address to sign up with.
type MailAddressRequest struct {
	Service agentkeys.Service `json:"service"`
	Agent   agentkeys.Agent   `json:"agent,omitzero"`
}

func (s *Server) makeMailAddress(r *http.Request) (any, error) {
	var req MailAddressRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Service.IsZero() {
		return nil, fmt.Errorf("%w: an address is for a service", ErrRequest)
	}
	return s.host.MailAddress(req.Service, req.Agent)
}

// mailQuery reads agent, place and limit.
func mailQuery(r *http.Request) (q local.MailQuery, err error) {
	v := r.URL.Query()
	if a := v.Get("agent"); a != "" {
		if q.Agent, err = agentkeys.ParseAgent(a); err != nil {
			return q, err
		}
	}
	q.Place = local.Place(v.Get("place"))
	if n := v.Get("limit"); n != "" {
		if q.Limit, err = strconv.Atoi(n); err != nil {
			return q, fmt.Errorf("%w: limit is a number", ErrRequest)
		}
	}
	return q, nil
}

func mailValues(q local.MailQuery) url.Values {
	v := url.Values{}
	if !q.Agent.IsZero() {
		v.Set("agent", q.Agent.String())
	}
	if q.Place != "" {
		v.Set("place", string(q.Place))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

func (s *Server) listMail(r *http.Request) (any, error) {
	q, err := mailQuery(r)
	if err != nil {
		return nil, err
	}
	return s.host.Mails(r.Context(), q)
}

// oneMail answers a request about one message.
func oneMail[T any](r *http.Request, f func(context.Context, local.MailQuery, agentkeys.MessageID) (T, error)) (any, error) {
	q, err := mailQuery(r)
	if err != nil {
		return nil, err
	}
	id, err := agentkeys.ParseMessageID(r.PathValue("message"))
	if err != nil {
		return nil, err
	}
	return f(r.Context(), q, id)
}

func (s *Server) showMail(r *http.Request) (any, error) { return oneMail(r, s.host.Mail) }

func (s *Server) revealMail(r *http.Request) (any, error) { return oneMail(r, s.host.RevealMail) }

// MailLine is one line of the answer to a wait: what was seen, or what was
// found. The last has Found.
type MailLine struct {
	Seen  *MailSeen        `json:"seen,omitempty"`
	Found *local.MailFound `json:"found,omitempty"`
}

// MailSeen is what there is to tell after a look into the inbox.
type MailSeen struct {
	mailbox.Tally
	Error string `json:"error,omitempty"`
}

func (s *Server) waitMail(r *http.Request) (any, error) {
	var req local.MailWait
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return stream(func(w http.ResponseWriter, flush func()) error {
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		found, err := s.host.WaitMail(r.Context(), req, func(seen mailbox.Seen) {
			line := MailSeen{Tally: seen.Tally}
			if seen.Err != nil {
				line.Error = seen.Err.Error()
			}
			_ = enc.Encode(MailLine{Seen: &line})
			flush()
		})
		if err != nil {
			return err
		}
		return enc.Encode(MailLine{Found: &found})
	}), nil
}

// MailAddress makes an address to sign up with.
func (c *Client) MailAddress(ctx context.Context, r MailAddressRequest) (out local.MailAddress, err error) {
	return out, c.call(ctx, "POST", "/v1/mail-addresses", r, &out)
}

// Mails lists the newest messages of a place.
func (c *Client) Mails(ctx context.Context, q local.MailQuery) (out []local.MailInfo, err error) {
	return out, c.call(ctx, "GET", "/v1/mail?"+mailValues(q).Encode(), nil, &out)
}

// Mail tells of one message.
func (c *Client) Mail(ctx context.Context, q local.MailQuery, id agentkeys.MessageID) (out local.MailInfo, err error) {
	return out, c.call(ctx, "GET", "/v1/mail/"+id.String()+"?"+mailValues(q).Encode(), nil, &out)
}

// RevealMail is Mail with the text, the link and the code.
func (c *Client) RevealMail(ctx context.Context, q local.MailQuery, id agentkeys.MessageID) (out local.MailText, err error) {
	return out, c.call(ctx, "POST", "/v1/mail/"+id.String()+"/reveal?"+mailValues(q).Encode(), nil, &out)
}

// WaitMail waits for the message of a sign-up.
func (c *Client) WaitMail(ctx context.Context, q local.MailWait, progress func(MailSeen)) (found local.MailFound, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return found, err
	}
	err = c.lines(ctx, "POST", "/v1/mail-waits", bytes.NewReader(body), func(b []byte) error {
		var l MailLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		switch {
		case l.Found != nil:
			found = *l.Found
		case l.Seen != nil:
			progress(*l.Seen)
		}
		return nil
	})
	if err == nil && found.ID.IsZero() {
		err = errors.New("agentkeys ended before the message came")
	}
	return found, err
}
