package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/strictjson"
)

var (
	// ErrReview: a review that cannot be kept.
	ErrReview = errors.New("impossible review")
	// ErrNoReview: there is none of this service.
	ErrNoReview = errors.New("the terms of this service have not been reviewed")
	// ErrNoTermsURL: nobody knows where the terms are.
	ErrNoTermsURL = errors.New("the address of the terms is unknown")
)

// TermsAge is how long a review holds.
const TermsAge = 180 * 24 * time.Hour

// TermsDecision is what a person decided on having read the terms.
type TermsDecision string

// The decisions there are.
const (
	TermsNone   TermsDecision = "none" // nobody has decided
	TermsAllow  TermsDecision = "allow"
	TermsForbid TermsDecision = "forbid"
)

// TermsReview is a person's decision on a service's terms.
type TermsReview struct {
	Decision TermsDecision `json:"decision"`
	By       string        `json:"by"`
	Note     string        `json:"note"`
	// URL is where the terms are, "" for the catalogue's.
	URL string `json:"url,omitempty"`
	// Digest is that of a saved copy, as terms.Digest makes it; "": of the
	// page as it is now.
	Digest string `json:"digest,omitempty"`
}

// TermsState is what is known of a service's terms, and whether a sign-up by
// program may go on.
type TermsState struct {
	Service agentkeys.Service `json:"service"`
	Name    string            `json:"name"`
	Live    bool              `json:"live"` // the pages are the service's own, not a stand-in's
	URL     string            `json:"url,omitempty"`
	Finding string            `json:"finding"` // the catalogue's
	Review  TermsReview       `json:"review"`
	At      time.Time         `json:"at,omitzero"`      // of the review
	Expires time.Time         `json:"expires,omitzero"` // the review asks again then; zero of one that forbids
	// Checked says that the text was read just now. Without it a live service
	// is never Open.
	Checked bool   `json:"checked"`
	Open    bool   `json:"open"`
	Why     string `json:"why"` // it is open, or not
}

// termsFile is Config/terms.json.
type termsFile struct {
	Version int                   `json:"version"`
	Reviews map[string]keptReview `json:"reviews"`
}

// keptReview has what was so when the review was made.
type keptReview struct {
	Decision  TermsDecision `json:"decision"`
	By        string        `json:"by"`
	Note      string        `json:"note"`
	At        time.Time     `json:"at"`
	URL       string        `json:"url"`
	Digest    string        `json:"digest"`
	Catalogue string        `json:"catalogue"` // the catalogue's URL, "" if it had none
}

// subject is what the log says of a review.
func (r keptReview) subject() string {
	if r.URL == "" {
		return fmt.Sprintf("%s by %s", r.Decision, r.By)
	}
	return fmt.Sprintf("%s by %s, %s", r.Decision, r.By, r.URL)
}

// Terms says whether a sign-up may go on now. For a live service with a review
// that allows it, it reads the terms anew and compares.
func (h *Host) Terms(ctx context.Context, svc agentkeys.Service) (TermsState, error) {
	e, err := h.cat.entry(svc)
	if err != nil {
		return TermsState{}, err
	}
	if err := h.manage(); err != nil {
		return TermsState{}, err
	}
	all, err := h.readReviews()
	if err != nil {
		return TermsState{}, err
	}
	return h.judgeTerms(ctx, e, all.Reviews[svc.String()], true), nil
}

// AllTerms says what is known of the terms of every service whose sign-up is
// known or not supported, and reads none: no live service is Open in it.
func (h *Host) AllTerms(ctx context.Context) ([]TermsState, error) {
	if err := h.manage(); err != nil {
		return nil, err
	}
	all, err := h.readReviews()
	if err != nil {
		return nil, err
	}
	out := []TermsState{}
	for _, id := range h.cat.ids() {
		e, err := h.cat.entry(id)
		if err != nil {
			return nil, err
		}
		_, reviewed := all.Reviews[id.String()]
		if e.Doors[catalog.Signup].State != catalog.DoorUnknown || reviewed {
			out = append(out, h.judgeTerms(ctx, e, all.Reviews[id.String()], false))
		}
	}
	return out, nil
}

// judgeTerms fails shut: only its last line opens a live service.
func (h *Host) judgeTerms(ctx context.Context, e *catalog.Entry, r keptReview, read bool) TermsState {
	now := h.now()
	st := TermsState{
		Service: e.ID, Name: e.Name, Live: !e.Owner.SiteAddress.IsValid(), Finding: e.Terms.Finding,
		Review: TermsReview{Decision: TermsNone}, URL: catalogueTerms(e),
	}
	if r.Decision != "" {
		st.Review = TermsReview{Decision: r.Decision, By: r.By, Note: r.Note, URL: r.URL, Digest: r.Digest}
		st.At = r.At
		if r.Decision == TermsAllow {
			st.Expires = r.At.Add(TermsAge)
		}
		if st.URL == r.Catalogue {
			st.URL = r.URL
		}
	}
	shut := func(format string, args ...any) TermsState {
		st.Why = fmt.Sprintf(format, args...)
		return st
	}
	switch f := e.Doors[catalog.Signup]; {
	case f.State == catalog.DoorUnsupported:
		return shut("sign-up is not supported: %s", f.Fact)
	case !st.Live:
		st.Open = true
		return shut("a stand-in at %s plays its pages", e.Owner.SiteAddress)
	case r.Decision == "":
		return shut("nobody has reviewed its terms")
	case r.Decision != TermsAllow:
		return shut("%s forbade it on %s", r.By, r.At.Format(time.DateOnly))
	case r.Catalogue != catalogueTerms(e):
		return shut("the catalogue has another address of its terms than when they were reviewed")
	case now.Before(r.At.Add(-time.Hour)): // an hour is for clocks that are set
		return shut("the review is dated in the future")
	case now.After(r.At.Add(TermsAge)):
		return shut("the review is older than %d days", TermsAge/(24*time.Hour))
	case !read:
		return shut("allowed, if the text is still the same when a sign-up begins")
	}
	digest, err := h.readTerms(ctx, e, r.URL)
	if err != nil {
		return shut("%v", err)
	}
	st.Checked = true
	if digest != r.Digest {
		return shut("the text of its terms has changed since they were reviewed")
	}
	st.Open = true
	return shut("%s allowed it on %s, and the text is the same", r.By, r.At.Format(time.DateOnly))
}

func catalogueTerms(e *catalog.Entry) string {
	if u, ok := e.Terms.URL.Get(); ok {
		return u.String()
	}
	return ""
}

var termsDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ReviewTerms keeps a person's decision, with the digest of the text that it
// is about. It is on record before it counts. ErrReview, ErrNoTermsURL,
// ErrTermsPage.
func (h *Host) ReviewTerms(ctx context.Context, svc agentkeys.Service, r TermsReview) (TermsState, error) {
	e, err := h.cat.entry(svc)
	if err != nil {
		return TermsState{}, err
	}
	if err := h.manage(); err != nil {
		return TermsState{}, err
	}
	if err := r.validate(); err != nil {
		return TermsState{}, err
	}
	kept := keptReview{Decision: r.Decision, By: r.By, Note: r.Note, URL: r.URL, Digest: r.Digest, Catalogue: catalogueTerms(e)}
	if kept.URL == "" {
		kept.URL = kept.Catalogue
	}
	// To forbid needs no text, and nobody to know where it is: it holds whatever
	// the terms say.
	if kept.URL == "" && r.Decision == TermsAllow {
		return TermsState{}, fmt.Errorf("%w: %s", ErrNoTermsURL, svc)
	}
	if kept.URL != "" {
		if _, err := parseTermsURL(kept.URL); err != nil {
			return TermsState{}, err
		}
	}
	if kept.URL != "" && kept.Digest == "" {
		if kept.Digest, err = h.readTerms(ctx, e, kept.URL); err != nil && r.Decision == TermsAllow {
			return TermsState{}, err
		}
	}
	h.change.Lock()
	defer h.change.Unlock()
	kept.At = h.now().UTC().Truncate(time.Second)
	err = h.changeReviews(ctx, grant.Event{Op: "terms.review", Svc: svc, Subject: kept.subject(), Digest: kept.Digest}, func(f *termsFile) {
		f.Reviews[svc.String()] = kept
	})
	if err != nil {
		return TermsState{}, err
	}
	st := h.judgeTerms(ctx, e, kept, false)
	if r.Digest == "" && kept.Decision == TermsAllow && st.Live && e.Doors[catalog.Signup].State != catalog.DoorUnsupported {
		// The text was read a moment ago.
		st.Checked, st.Open, st.Why = true, true, fmt.Sprintf("%s allowed it just now", kept.By)
	}
	return st, nil
}

// ForgetTerms takes a review back. ErrNoReview.
func (h *Host) ForgetTerms(ctx context.Context, svc agentkeys.Service) error {
	if err := h.manage(); err != nil {
		return err
	}
	h.change.Lock()
	defer h.change.Unlock()
	all, err := h.readReviews()
	if err != nil {
		return err
	}
	old, ok := all.Reviews[svc.String()]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoReview, svc)
	}
	ev := grant.Event{Op: "terms.forget", Svc: svc, Subject: old.subject(), Digest: old.Digest}
	return h.changeReviews(ctx, ev, func(f *termsFile) { delete(f.Reviews, svc.String()) })
}

// changeReviews records, changes, and records that it did. h.change is held.
func (h *Host) changeReviews(ctx context.Context, ev grant.Event, change func(*termsFile)) error {
	all, err := h.readReviews()
	if err != nil {
		return err
	}
	ev.Time, ev.Actor, ev.Decision = h.now().UTC(), h.wallet, grant.Allowed
	if err := h.audit.Record(ctx, ev); err != nil {
		return err
	}
	change(&all)
	data, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = durable.WriteFile(h.paths.Terms(), append(data, '\n'))
	}
	ev.Decision = grant.Done
	if err != nil {
		ev.Decision, ev.Reason = grant.Failed, "not written"
	}
	return errors.Join(err, h.audit.Record(context.WithoutCancel(ctx), ev))
}

func (h *Host) readReviews() (termsFile, error) {
	none := termsFile{Version: 1, Reviews: map[string]keptReview{}}
	data, err := os.ReadFile(h.paths.Terms())
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	var f termsFile
	if err := strictjson.Unmarshal(data, &f, "reviews"); err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrConfig, h.paths.Terms(), err)
	}
	if f.Version != 1 || f.Reviews == nil {
		return none, fmt.Errorf("%w: %s: it is not of version 1", ErrConfig, h.paths.Terms())
	}
	for id, r := range f.Reviews {
		bad := r.Decision != TermsAllow && r.Decision != TermsForbid || r.At.IsZero() || r.By == "" || r.Decision == TermsAllow && !termsDigest.MatchString(r.Digest)
		if _, err := agentkeys.ParseService(id); err != nil || bad {
			return none, fmt.Errorf("%w: %s: a review is not whole", ErrConfig, h.paths.Terms())
		}
	}
	return f, nil
}

func (r TermsReview) validate() error {
	if r.Decision != TermsAllow && r.Decision != TermsForbid {
		return fmt.Errorf("%w: the decision is allow or forbid", ErrReview)
	}
	for _, x := range []struct {
		what, text string
		longest    int
	}{{"who reviewed them", r.By, 80}, {"the note", r.Note, 500}} {
		switch {
		case strings.TrimSpace(x.text) == "":
			return fmt.Errorf("%w: %s is missing", ErrReview, x.what)
		case len(x.text) > x.longest:
			return fmt.Errorf("%w: %s has at most %d bytes", ErrReview, x.what, x.longest)
		case !utf8.ValidString(x.text) || strings.ContainsFunc(x.text, func(c rune) bool { return !unicode.IsPrint(c) }):
			return fmt.Errorf("%w: %s is one line of text", ErrReview, x.what)
		}
	}
	if r.Digest != "" && !termsDigest.MatchString(r.Digest) {
		return fmt.Errorf("%w: a digest is sha256: and 64 hexadecimal digits", ErrReview)
	}
	return nil
}
