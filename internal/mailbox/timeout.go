package mailbox

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/verifymail"
)

// Gone is the reason of a message that was removed before it could be read.
const Gone verifymail.Reason = "gone"

// Tally counts the messages of an inbox by what became of them, each once.
type Tally struct {
	// Older came before the run and were not read.
	Older int `json:"older"`
	// Refused are those that do not count, by reason.
	Refused map[verifymail.Reason]int `json:"refused,omitempty"`
	// Unread are those that could not be read the last time.
	Unread int `json:"unread"`
	// Superseded counted until a newer one was read.
	Superseded int `json:"superseded,omitempty"`
}

// Came is how many came since the run began.
func (t Tally) Came() int {
	n := t.Unread + t.Superseded
	for _, k := range t.Refused {
		n += k
	}
	return n
}

func (t Tally) clone() Tally {
	t.Refused = maps.Clone(t.Refused)
	return t
}

// Timeout says that the message did not come, and what came instead. It is a
// context.DeadlineExceeded.
type Timeout struct {
	Tally
	// Waited is 0 of a single look.
	Waited time.Duration
	// To is the address that nothing came for.
	To string
	// Service is who was to write, in words.
	Service string
	// Last is why the last look was not complete, if it was not.
	Last error
}

func (s *search) timeout(waited time.Duration) error {
	return &Timeout{Tally: s.tally.clone(), Waited: waited, To: s.o.Query.To.At(s.o.Query.Domain), Service: nameOf(s.o.Service), Last: s.last}
}

// Unwrap lets errors.Is find context.DeadlineExceeded.
func (t *Timeout) Unwrap() error { return context.DeadlineExceeded }

// Error says in one sentence what came and why it does not count.
func (t *Timeout) Error() string {
	var b strings.Builder
	within := ""
	if t.Waited > 0 {
		within = " within " + t.Waited.Round(time.Second).String()
	}
	switch n := t.Came(); n {
	case 0:
		fmt.Fprintf(&b, "no mail came for %s%s", t.To, within)
	default:
		fmt.Fprintf(&b, "%s came%s, none that counts for %s: %s", messages(n), within, t.To, strings.Join(t.causes(), ", "))
	}
	if t.Older > 0 {
		fmt.Fprintf(&b, "; %s from before this run", messages(t.Older))
	}
	if t.Last != nil {
		fmt.Fprintf(&b, "; the last look was not complete: %v", t.Last)
	}
	return b.String()
}

// causes is what does not count, by reason, in the order of the checks.
func (t *Timeout) causes() (list []string) {
	left := maps.Clone(t.Refused)
	for _, w := range words {
		n := left[w.reason]
		delete(left, w.reason)
		if n == 0 {
			continue
		}
		form := w.one
		if n > 1 && w.many != "" {
			form = w.many
		}
		list = append(list, fmt.Sprintf("%d %s", n, named(form, t.Service)))
	}
	rest := t.Superseded
	for _, n := range left {
		rest += n
	}
	if rest > 0 {
		list = append(list, fmt.Sprintf("%d for another reason", rest))
	}
	if t.Unread > 0 {
		list = append(list, fmt.Sprintf("%d could not be read", t.Unread))
	}
	return list
}

// Fix says what to do next: about the message that came nearest.
func (t *Timeout) Fix() string {
	for i := len(words) - 1; i >= 0; i-- {
		if t.Refused[words[i].reason] > 0 {
			return words[i].fix
		}
	}
	switch {
	case t.Unread > 0 || t.Last != nil:
		return "see that the inbox can be reached, and wait again"
	case t.Older > 0:
		return fixOlder
	}
	return fixNothing
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}
