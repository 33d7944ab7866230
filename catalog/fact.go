package catalog

// State says how much is known of a fact.
type State uint8

// The states there are.
const (
	Unknown State = iota // nobody has found out; the zero value
	None                 // known not to exist
	Known
)

// String returns the word that a file uses.
func (s State) String() string {
	switch s {
	case None:
		return "none"
	case Known:
		return "known"
	}
	return "unknown"
}

// Fact is a value that may be unknown, or known not to exist. The zero Fact is
// unknown.
type Fact[T any] struct {
	State State
	Value T // the zero T unless State is Known
}

// Get returns the value and whether it is known.
func (f Fact[T]) Get() (T, bool) { return f.Value, f.State == Known }

// Grade says what a claim rests on. No claim rests on a trial by us as long as
// Entry.LiveTested says never.
type Grade string

// The grades there are, best first.
const (
	Vendor    Grade = "vendor"    // the vendor's documents, specification or own code
	Rules     Grade = "rules"     // a published secret scanner's rule
	Secondary Grade = "secondary" // somebody else's documents
	Community Grade = "community" // what users have seen
	TestCode  Grade = "test"      // public test or automation code
	Assumed   Grade = "assumed"   // our own conclusion
)

var grades = []Grade{Vendor, Rules, Secondary, Community, TestCode, Assumed}
