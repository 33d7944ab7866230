package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/sesmail"
)

type object = map[string]any

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func notification(bucket string, keys ...string) string {
	var all []any
	for _, k := range keys {
		all = append(all, object{
			"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
			"s3": object{"bucket": object{"name": bucket}, "object": object{"key": k, "size": 1}},
		})
	}
	return text(object{"Records": all})
}

func queued(bodies ...string) string {
	var all []any
	for n, b := range bodies {
		all = append(all, object{"messageId": fmt.Sprint("q", n), "body": b, "eventSource": "aws:sqs"})
	}
	return text(object{"Records": all})
}

// failures returns which messages of a queue an answer says have failed.
func failures(t *testing.T, body []byte) string {
	t.Helper()
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || !strings.HasPrefix(string(body), `{"batchItemFailures":[`) {
		t.Fatalf("%s: %v", body, err)
	}
	var all []string
	for _, f := range a.BatchItemFailures {
		all = append(all, f.ItemIdentifier)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// lines parses a log.
func lines(t *testing.T, log string) (all []object) {
	t.Helper()
	for _, l := range strings.Split(strings.TrimSuffix(log, "\n"), "\n") {
		var o object
		if err := json.Unmarshal([]byte(l), &o); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		all = append(all, o)
	}
	return all
}

// counts returns the metrics of a log that are not 0. Behind them there may be
// the last words of what was given up for lost.
func counts(t *testing.T, log string) string {
	t.Helper()
	all := lines(t, log)
	n := slices.IndexFunc(all, func(o object) bool { return o["_aws"] != nil })
	if n < 0 {
		t.Fatalf("there are no metrics: %v", all)
	}
	m := all[n]
	about := m["_aws"].(object)
	if ms := int64(about["Timestamp"].(float64)); time.Since(time.UnixMilli(ms)).Abs() > time.Minute {
		t.Errorf("at %d", ms)
	}
	d := about["CloudWatchMetrics"].([]any)[0].(object)
	if d["Namespace"] != "AgentKeys/Mail" || text(d["Dimensions"]) != "[[]]" {
		t.Errorf("%v", d)
	}
	var parts []string
	for _, x := range d["Metrics"].([]any) {
		name := x.(object)["Name"].(string)
		n, ok := m[name].(float64)
		if !ok {
			t.Errorf("no %s in %v", name, m)
		}
		if n != 0 {
			parts = append(parts, fmt.Sprint(name, "=", n))
		}
	}
	return strings.Join(parts, " ")
}

// fake answers by the beginning of an id.
func fake(ctx context.Context, ev mailrouter.Event) (mailrouter.Entry, error) {
	e := mailrouter.Entry{ID: ev.ID, Outcome: mailrouter.Placed, Reads: 1, Fetched: 2048}
	switch what, _, _ := strings.Cut(ev.ID.String(), "-"); what {
	case "panics":
		panic("canary")
	case "overruns":
		return mailrouter.Entry{}, fmt.Errorf("%d", []int{}[len(what)])
	case "deferred":
		e.Outcome = mailrouter.Deferred
		return e, errors.New("later")
	case "unrecorded":
		return e, errors.New("recorded not")
	case "hangs":
		<-ctx.Done()
		time.Sleep(time.Hour) // does not heed it
	case "heeds":
		<-ctx.Done()
		e.Outcome = mailrouter.Deferred
		return e, ctx.Err()
	}
	return e, nil
}

// buffer may be written to while it is read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}

func TestHandler(t *testing.T) {
	var log buffer
	h := &handler{bucket: "b", handle: fake, log: &journal{out: &log}, now: time.Now}
	for _, c := range []struct{ name, payload, failed, counts string }{
		{"one", queued(notification("b", "inbound/m")), "", "Placed=1 Reads=1 FetchedBytes=2048"},
		{"none", `{"Records":[]}`, "none", ""},
		{"some fail", queued(notification("b", "inbound/m"), notification("b", "inbound/deferred"), notification("b", "inbound/panics"), notification("b", "inbound/m2"), notification("b", "inbound/overruns"), notification("b", "inbound/unrecorded")),
			"q1 q2 q4 q5", "Placed=3 Deferred=1 Failed=3 Reads=4 FetchedBytes=8192"},
		{"one of several in one", queued(notification("b", "inbound/m", "inbound/deferred", "inbound/deferred-2", "inbound/m2"), notification("b", "inbound/m3")), "q0", "Placed=3 Deferred=2 Reads=5 FetchedBytes=10240"},
		{"nonsense", queued("hello", notification("b", "inbound/m"), `{"Records":[{"eventSource":"aws:s3"}]}`), "q0 q2", "Placed=1 Failed=2 Reads=1 FetchedBytes=2048"},
		{"passed over", queued(notification("other", "inbound/m"), notification("b", "bots/x"), `{"Event":"s3:TestEvent"}`), "", "Ignored=3"},
		{"not a queue", notification("b", "inbound/m", "inbound/m2"), "none", "Placed=2 Reads=2 FetchedBytes=4096"},
		{"not a queue, failed", notification("b", "inbound/m", "inbound/deferred"), "error", "Placed=1 Deferred=1 Reads=2 FetchedBytes=4096"},
		{"not a queue, panicked", notification("b", "inbound/panics"), "error", "Failed=1"},
		{"no event", `{"hello":1}`, "error", "Failed=1"},
		{"nothing", ``, "error", "Failed=1"},
	} {
		body, err := h.Invoke(t.Context(), []byte(c.payload))
		switch {
		case c.failed == "error":
			if err == nil || body != nil || !errors.Is(err, errAgain) && !errors.Is(err, sesmail.ErrEvent) {
				t.Errorf("%s: %s, %v", c.name, body, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.failed == "none":
			if string(body) != "null" {
				t.Errorf("%s: %s", c.name, body)
			}
		default:
			if got := failures(t, body); got != c.failed {
				t.Errorf("%s: %q failed, want %q", c.name, got, c.failed)
			}
		}
		out := log.take()
		if got := counts(t, out); got != c.counts {
			t.Errorf("%s: %s, want %s", c.name, got, c.counts)
		}
		if strings.Contains(out, "canary") {
			t.Errorf("%s: what was panicked with is in the log", c.name)
		}
		if strings.Contains(c.payload, "overruns") && !strings.Contains(out, "index out of range") {
			t.Errorf("%s: nobody could find the fault: %s", c.name, out)
		}
	}
}

// TestManyAtOnce: as many as there are places, no more, and all are done.
func TestManyAtOnce(t *testing.T) {
	var now, most, done atomic.Int32
	all := make(chan struct{})
	h := &handler{bucket: "b", log: &journal{out: io.Discard}, now: time.Now, handle: func(_ context.Context, ev mailrouter.Event) (mailrouter.Entry, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
			if n == together {
				close(all)
			}
		}
		<-all
		now.Add(-1)
		done.Add(1)
		return mailrouter.Entry{Outcome: mailrouter.Placed}, nil
	}}
	var bodies []string
	for n := range 200 {
		bodies = append(bodies, notification("b", fmt.Sprint("inbound/m", n)))
	}
	body, err := h.Invoke(t.Context(), []byte(queued(bodies...)))
	if err != nil || failures(t, body) != "" || done.Load() != 200 || most.Load() != together {
		t.Errorf("%s, %v: %d done, %d at once", body, err, done.Load(), most.Load())
	}
}

// TestDeadline: an invocation says before its end what is not done, though
// items do not heed it, and what was never begun is among it.
func TestDeadline(t *testing.T) { synctest.Test(t, testDeadline) }

func testDeadline(t *testing.T) {
	defer time.Sleep(2 * time.Hour) // for what hangs to end
	var log buffer
	h := &handler{bucket: "b", handle: fake, log: &journal{out: &log}, now: time.Now}
	var bodies []string
	const hang = together + 5 // some find no place
	for n := range hang {
		bodies = append(bodies, notification("b", fmt.Sprint("inbound/hangs-", n)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	body, err := h.Invoke(ctx, []byte(queued(append(bodies, notification("b", "bots/x"))...)))
	if err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	if got := strings.Fields(failures(t, body)); len(got) != hang || slices.Contains(got, fmt.Sprint("q", hang)) {
		t.Errorf("%v", got)
	}
	if got := counts(t, log.take()); got != fmt.Sprintf("Ignored=1 Failed=%d", hang) {
		t.Error(got)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	body, err = h.Invoke(ctx, []byte(queued(notification("b", "inbound/heeds"), notification("b", "inbound/m"))))
	if err != nil || failures(t, body) != "q0" || ctx.Err() != nil {
		t.Errorf("%s, %v, %v", body, err, ctx.Err())
	}
}

// TestBrokenLog: mail that cannot be recorded is not done.
func TestBrokenLog(t *testing.T) {
	j := &journal{out: broken{}}
	if err := j.record(t.Context(), mailrouter.Entry{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSettings(t *testing.T) {
	good := []string{
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SESSION_TOKEN=hunter3", "PATH=/bin",
		"AGENTKEYS_BUCKET=the-bucket", "AGENTKEYS_MAIL_DOMAINS=agents.example, mail.example", "AGENTKEYS_MAIL_TAGS=or,br",
	}
	with := func(more ...string) []string { return append(slices.Clone(good), more...) }
	for _, env := range [][]string{
		good, with("AGENTKEYS_REMOVE_SOURCE=true"), with("AGENTKEYS_REMOVE_SOURCE="), with("AGENTKEYS_WALLET_MESSAGES_PER_HOUR=0", "AGENTKEYS_SENDER_MESSAGES_PER_HOUR=5"),
		with("AGENTKEYS_S3_ENDPOINT=http://127.0.0.1:7070", "AGENTKEYS_S3_COMPATIBLE=versitygw"),
	} {
		if _, err := newHandler(env, io.Discard); err != nil {
			t.Errorf("%q: %v", env[len(good):], err)
		}
	}
	for _, c := range []struct {
		env   []string
		wants []string
	}{
		{nil, []string{"AWS_REGION: is not set", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AGENTKEYS_BUCKET", "AGENTKEYS_MAIL_DOMAINS", "AGENTKEYS_MAIL_TAGS"}},
		{with("AGENTKEYS_BUKCET=x"), []string{"AGENTKEYS_BUKCET: there is no such setting", "AGENTKEYS_BUCKET"}},
		{with("AGENTKEYS_REMOVE_SOURCE=yes"), []string{`AGENTKEYS_REMOVE_SOURCE: "yes"`}},
		{with("AGENTKEYS_WALLET_MESSAGES_PER_HOUR=-1", "AGENTKEYS_SENDER_MESSAGES_PER_HOUR=many"), []string{"WALLET_MESSAGES", "SENDER_MESSAGES"}},
		{with("AGENTKEYS_S3_ENDPOINT=http://s3.example.com"), []string{"https"}},
		{with("AGENTKEYS_S3_COMPATIBLE=minio"), []string{"versitygw"}},
		{with("AGENTKEYS_BUCKET=A"), []string{"no bucket name"}},
		{with("AGENTKEYS_MAIL_TAGS=or,OpenRouter"), []string{"tag"}},
		{with("AGENTKEYS_MAIL_DOMAINS=-"), []string{"domain"}},
		{with("AGENTKEYS_MAIL_DOMAINS= , "), []string{"AGENTKEYS_MAIL_DOMAINS"}},
	} {
		_, err := newHandler(c.env, io.Discard)
		if err == nil {
			t.Errorf("%q will do", c.wants)
			continue
		}
		for _, w := range c.wants {
			if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q is not in %v", w, err)
			}
		}
	}
}
