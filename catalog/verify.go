package catalog

import (
	"net/url"
	"slices"
)

// Echo says what part of the key an answer contains.
type Echo string

// What an answer can contain.
const (
	EchoUnknown Echo = "unknown"
	EchoNone    Echo = "none"
	EchoMasked  Echo = "masked" // some characters of it
	EchoFull    Echo = "full"
)

// Verify is how to ask a service whether a key is good without being charged.
type Verify struct {
	Method string
	// Path is relative to Entry.Base and takes no query. It is not known where
	// only a billed call would tell.
	Path Fact[string]
	// URL replaces Path where the answer comes from another host.
	URL  *url.URL
	Body string // JSON, "" for none

	OK  []int
	Bad Fact[[]int]
	// Special is looked at before OK and Bad.
	Special []Answer

	Echoes Echo
	Grade  Grade
	Note   string
}

// Answer gives an answer a meaning that its status alone does not have.
type Answer struct {
	Status int
	// Field is the path of a JSON string, number or boolean that must equal Is;
	// "" if the status is enough.
	Field, Is string
	Means     Verdict
	Note      string
}

// Verdict is what a service's answer says about a key.
type Verdict string

// The verdicts there are. The zero Verdict says nothing.
const (
	Good    Verdict = "good"
	Limited Verdict = "limited" // good, but not for what was asked
	Bad     Verdict = "bad"
	Refused Verdict = "refused" // good, and of a kind that is not stored
	Unclear Verdict = "unclear" // ask again later; never a reason to store or to drop a key
)

// VerifyRequest returns the request to send, and false if none is known.
func (e *Entry) VerifyRequest() (method string, u *url.URL, body string, ok bool) {
	switch v := e.Verify; {
	case v.URL != nil:
		return v.Method, v.URL, v.Body, true
	case v.Path.State == Known:
		return v.Method, e.Base.JoinPath(v.Path.Value), v.Body, true
	}
	return "", nil, "", false
}

// Judge says what an answer means, and why where that is not plain. body may
// be cut: a field that is not found is not equal to anything.
func (v *Verify) Judge(status int, body []byte) (Verdict, string) {
	for _, a := range v.Special {
		if a.Status == status && (a.Field == "" || jsonField(body, a.Field) == a.Is) {
			return a.Means, a.Note
		}
	}
	switch {
	case slices.Contains(v.OK, status):
		return Good, ""
	case slices.Contains(v.Bad.Value, status):
		return Bad, ""
	}
	return Unclear, ""
}
