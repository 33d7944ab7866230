package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// Place is where a message is.
type Place string

// The places there are. Inbound and Refused are shown by who receives mail
// itself; in a cloud they are the operator's.
const (
	PlaceInbox   Place = "inbox"
	PlaceInbound Place = "inbound" // not a wallet's, or still to be sorted
	PlaceRefused Place = "refused"
)

// ErrPlace: a place that there is not, or not here.
var ErrPlace = errors.New("there is no such place here")

const (
	// MaxMails is the largest limit of Mails.
	MaxMails = 200
	// maxShown is how much of a message is read to tell what it is.
	maxShown = verifymail.MaxMessage
	// readers is how many messages are read at once.
	readers = 8
)

// MailInfo is what can be told of a message without its text: what came, where
// it went, and why.
type MailInfo struct {
	ID    agentkeys.MessageID `json:"id"`
	Place Place               `json:"place"`
	At    time.Time           `json:"at"`   // when it came there
	Size  int64               `json:"size"` // in bytes

	// Decision, By and Reason are the router's.
	Decision mailroute.Outcome `json:"decision,omitempty"`
	By       string            `json:"by,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	// Address is that it is for, if it is a wallet's, and Service the one whose
	// tag that has.
	Address string            `json:"address,omitempty"`
	Service agentkeys.Service `json:"service,omitzero"`

	Verdicts verifymail.Verdicts `json:"verdicts"`
	// Has is what a sign-up would take out of it; without it, Why says why not.
	Has verifymail.Kind   `json:"has,omitempty"`
	Why verifymail.Reason `json:"why,omitempty"`
	// Error is why the message could not be read.
	Error string `json:"error,omitempty"`
}

// MailQuery says which messages are meant.
type MailQuery struct {
	Agent agentkeys.Agent `json:"agent,omitzero"` // whose; zero: the owner
	Place Place           `json:"place,omitempty"`
	Limit int             `json:"limit,omitempty"`
}

// Mails lists the newest messages of a place, newest first.
func (h *Host) Mails(ctx context.Context, q MailQuery) ([]MailInfo, error) {
	if q.Limit < 1 || q.Limit > MaxMails {
		return nil, fmt.Errorf("%w: a listing has 1 to %d messages", ErrMailSettings, MaxMails)
	}
	s, err := h.shelf(q)
	if err != nil {
		return nil, err
	}
	items, err := s.newest(ctx, q.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]MailInfo, len(items))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, item := range items {
		g.Go(func() error {
			info, err := s.info(ctx, item)
			if err != nil && ctx.Err() == nil {
				info.Error = err.Error() // of one: the others are there
				err = nil
			}
			out[i] = info
			return err
		})
	}
	return out, g.Wait()
}

// MailText is a message with its text.
type MailText struct {
	MailInfo
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	Links   []string `json:"links,omitempty"`
	// Link or Code is what a sign-up would take out of it.
	Link string `json:"link,omitempty"`
	Code string `json:"code,omitempty"`
	Raw  []byte `json:"raw"` // the message, byte for byte
}

// Mail tells of one message. mailstore.ErrGone.
func (h *Host) Mail(ctx context.Context, q MailQuery, id agentkeys.MessageID) (MailInfo, error) {
	s, err := h.shelf(q)
	if err != nil {
		return MailInfo{}, err
	}
	item, err := s.item(ctx, id)
	if err != nil {
		return MailInfo{}, err
	}
	return s.info(ctx, item)
}

// RevealMail is Mail with everything in it, which may be a code or a link that
// opens an account: so it is on record first.
func (h *Host) RevealMail(ctx context.Context, q MailQuery, id agentkeys.MessageID) (MailText, error) {
	s, err := h.shelf(q)
	if err != nil {
		return MailText{}, err
	}
	item, err := s.item(ctx, id)
	if err != nil {
		return MailText{}, err
	}
	if err := h.recordRead(ctx, q.Agent, agentkeys.Service{}, id); err != nil {
		return MailText{}, err
	}
	raw, err := s.fetch(ctx, item)
	if err != nil {
		return MailText{}, err
	}
	out := MailText{Raw: raw}
	var found verifymail.Result
	out.MailInfo, found = s.describe(item, raw)
	defer found.Link.Clear()
	defer found.Code.Clear()
	out.Link, out.Code = string(found.Link.Expose()), string(found.Code.Expose())
	r := verifymail.Read(raw)
	out.Subject, out.Text, out.Links = r.Subject, r.Text, r.Links
	return out, nil
}

func (h *Host) recordRead(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, id agentkeys.MessageID) error {
	e := grant.Event{Time: h.now().UTC(), Op: "mail.read", Actor: h.wallet, Agent: label, Svc: svc, Subject: id.String(), Decision: grant.Allowed}
	if err := h.audit.Record(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w", e.Op, err)
	}
	return nil
}

// shelf is one place of messages, as its owner looks at it.
type shelf struct {
	h     *Host
	place Place
	owner agentkeys.Wallet
	route *mailroute.Router
	byTag map[string]*catalog.Entry
}

func (h *Host) shelf(q MailQuery) (*shelf, error) {
	w, err := h.mailWallet(q.Agent)
	if err != nil {
		return nil, err
	}
	s := &shelf{h: h, place: cmp.Or(q.Place, PlaceInbox), owner: w}
	switch s.place {
	case PlaceInbox:
	case PlaceInbound, PlaceRefused:
		if h.mail.dir == nil {
			return nil, fmt.Errorf("%w: what was not sorted is the operator's to look at", ErrPlace)
		}
	default:
		return nil, ErrPlace
	}
	if s.byTag, err = h.cat.byTag(); err != nil {
		return nil, err
	}
	s.route, err = mailroute.New(mailroute.Rules{Domains: []string{h.mail.Domain}, Tags: slices.Sorted(maps.Keys(s.byTag)), Receivers: []mailhead.Receiver{h.mail.Receiver}})
	return s, err
}

// all goes through all of it, in no order.
func (s *shelf) all(ctx context.Context) iter.Seq2[mailstore.Item, error] {
	switch s.place {
	case PlaceInbound:
		return s.h.mail.dir.WalkWaiting(ctx)
	case PlaceRefused:
		return s.h.mail.dir.WalkRefused(ctx)
	}
	return mailbox.List(ctx, s.h.mail.Inbox, s.owner)
}

// newest keeps as many as are asked for, however many there are.
func (s *shelf) newest(ctx context.Context, limit int) ([]mailstore.Item, error) {
	var kept []mailstore.Item
	byAge := func(a, b mailstore.Item) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID.String(), a.ID.String()))
	}
	for item, err := range s.all(ctx) {
		if err != nil {
			return nil, err
		}
		kept = append(kept, item)
		if len(kept) == 4*limit {
			slices.SortFunc(kept, byAge)
			kept = kept[:limit]
		}
	}
	slices.SortFunc(kept, byAge)
	return kept[:min(limit, len(kept))], nil
}

func (s *shelf) item(ctx context.Context, id agentkeys.MessageID) (mailstore.Item, error) {
	switch s.place {
	case PlaceInbound:
		return s.h.mail.dir.StatWaiting(ctx, id)
	case PlaceRefused:
		return s.h.mail.dir.StatRefused(ctx, id)
	}
	return mailbox.Stat(ctx, s.h.mail.Inbox, s.owner, id)
}

// fetch reads a message of up to maxShown bytes.
func (s *shelf) fetch(ctx context.Context, item mailstore.Item) ([]byte, error) {
	switch s.place {
	case PlaceInbound:
		p, err := s.h.mail.dir.Read(ctx, item.ID, 0, maxShown+1, "")
		if err == nil && p.Size > maxShown {
			err = mailstore.ErrTooLarge
		}
		return p.Data, err
	case PlaceRefused:
		return s.h.mail.dir.FetchRefused(ctx, item.Reason, item.ID, maxShown)
	}
	return s.h.mail.Inbox.Fetch(ctx, s.owner, item.ID, maxShown)
}

func (s *shelf) info(ctx context.Context, item mailstore.Item) (MailInfo, error) {
	raw, err := s.fetch(ctx, item)
	if err != nil {
		return MailInfo{ID: item.ID, Place: s.place, At: item.At, Size: item.Size, Reason: item.Reason}, err
	}
	info, found := s.describe(item, raw)
	found.Link.Clear()
	found.Code.Clear()
	return info, nil
}

// describe answers again what the router and a sign-up answer.
func (s *shelf) describe(item mailstore.Item, raw []byte) (MailInfo, verifymail.Result) {
	d := s.route.Decide(raw, true, nil)
	info := MailInfo{
		ID: item.ID, Place: s.place, At: item.At, Size: item.Size,
		Decision: d.Outcome, By: d.By, Reason: cmp.Or(item.Reason, d.Reason),
		Verdicts: verifymail.Verdict(raw, s.h.mail.Receiver),
	}
	if d.Outcome != mailroute.Route {
		return info, verifymail.Result{}
	}
	info.Address = d.Address.At(s.h.mail.Domain)
	e := s.byTag[d.Address.Tag()]
	if e == nil {
		return info, verifymail.Result{}
	}
	info.Service = e.ID
	rules, err := MailRules(e, s.h.mail.Receiver, MailHints{})
	if err != nil {
		info.Why = verifymail.BadRules
		return info, verifymail.Result{}
	}
	found, err := verifymail.Extract(raw, verifymail.Query{To: d.Address, Domain: s.h.mail.Domain}, rules)
	if r, ok := errors.AsType[*verifymail.Refusal](err); ok {
		info.Why = r.Reason
	}
	info.Has = found.Kind
	return info, found
}

// MailWait says which message is waited for.
type MailWait struct {
	Service agentkeys.Service `json:"service"`
	Agent   agentkeys.Agent   `json:"agent,omitzero"`
	Address string            `json:"address"`
	// Since is when the run began; zero: when the address was made.
	Since   time.Time       `json:"since,omitzero"`
	Timeout int64           `json:"timeout_seconds"`
	Want    verifymail.Kind `json:"want,omitempty"`
	Reveal  bool            `json:"reveal,omitempty"`
	// Known are messages that were there before the run began, which do not
	// count.
	Known []agentkeys.MessageID `json:"known,omitempty"`
	MailHints
}

// MailFound is the message that was waited for. Link or Code is there if it was
// to be revealed.
type MailFound struct {
	ID   agentkeys.MessageID `json:"id"`
	At   time.Time           `json:"at"`
	Kind verifymail.Kind     `json:"kind"`
	Host string              `json:"host,omitempty"` // of the link
	Link string              `json:"link,omitempty"`
	Code string              `json:"code,omitempty"`
}

// MaxMailWait bounds a wait.
const MaxMailWait = time.Hour

// WaitMail waits for the message of one sign-up. A *mailbox.Timeout says what
// came instead.
func (h *Host) WaitMail(ctx context.Context, q MailWait, progress func(mailbox.Seen)) (MailFound, error) {
	w, err := h.mailWallet(q.Agent)
	if err != nil {
		return MailFound{}, err
	}
	e, err := h.cat.entry(q.Service)
	if err != nil {
		return MailFound{}, err
	}
	rules, err := MailRules(e, h.mail.Receiver, q.MailHints)
	if err != nil {
		return MailFound{}, err
	}
	to, domain, err := mailroute.ParseAddress(q.Address)
	switch {
	case err != nil:
		return MailFound{}, fmt.Errorf("%w: it has not the form of one", ErrMailAddress)
	case to.Wallet() != w:
		return MailFound{}, fmt.Errorf("%w: it is that of %s", ErrMailAddress, to.Wallet())
	case !strings.EqualFold(domain, h.mail.Domain):
		return MailFound{}, fmt.Errorf("%w: its domain is not %s", ErrMailAddress, h.mail.Domain)
	}
	if q.Timeout <= 0 || q.Timeout > int64(MaxMailWait/time.Second) {
		return MailFound{}, fmt.Errorf("%w: mail is waited for up to %s", ErrMailSettings, MaxMailWait)
	}
	since := q.Since
	if made, ok := to.Made(); since.IsZero() && ok {
		since = made
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(q.Timeout)*time.Second)
	defer cancel()
	found, err := mailbox.Wait(ctx, mailbox.Options{
		Inbox: h.mail.Inbox, Wallet: w, Service: q.Service, Rules: rules, Known: q.Known, Progress: progress,
		Query:     verifymail.Query{To: to, Domain: h.mail.Domain, NotBefore: since, Want: q.Want},
		Permanent: func(err error) bool { return errors.Is(err, ErrRefusedAway) || errors.Is(err, ErrLoggedOut) },
	})
	if err != nil {
		return MailFound{}, err
	}
	defer found.Result.Link.Clear()
	defer found.Result.Code.Clear()
	out := MailFound{ID: found.Item.ID, At: found.Item.At, Kind: found.Result.Kind, Host: found.Result.Host}
	if q.Reveal {
		if err := h.recordRead(ctx, q.Agent, q.Service, out.ID); err != nil {
			return MailFound{}, err
		}
		out.Link, out.Code = string(found.Result.Link.Expose()), string(found.Result.Code.Expose())
	}
	return out, nil
}
