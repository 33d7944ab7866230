package catalog

import (
	"net/url"
	"time"
)

// Recipe is how a browser is led through a service's own pages to a key: data,
// and no code. A pattern names no service; a step has a name, a timeout and a
// typed failure. README.md explains each field.
type Recipe struct {
	// Live is "never", or the date on which it was last run on the live pages.
	Live string
	// Hosts are those that a page may be led to, exactly: in small letters,
	// without a port. Whatever else is opened ends the run.
	Hosts []string
	// Unknown says, a line each, what is not known and was assumed.
	Unknown []string
	Account Account
	// Register makes an account. Login comes in again, to one that may be there
	// already, after a run that was cut. Key makes the key and reads it. With
	// Account none there is neither Register nor Login.
	Register, Login, Key []Step
	// Signs are looked for in every view while a step is under way.
	Signs []Sign
}

// Account says what one signs up with.
type Account string

// The kinds of account.
const (
	AccountPassword Account = "password" // a mail address and a password
	AccountMail     Account = "mail"     // a mail address alone: each login takes a mail
	AccountGoogle   Account = "google"   // the user's own at Google; a person signs in
	AccountNone     Account = "none"
)

// StepPattern is what a step does.
type StepPattern string

// The patterns there are.
const (
	StepOpen    StepPattern = "open"    // lead the page to URL
	StepFill    StepPattern = "fill"    // type Value into At
	StepClick   StepPattern = "click"   // click At
	StepChoose  StepPattern = "choose"  // tick At, or choose Option in it
	StepExpect  StepPattern = "expect"  // wait until At, or a page below URL, is there
	StepMail    StepPattern = "mail"    // wait for the mail of this run; open its link or type its code into At, as Accept says
	StepGoogle  StepPattern = "google"  // click At, and have a person sign in at Google until the page is back on Hosts
	StepHuman   StepPattern = "human"   // have a person do what Need says, until Until is there
	StepExtract StepPattern = "extract" // read the key from At
)

// Step is one step of a recipe.
type Step struct {
	Name    string // small letters, digits and hyphens; unique in its recipe
	Pattern StepPattern
	Timeout time.Duration // never zero once parsed
	URL     *url.URL      // https, on a host of Hosts; nil if there is none
	// At holds alternatives; the first of them that fits something counts.
	At []Locator
	// Value is what StepFill types; Text where it is ValueText.
	Value Value
	Text  string
	// Option is the visible text of what StepChoose chooses; "" ticks.
	Option string
	Accept []string // link, code or both, the preferred one first
	Need   string   // captcha, card, google-account, phone, support or terms
	Until  []Locator
	// If and Unless bind the step to what the page shows when its turn comes.
	If, Unless []Locator
	// Optional lets the step pass if At does not show within a few seconds.
	Optional bool
	// Makes is "account" or "key": from the beginning of this step on there may
	// be one more, whether or not the step ends.
	Makes string
	// Note is for a person who has to do something, or has to read the recipe.
	Note string
	// Grade is what the step rests on, "" if that is not said.
	Grade Grade
	// Cleans is on a step that takes away a key of this run's name, before one is
	// made: it is done only where an earlier run may have made one. Steps that
	// clean one after the other are passed over with the first of them, which
	// has KeyMark in At or If.
	Cleans bool
}

// Value is what a field is filled with.
type Value string

// The values there are.
const (
	ValueAddress  Value = "address"
	ValuePassword Value = "password"
	ValueKeyName  Value = "key-name"
	ValueText     Value = "text" // Step.Text, which is no secret
)

// KeyMark stands, in Name, HasName, Text and HasText of a locator of Key, for the
// name that this run gives its key.
const KeyMark = "{key-name}"

// Locator says which element is meant: by what a person would go by, where it
// can. Every field that is set must fit; text is compared with white space
// folded and without regard to case.
type Locator struct {
	Role    string // of ARIA: button, link, textbox, checkbox, …
	Name    string // accessible name, whole
	HasName string // a part of it
	Label   string // text of the label that belongs to a field, whole
	Text    string // visible text, whole
	HasText string // a part of it
	CSS     string
	// Nth chooses among several that fit, from 1; 0: there must be one only,
	// of those that can be used.
	Nth int
}

// Sign is what a page says that changes the course of a run.
type Sign struct {
	At    []Locator
	Means Meaning
	Note  string
}

// Meaning is what a sign stands for.
type Meaning string

// The meanings there are.
const (
	MeansExists      Meaning = "account-exists"
	MeansNoAccount   Meaning = "no-account"
	MeansRateLimited Meaning = "rate-limited"
	MeansCaptcha     Meaning = "captcha"
	MeansPhone       Meaning = "phone"
	MeansCard        Meaning = "card"
	MeansTerms       Meaning = "terms"  // other terms than those that were reviewed
	MeansClosed      Meaning = "closed" // no sign-up here, for a reason on the page
	MeansWrong       Meaning = "wrong"  // what was typed is refused: code, password or address
)
