// Package recipe owns the engine that leads a page through the steps of a
// catalogue's recipe. It sees a page through Page alone, and a person, a mail
// and the vault through functions of Run. It must not depend on a browser, a
// store or a network.
//
// Laws:
//   - What a page shows is data. It chooses among the steps of the recipe and
//     adds none.
//   - No step is done on a page whose host is not in the recipe.
//   - A bot check, a phone, a card or other terms are a person's business:
//     nothing is solved, clicked through or passed by.
//   - A secret goes from Run to Page as a secret.Value, and back the same way;
//     no error, event or view carries one.
//   - Before a step that may make something, the journal knows.
package recipe

import (
	"context"
	"errors"

	"github.com/litentry/agentkeys/internal/secret"
)

// Page is one tab of a browser, whose state belongs to one run. Its methods are
// called one at a time.
type Page interface {
	// Open leads the page to url and returns when its document is there, or as
	// an error of this package says why it is not.
	Open(ctx context.Context, url string) error
	// Look returns what the page shows at this moment, its frames included. css
	// are selectors: Element.CSS says which of them an element matches. What
	// hides in a page, and what no person could see, is not in the View.
	Look(ctx context.Context, css []string) (View, error)
	// Do acts on an element of the last View, as a person's mouse and keyboard
	// would. ErrStale if it is not there any more, or covered by now.
	Do(ctx context.Context, id ElementID, act Act) error
	// Read returns the value of a field, or else the text of an element.
	Read(ctx context.Context, id ElementID) (secret.Value, error)
}

// ElementID names an element of a View.
type ElementID string

// View is what a page shows.
type View struct {
	URL     string // of the top document, without its fragment
	Loading bool   // a document is on its way
	Status  int    // of the answer that the top document came in; 0: not known
	Check   string // the bot check that this answer says it is, by BotCheckSaid; "": none
	// Frames are the URLs of frames that take up room, without query and
	// fragment: where bot checks show. A query that says BadgeQuery, whatever else
	// it says, is that alone.
	Frames   []string
	Elements []Element
}

// Element is one thing on a page that a person could see.
type Element struct {
	ID   ElementID
	URL  string // of the frame it is in, without query and fragment; "": the top document
	Role string // of ARIA, computed by the browser
	Name string // accessible name, computed by the browser; at most 256 bytes
	// Label is the text of the label that belongs to a field, Text what an
	// element shows, children included; at most 512 bytes each. Neither they nor
	// Name hold what was typed into a field.
	Label, Text string
	Tag, Type   string // small letters; Type of an input
	CSS         []int  // which of Look's selectors it matches
	Disabled    bool
	Covered     bool // by something else, at its middle
	Checked     bool
	Empty       bool   // a field without a value
	MaxLength   int    // of a field; 0: none
	Group       string // name attribute of a field, "" if none
}

// Act is what is done to an element. Exactly one field is set.
type Act struct {
	Click bool
	Type  secret.Value // in place of what a field holds
	Tick  bool
	// Choose is the visible text of an option.
	Choose string
}

// What a Page answers. Errors carry no text of a page and no URL but its host.
var (
	// ErrStale: the element is gone, moved or covered: look again.
	ErrStale = errors.New("the element is not there any more")
	// ErrOffHost: the page was led to a host that is not the recipe's. It was
	// stopped before anything was sent there.
	ErrOffHost = errors.New("the page leads to a host that is not the recipe's")
	// ErrLoad: a document could not be had: no connection, a bad certificate.
	ErrLoad = errors.New("the page cannot be loaded")
	// ErrGone: the browser or its tab is gone.
	ErrGone = errors.New("the browser is gone")
	// ErrBlocked: a download, a pop-up elsewhere or a scheme that is not https.
	ErrBlocked = errors.New("the page wants what no page may")
)
