package catalog

import (
	"net/url"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// Entry is what is known about one service. README.md explains each field
// under the name it has in a file.
type Entry struct {
	ID      agentkeys.Service
	Name    string // as the vendor writes it
	Summary string // one line
	Aliases []string
	Docs    *url.URL

	// Base is what the paths of rules and grants are relative to, without a
	// trailing slash. Its host is the only one that is lent.
	Base *url.URL
	// Hosts are further hosts of the service, which are not lent.
	Hosts []Host

	Inject  []Placement
	Headers []ConstHeader
	Strip   Strip
	Env     Env
	Key     Key
	Verify  Verify

	Allow []grant.Rule
	Shut  []grant.Rule

	Usage       UsageSpec
	Stream      Stream
	RateHeaders Fact[[]string] // lower case; a trailing * stands for any rest

	Terms   Terms
	Doors   map[Door]DoorFact // every Door is in it
	MailTag Fact[string]
	Mail    Fact[Mail]
	// Federation, Minting and Recipe are what the doors need to know; nil:
	// nothing that could be built on.
	Federation *Federation
	Minting    *Minting
	Recipe     *Recipe
	Sources    []Source
	LiveTested string // "never", or a date

	// Owner is what the owner of the key has set; see With.
	Owner Settings
}

// Policy is what the service allows anybody.
func (e *Entry) Policy() grant.Policy { return grant.Policy{Allow: e.Allow, Shut: e.Shut} }

// Host is a host that belongs to a service and is not lent.
type Host struct {
	URL *url.URL
	Why string
}

// Placement is one place where a request carries the key: a header, with what
// stands before the key, or a query parameter.
type Placement struct {
	Header string // canonical, "" if Query is set
	Prefix string
	Query  string
}

// ConstHeader is a header that the service demands beside the key.
type ConstHeader struct {
	Name, Value string
	// IfAbsent leaves a value of the agent's alone.
	IfAbsent bool
	// Merge adds the value to the agent's, which are a list (RFC 9110 section
	// 5.6.1). Not with IfAbsent.
	Merge bool
}

// Strip is what is removed from an agent's request, beyond what is removed
// from every request, because the service would take it as a credential or as
// a choice that belongs to the owner of the key.
type Strip struct {
	Headers []string // canonical
	Query   []string
}

// Env is the environment of a program that uses the service.
type Env struct {
	// Key holds the variables that the service's own libraries and tools read
	// the key from, the main one first. All are set to the placeholder.
	Key []string
	// Base holds the variables for another base URL.
	Base Fact[[]BaseVar]
	// Unset holds the variables that would leak another credential or win over
	// the placeholder.
	Unset []string
	Note  string
}

// BaseVar is a variable that holds a base URL. Its value is the URL that
// stands for Entry.Base, and Suffix.
type BaseVar struct{ Name, Suffix string }

// Stream says how the service streams an answer.
type Stream struct {
	Kind Fact[string] // "sse"
	// Usage says which event carries what Usage reads: last-event,
	// several-events (merge them, see Usage.Merge) or on-request.
	Usage Fact[string]
	// Request is the path of the boolean in a request's body that asks for
	// usage, "" unless Usage is on-request.
	Request string
}

// Terms is what the service's terms say about signing up by program.
type Terms struct {
	URL     Fact[*url.URL]
	Finding string
	Review  Review
}

// Review says whether somebody has read the terms for the catalogue. It opens
// nothing: a sign-up asks for a review of its owner.
type Review struct {
	Done bool
	Date string // "" unless Done
	By   string // "" unless Done
}

// Door is a way to come by a key.
type Door string

// The doors there are, in order of preference.
const (
	Federate Door = "federate"
	Mint     Door = "mint"
	Consent  Door = "consent"
	Signup   Door = "signup"
	Import   Door = "import"
)

// Doors lists them in order of preference.
func Doors() []Door { return []Door{Federate, Mint, Consent, Signup, Import} }

// DoorState says whether a door leads anywhere.
type DoorState string

// The states a door can have.
const (
	DoorUnknown     DoorState = "unknown"
	DoorKnown       DoorState = "known"
	DoorUnsupported DoorState = "unsupported" // the vendor has none, or forbids it, or we decline
)

// DoorFact is what is known of a door.
type DoorFact struct {
	State DoorState
	Fact  string   // one line
	Needs []string // what a human has to bring: phone, card, captcha, …
}

// Source is where facts of an entry come from.
type Source struct {
	Ref   string
	Grade Grade
}
