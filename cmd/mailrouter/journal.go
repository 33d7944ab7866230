package main

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/mailrouter"
)

// What a line of the log is about.
const (
	opRoute = "mail.route" // a mailrouter.Entry: the audit record of a message
	opSkip  = "mail.skip"  // part of an event that was passed over
	opError = "mail.error" // why something is to come again
	opPanic = "mail.panic" // where a fault in this program is
)

// entry is the audit line of one message.
type entry struct {
	Op string `json:"op"`
	mailrouter.Entry
}

// line is any other line.
type line struct {
	Op   string    `json:"op"`
	Time time.Time `json:"time"`
	ID   string    `json:"id,omitempty"`
	// Message is the queue's name for what the item came in.
	Message string `json:"message,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Error   string `json:"error,omitempty"`
}

// maxError is how much of an error is written, in bytes.
const maxError = 2000

// journal writes lines of JSON to the function's log, each in one write.
type journal struct {
	mu  sync.Mutex
	out io.Writer
}

// record implements mailrouter.Options.Record.
func (j *journal) record(_ context.Context, e mailrouter.Entry) error {
	return j.put(entry{opRoute, e})
}

func (j *journal) write(l line) {
	if len(l.Error) > maxError {
		l.Error = l.Error[:maxError]
	}
	_ = j.put(l) // what failed is reported to the platform as well
}

func (j *journal) put(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.out.Write(append(b, '\n'))
	return err
}

// tally is what one invocation did, in items, reads and bytes. What is deferred
// or failed comes again.
type tally struct {
	Placed, Already, Ignored, Refused, Deferred, Gone int
	// Failed: was not understood, panicked, was not begun, or was done and could
	// not be recorded or removed.
	Failed, Reads int
	FetchedBytes  int64
}

func (t *tally) add(r result) {
	t.Reads += r.entry.Reads
	t.FetchedBytes += r.entry.Fetched
	count := map[mailrouter.Outcome]*int{
		mailrouter.Placed: &t.Placed, mailrouter.Already: &t.Already, mailrouter.Ignored: &t.Ignored, mailrouter.Refused: &t.Refused,
		mailrouter.Deferred: &t.Deferred, mailrouter.Gone: &t.Gone,
	}[r.entry.Outcome]
	if count != nil {
		*count++
	}
	if r.err != nil && r.entry.Outcome != mailrouter.Deferred {
		t.Failed++
	}
}

// metrics writes a line in CloudWatch's embedded metric format, which costs no
// call: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (j *journal) metrics(now time.Time, t tally) {
	type metric struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []metric
	}
	names := []metric{
		{"Placed", "Count"}, {"Already", "Count"}, {"Ignored", "Count"}, {"Refused", "Count"}, {"Deferred", "Count"},
		{"Gone", "Count"}, {"Failed", "Count"}, {"Reads", "Count"}, {"FetchedBytes", "Bytes"},
	}
	type about struct {
		Timestamp         int64 // ms
		CloudWatchMetrics []directive
	}
	_ = j.put(struct {
		AWS about `json:"_aws"`
		tally
	}{about{now.UnixMilli(), []directive{{"AgentKeys/Mail", [][]string{{}}, names}}}, t})
}
