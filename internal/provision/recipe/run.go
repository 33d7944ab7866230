package recipe

import (
	"context"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// Run is one way through a recipe. All fields but Note, Shot and Sleep are
// needed.
type Run struct {
	Recipe *catalog.Recipe
	Page   Page
	// Value answers what a field is filled with; not asked for ValueText. The
	// engine clears it.
	Value func(context.Context, catalog.Value) (secret.Value, error)
	// Mail waits for the mail of this run, for as long as timeout. accept is
	// link, code or both. It is called again where a mail's link was of no use,
	// and does not bring the same mail twice.
	Mail func(ctx context.Context, accept []string, timeout time.Duration) (Mail, error)
	// Human has a person do something; look tells whether it is done by now, and
	// is called from its goroutine alone. It returns nil when look said so, and
	// ErrHuman wrapped where nobody is there. At Google it is look that clicks,
	// once: what the person may reach is to be open by its first call.
	Human func(ctx context.Context, need Need, look func(context.Context) (bool, error)) error
	// CheckKey reports whether something looks like a key of the service.
	CheckKey func([]byte) error
	// Begin is called before a step is done and End after it; their errors end
	// the run. A step that is passed over has neither.
	Begin func(context.Context, Event) error
	End   func(context.Context, Event) error
	// Made says that an earlier run may have made a key: steps that clean are
	// done then.
	Made bool
	// Shot, if set, is called when a step fails, before Stage returns.
	Shot func(context.Context, Event)
	// Sleep waits between two looks; nil: time.Sleep that ends with the context.
	Sleep func(context.Context, time.Duration) error
}

// Mail is what a mail brought: a link, a code, or both.
type Mail struct {
	ID         agentkeys.MessageID
	Link, Code secret.Value
}

// Clear forgets both.
func (m Mail) Clear() {
	m.Link.Clear()
	m.Code.Clear()
}

// Need is what a person is wanted for.
type Need struct {
	What string // captcha, card, google-account, phone, support or terms
	Step string
	Note string // of the recipe; never of the page
	Host string // where the page is
}

// Stage names a part of a recipe.
type Stage string

// The stages there are.
const (
	StageRegister Stage = "register"
	StageLogin    Stage = "login"
	StageKey      Stage = "key"
)

// Event is a step that begins or ends.
type Event struct {
	Stage   Stage
	Step    string
	Pattern catalog.StepPattern
	Makes   string // as of the step
	Index   int    // from 0, in its stage
	Total   int    // steps of the stage
	Took    time.Duration
	Mail    time.Duration // of Took: waiting for mail
	Human   time.Duration // of Took: waiting for a person
	Err     error         // End only: why it failed, a *Failure
}

// Kind says why a step failed. Kinds are stable: they are in the journal, the
// audit log and in scripts.
type Kind string

// The kinds of failure.
const (
	Missing   Kind = "missing"    // nothing on the page fits, in time
	Ambiguous Kind = "ambiguous"  // several things fit
	Unusable  Kind = "unusable"   // what fits stays disabled, or covered
	OffHost   Kind = "off-host"   // the page leads elsewhere
	NoLoad    Kind = "no-load"    // the page cannot be loaded, or answers with an error
	BotCheck  Kind = "bot-check"  // and nobody is there to answer it
	NeedHuman Kind = "need-human" // phone, card, terms, sign-in at Google, and nobody is there
	NoMail    Kind = "no-mail"
	NoKey     Kind = "no-key" // what is there does not look like a key of the service
	Exists    Kind = "account-exists"
	NoAccount Kind = "no-account"
	Limited   Kind = "rate-limited"
	Closed    Kind = "closed"
	Wrong     Kind = "wrong-input"
	Browser   Kind = "browser" // it is gone
	Stopped   Kind = "stopped" // the context ended, or Begin or End said no
)

// Failure is the typed failure of a step.
type Failure struct {
	Stage Stage
	Step  string
	Kind  Kind
	Host  string // where the page was, "" if nowhere
	Need  Need   // for BotCheck and NeedHuman
	Err   error
}

// Error names step and kind, and nothing of the page but its host.
func (f *Failure) Error() string {
	text := fmt.Sprintf("step %s of %s: %s", f.Step, f.Stage, f.Kind)
	if f.Host != "" {
		text += " on " + f.Host
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }
