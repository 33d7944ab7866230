package verifymail

// Reason names why a mail gives nothing. It is stable, and fit for a log.
type Reason string

// The reasons there are, in the order in which they are looked for.
const (
	BadRules Reason = "bad-rules" // a mistake of the caller's: rules or query

	TooLarge    Reason = "too-large"
	BadHeader   Reason = "bad-header"   // no end, what must stand once stands twice, or two ways to read it
	NotReceived Reason = "not-received" // our receiver's block is not on top, or not whole
	BadVerdicts Reason = "bad-verdicts" // the block cannot be read without doubt

	NotForRun Reason = "not-for-run" // for another address
	TooEarly  Reason = "too-early"   // or from an unknown time

	SpamVerdict  Reason = "spam-verdict"
	VirusVerdict Reason = "virus-verdict"

	BadFrom        Reason = "bad-from" // not exactly one plain address
	SenderUnknown  Reason = "sender-not-allowed"
	DKIMMissing    Reason = "dkim-not-passed"
	DKIMNotAligned Reason = "dkim-not-aligned"
	DMARCFailed    Reason = "dmarc-failed"
	PartlySigned   Reason = "partly-signed" // a signature that leaves out what counts

	BadMIME        Reason = "bad-mime"
	TooComplex     Reason = "too-complex"
	UnknownCharset Reason = "unknown-charset"
	NoText         Reason = "no-text"

	SeveralLinks Reason = "several-links"
	SeveralCodes Reason = "several-codes"
	Disagreement Reason = "alternatives-differ" // of text and HTML

	NoLink    Reason = "no-link"
	LinkHost  Reason = "link-host-not-allowed" // links, and none to a host of the rules
	LinkPath  Reason = "link-path-not-allowed" // or none with a path of the rules
	LinkText  Reason = "link-text-differs"     // a link that shows another host than its own
	LinkShape Reason = "link-malformed"
	NoCode    Reason = "no-code"
)

// Refusal is the error of Extract.
type Refusal struct {
	Reason Reason
	// Detail is words of ours, and never of the mail.
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return "verification mail refused: " + string(r.Reason)
	}
	return "verification mail refused: " + string(r.Reason) + ": " + r.Detail
}

// Absent reports whether the mail was fit, and just did not hold what was
// wanted: another one may.
func (r *Refusal) Absent() bool {
	switch r.Reason {
	case NoLink, LinkHost, LinkPath, LinkText, LinkShape, NoCode, NoText:
		return true
	}
	return false
}

func refuse(reason Reason, detail string) *Refusal { return &Refusal{reason, detail} }
