// Package mailrouter owns what becomes of one arrived message: it reads as much
// of it as package mailroute needs, and has the store copy it to a wallet's
// inbox, or to where refused mail is kept. It depends on contracts only, knows
// no cloud and keeps nothing on disk.
//
// Laws:
//   - A message is copied to one place at most, once, as the bytes that were
//     decided on: every call names the version that was read. (Under the same
//     rules, that is, and if events that name recipients name the same.)
//   - Anything may be repeated: an event twice, late, or after a crash between
//     any two steps; it ends in the same one copy.
//   - Nothing is removed that is not durably copied and recorded.
//   - The body is never held: of a message of any size at most 256 KiB are
//     fetched, each byte once.
//   - Neither errors nor entries have mail text or a sender's address.
package mailrouter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
)

var (
	// ErrFlood: the limit of the wallet or of the sender is reached. It is
	// temporary: whoever brought the event brings it again, later.
	ErrFlood = errors.New("more mail than the limit allows; later")
	// ErrChanged: the message was replaced each time that it was read.
	ErrChanged = errors.New("the message keeps changing")
	// ErrStore: an answer that no store gives.
	ErrStore = errors.New("the mail store answers nonsense")
	// ErrOptions: Options that cannot work.
	ErrOptions = errors.New("bad mail router options")
)

const (
	// SetupNotification is what SES writes when a rule is made: no mail.
	SetupNotification = "AMAZON_SES_SETUP_NOTIFICATION"
	// starts is how often a message may change before it is left for later.
	starts = 3
	// recordTime is how long Record may take. It does not end with the
	// caller's context: what was done is recorded.
	recordTime = 10 * time.Second
)

// Options says what a Router works with.
type Options struct {
	Store mailstore.Arrived
	Rules *mailroute.Router
	// Record, if not nil, keeps an Entry for good; it is called once for each
	// Handle, by several goroutines at once. An entry may come twice, as an
	// event may.
	Record func(context.Context, Entry) error
	Limits Limits
	// RemoveSource removes from inbound/ what was copied. Ignored mail stays.
	RemoveSource bool
	Now          func() time.Time // nil: time.Now
}

// Event says that a message has arrived.
type Event struct {
	ID agentkeys.MessageID
	// Recipients are those of the envelope, if the notification names them.
	Recipients []string
}

// Router routes. It is safe for concurrent use, and several may work on one
// store.
type Router struct {
	o     Options
	flood *flood
}

// New checks o. Errors wrap ErrOptions.
func New(o Options) (*Router, error) {
	if o.Store == nil || o.Rules == nil {
		return nil, fmt.Errorf("%w: no store or no rules", ErrOptions)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f, err := newFlood(o.Limits)
	if err != nil {
		return nil, err
	}
	return &Router{o: o, flood: f}, nil
}

// Handle deals with one event. An error is temporary: the event is to be
// brought again, and nothing needs to be undone first. The Entry says what was
// done all the same. The one exception is a zero id, mailstore.ErrInvalid,
// which no event has and of which there is no entry.
//
// How long it may take is for ctx to say.
func (r *Router) Handle(ctx context.Context, ev Event) (Entry, error) {
	if ev.ID.IsZero() {
		return Entry{}, mailstore.ErrInvalid
	}
	e := Entry{Time: r.o.Now().UTC(), ID: ev.ID}
	err := r.route(ctx, ev, &e)
	if rerr := r.record(ctx, e); rerr != nil {
		return e, errors.Join(err, fmt.Errorf("recording mail: %w", rerr))
	}
	if err != nil || !r.o.RemoveSource || !e.copied() {
		return e, err
	}
	// Last of all, so that nothing is gone of which there is no record. If this
	// is as far as it gets, the next time finds the copy and comes back here.
	if err := r.o.Store.Remove(ctx, ev.ID); err != nil {
		return e, fmt.Errorf("removing mail that was copied: %w", err)
	}
	return e, nil
}

func (r *Router) record(ctx context.Context, e Entry) error {
	if r.o.Record == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	return r.o.Record(ctx, e)
}

// route sets the outcome of e. An error means Deferred, and the other way round.
func (r *Router) route(ctx context.Context, ev Event, e *Entry) error {
	if ev.ID.String() == SetupNotification {
		e.Outcome, e.Reason = Ignored, ReasonSetup
		return nil
	}
	err := mailstore.ErrChanged
	for n := 0; n < starts && errors.Is(err, mailstore.ErrChanged); n++ {
		err = r.once(ctx, ev, e)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mailstore.ErrGone):
		// Removed by whoever came first, or by its age: either way nothing is
		// left to do, and to ask again would be in vain.
		e.Outcome, e.Reason = Gone, ""
		return nil
	case errors.Is(err, ErrFlood):
		e.Outcome = Deferred // the reason is there
	case errors.Is(err, mailstore.ErrChanged):
		e.Outcome, e.Reason = Deferred, ReasonChanged
		err = ErrChanged
	case ctx.Err() != nil:
		e.Outcome, e.Reason = Deferred, ReasonCancelled
	default:
		e.Outcome, e.Reason = Deferred, ReasonStore
	}
	return err
}

// once reads, decides and copies, all at one version of the message.
func (r *Router) once(ctx context.Context, ev Event, e *Entry) error {
	e.Reason, e.By, e.Wallet, e.Tag = "", "", agentkeys.Wallet{}, ""
	d, v, head, err := r.decide(ctx, ev, e)
	if err != nil {
		return err
	}
	e.Reason, e.By, e.Wallet, e.Tag = d.Reason, d.By, d.Address.Wallet(), d.Address.Tag()
	switch d.Outcome {
	case mailroute.Ignore:
		e.Outcome = Ignored
		return nil
	case mailroute.Route:
		if e.Size > mailstore.MaxMessage {
			return r.refuse(ctx, v, ReasonTooLarge, e)
		}
		return r.place(ctx, v, d, senderOf(head, d.Sender), e)
	case mailroute.Refuse:
		return r.refuse(ctx, v, d.Reason, e)
	}
	return fmt.Errorf("%w: a decision that is none", ErrStore)
}

func (r *Router) place(ctx context.Context, v mailstore.Version, d mailroute.Decision, sender string, e *Entry) error {
	settle, over := r.flood.admit(r.o.Now(), e.ID, d.Address.Wallet(), sender)
	if over != "" {
		e.Reason = over
		return ErrFlood
	}
	created, err := r.o.Store.Place(ctx, e.ID, v, d.Address.Wallet())
	settle(err == nil && created)
	if err != nil {
		return fmt.Errorf("placing mail: %w", err)
	}
	e.Outcome = Already
	if created {
		e.Outcome = Placed
	}
	return nil
}

func (r *Router) refuse(ctx context.Context, v mailstore.Version, reason string, e *Entry) error {
	e.Reason = reason
	if _, err := r.o.Store.Refuse(ctx, e.ID, v, reason); err != nil {
		return fmt.Errorf("refusing mail: %w", err)
	}
	e.Outcome = Refused
	return nil
}
