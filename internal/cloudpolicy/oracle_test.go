package cloudpolicy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/npm"
)

// question is a request as the oracle reads it.
type question struct {
	policies  Policies
	Identity  []int          `json:"identity"` // policies by number
	Resource  *int           `json:"resource"`
	Principal *string        `json:"principal"`
	Action    string         `json:"action"`
	ARN       string         `json:"arn"`
	Owner     string         `json:"owner"`
	Context   map[string]any `json:"context"`
}

func questionOf(r Request, p Policies) question {
	q := question{policies: p, Action: r.Action, ARN: r.Resource, Owner: r.Owner, Context: map[string]any{}}
	switch {
	case r.Caller.Service != "":
		q.Principal, q.policies.Identity = &r.Caller.Service, nil
	case r.Caller.ARN != "":
		q.Principal = &r.Caller.ARN
		if r.Caller.federated() {
			q.policies.Identity = nil
		}
	default:
		q.policies.Identity = nil
	}
	for k, v := range r.Context {
		q.Context[k] = v
		if len(v) == 1 {
			q.Context[k] = v[0]
		}
	}
	return q
}

var verdictOf = map[string]Verdict{"Allowed": Allowed, "ImplicitlyDenied": ImplicitDenied, "ExplicitlyDenied": ExplicitDenied}

// askOracle answers all questions by an implementation that shares nothing
// with this package.
func askOracle(t *testing.T, questions []question) []Verdict {
	t.Helper()
	dir, err := npm.Install(t.Context(), os.DirFS("testdata/oracle"))
	if err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	enc.SetEscapeHTML(false)
	// The policies come first, in one list, each once.
	docs, seen := []json.RawMessage{}, map[string]int{}
	number := func(d Document) int {
		text := string(d.Compact())
		if _, ok := seen[text]; !ok {
			seen[text] = len(docs)
			docs = append(docs, json.RawMessage(text))
		}
		return seen[text]
	}
	numbers := map[*Statement]int{} // to print each of ours once only
	once := func(d Document) int {
		at := &d.Statements[0]
		if _, ok := numbers[at]; !ok {
			numbers[at] = number(d)
		}
		return numbers[at]
	}
	for i := range questions {
		q := &questions[i]
		q.Identity = []int{}
		for _, d := range q.policies.Identity {
			q.Identity = append(q.Identity, once(d))
		}
		if q.policies.Resource != nil {
			n := once(*q.policies.Resource)
			q.Resource = &n
		}
	}
	if err := enc.Encode(docs); err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		if err := enc.Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "oracle.mjs")
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the oracle: %v", err)
	}
	var verdicts []Verdict
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var s string
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		v, ok := verdictOf[s]
		if !ok {
			q := questions[len(verdicts)]
			t.Fatalf("the oracle says %s to %+v", s, q)
		}
		verdicts = append(verdicts, v)
	}
	if len(verdicts) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(verdicts), len(questions))
	}
	return verdicts
}
