package audit

import (
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/grant"
)

// Entry is one entry as it was logged.
type Entry struct {
	Index int64
	// Raw is what was stored and hashed, to the byte. It is the truth: it may
	// have fields, and an op, that this version has never heard of.
	Raw json.RawMessage
	// Event is what this version reads in Raw.
	Event grant.Event
	// Unread says what of Raw could not be read into Event, nil if nothing:
	// the entry is then shown from Raw.
	Unread error
}

var errNotObject = errors.New("not a JSON object")

// decode reads an entry. Its error means that raw is not a JSON object; an
// object that is no Event is an Entry with Unread set. raw is not copied.
func decode(index int64, raw []byte) (Entry, error) {
	e := Entry{Index: index, Raw: raw}
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) {
		return e, errNotObject
	}
	if e.Unread = json.Unmarshal(raw, &e.Event); e.Unread != nil {
		// Unmarshal gives up at the first field that does not fit. What a
		// person looks for first is read again on its own.
		var least struct {
			Time     time.Time `json:"time"`
			Op       string    `json:"op"`
			Subject  string    `json:"subject"`
			Decision string    `json:"decision"`
		}
		_ = json.Unmarshal(raw, &least)
		e.Event = grant.Event{Time: least.Time, Op: least.Op, Subject: least.Subject, Decision: least.Decision}
	}
	return e, nil
}

// leafHash is the RFC 6962 leaf hash of a stored entry.
func leafHash(raw []byte) tlog.Hash { return tlog.RecordHash(raw) }
