package cloudpolicy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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
	dir, err := installOracle()
	if err != nil {
		t.Fatalf("the policy oracle cannot be installed: %v; run 'make setup', which installs node and npm", err)
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

// installOracle installs what the lock file names, once a machine, outside the
// checkout.
var installOracle = sync.OnceValues(func() (string, error) {
	base := os.Getenv("AGENTKEYS_DEV_CACHE")
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(cache, "agentkeys-dev")
	}
	files, sum := map[string][]byte{}, sha256.New()
	for _, name := range []string{".npmrc", "package.json", "package-lock.json", "oracle.mjs"} {
		b, err := os.ReadFile(filepath.Join("testdata", "oracle", name))
		if err != nil {
			return "", err
		}
		files[name] = b
		sum.Write(b)
	}
	home := filepath.Join(base, "policy-oracle-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(home); err == nil {
		return home, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(base, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), b, 0o644); err != nil {
			return "", err
		}
	}
	npm := exec.Command("npm", "ci")
	npm.Dir = tmp
	if out, err := npm.CombinedOutput(); err != nil {
		return "", &installError{err, strings.TrimSpace(string(out))}
	}
	if err := os.Rename(tmp, home); err != nil {
		if _, lost := os.Stat(home); lost != nil {
			return "", err
		}
	}
	return home, nil
})

type installError struct {
	error
	out string
}

func (e *installError) Error() string { return "npm ci: " + e.error.Error() + ": " + e.out }

func (e *installError) Unwrap() error { return e.error }
