package lend_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/canary"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/e2e/sdk"
	"github.com/litentry/agentkeys/internal/testsrv"
)

func clients(t *testing.T) []sdk.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the SDKs, which takes minutes the first time")
	}
	dir, err := sdk.Cache()
	if err != nil {
		t.Fatal(err)
	}
	list, err := sdk.BuildGo(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	js, err := sdk.InstallJS(t.Context(), dir)
	if errors.Is(err, sdk.ErrNoNode) {
		t.Log(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return append(list, js...)
}

// run is what became of a client under agentkeys run.
type run struct {
	steps                []sdk.Step
	stdout, stderr, dump []byte
	err                  error
}

// play runs c as an agent, in a shell that holds the real keys.
func play(t *testing.T, h *rig.Home, c sdk.Client, keys []string, tell func(sdk.Step)) run {
	t.Helper()
	// The time limit is for a stream that is held back: its client never ends.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	dumpFile := filepath.Join(dir, "dump")
	cmd := h.Command(ctx, append([]string{"run", "--as", "coder", "--"}, c.Argv...)...)
	cmd.Env = append(slices.Clone(h.Env), "SDK_DUMP="+dumpFile)
	for _, key := range keys {
		cmd.Env = append(cmd.Env, c.KeyVar()+"="+key, "ANTHROPIC_AUTH_TOKEN="+key, "OF_NO_SERVICE="+key)
	}
	var r run
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		r.stdout = append(append(r.stdout, lines.Bytes()...), '\n')
		one, err := sdk.ParseSteps(lines.Bytes())
		if err != nil {
			t.Errorf("%v in %q", err, lines.Text())
			continue
		}
		r.steps = append(r.steps, one...)
		for _, s := range one {
			tell(s)
		}
	}
	r.err, r.stderr = cmd.Wait(), stderr.Bytes()
	if r.dump, err = os.ReadFile(dumpFile); err != nil {
		t.Fatalf("%v\n%s", err, r.stderr)
	}
	return r
}

// check holds what a client did against what it does at the real service.
func check(t *testing.T, c sdk.Client, r run) {
	t.Helper()
	if r.err != nil {
		t.Errorf("%v\n%s%s", r.err, r.stdout, r.stderr)
	}
	want := []string{"models 200", "chat 200", "stream 200", "error 400", "rate-limit 429"}
	if c.API == "openai" {
		want = append(want, "responses 200", "responses-stream 200", "embeddings 200")
	} else {
		want = append(want, "count 200")
	}
	var got []string
	events := 0
	for _, s := range r.steps {
		if !s.OK {
			t.Errorf("%+v", s)
		}
		if s.Event > 0 {
			events++
			continue
		}
		got = append(got, fmt.Sprintf("%s %d", s.Step, s.Status))
		if s.Prompt != "" && s.Text != testsrv.Reply(s.Prompt) {
			t.Errorf("%+v", s)
		}
	}
	if !slices.Equal(got, want) || events < 10 {
		t.Errorf("steps %q, %d events", got, events)
	}
}

// direct runs c with the real key and nothing in between.
func direct(t *testing.T, c sdk.Client, s *rig.Service) []sdk.Step {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, s.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), c.Argv[0], c.Argv[1:]...)
	cmd.Env = c.Env(s.Key, s.URL()+c.BasePath(), filepath.Join(dir, "dump"), dir, ca)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := sdk.ParseSteps(out)
	if err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		steps[i].Error = ownURL.ReplaceAllString(steps[i].Error, "")
	}
	return steps
}

// ownURL is what a client's error may quote of where it sent its request.
var ownURL = regexp.MustCompile(`https?://127\.0\.0\.1:\d+(/openai|/anthropic)?`)

// TestClients runs the official SDKs, unmodified, as an agent: all they tell
// is what they tell without agentkeys.
func TestClients(t *testing.T) {
	list := clients(t)
	h := rig.New(t)
	h.Up()
	var gate atomic.Pointer[sdk.Lockstep]
	services := map[string]*rig.Service{}
	for _, shape := range []testsrv.Shape{testsrv.OpenAI, testsrv.Anthropic} {
		s := h.StandIn(testsrv.Options{Shape: shape, Compress: true, Gate: func(ctx context.Context, k int) error {
			if l := gate.Load(); l != nil {
				return l.Gate(ctx, k)
			}
			return nil
		}})
		services[s.Name] = s
	}
	keys := []string{services["openai"].Key, services["anthropic"].Key}
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "openai")
	h.OK("grant", "coder", "anthropic")
	search := canary.New(append(keys, h.Passphrase)...)

	for _, c := range list {
		gate.Store(nil)
		want := direct(t, c, services[c.API])
		for _, lockstep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lockstep=%t", c.Name, lockstep), func(t *testing.T) {
				tell := func(sdk.Step) {}
				if gate.Store(nil); lockstep {
					l := new(sdk.Lockstep)
					gate.Store(l)
					tell = l.Printed
				}
				s := services[c.API]
				before := len(s.Requests())
				r := play(t, h, c, []string{s.Key}, tell)
				check(t, c, r)
				for i, step := range r.steps {
					step.Error = ownURL.ReplaceAllString(step.Error, "")
					if i < len(want) && step != want[i] {
						t.Errorf("%+v\nwithout agentkeys\n%+v", step, want[i])
					}
				}
				if len(r.steps) != len(want) {
					t.Errorf("%d steps, %d without agentkeys", len(r.steps), len(want))
				}
				token := regexp.MustCompile(`agentkeys\.[A-Za-z0-9_-]{43}`).Find(r.dump)
				if token == nil || !bytes.Contains(r.dump, []byte(c.KeyVar()+"=sk-")) {
					t.Errorf("the client has no placeholder:\n%s", r.dump)
				}
				for _, seen := range s.Requests()[before:] {
					text := fmt.Sprintf("%s %s?%s %q", seen.Method, seen.Path, seen.Query, seen.Header)
					if seen.Key != "real" || strings.Contains(text, "agentkeys") {
						t.Errorf("the service saw %s", text)
					}
				}
				if !bytes.Contains(r.stderr, []byte("OF_NO_SERVICE")) {
					t.Errorf("nobody is told what is not passed on: %s", r.stderr)
				}
				clean(t, search, map[string][]byte{"stdout": r.stdout, "stderr": r.stderr, "dump": r.dump})
				for _, part := range []string{"\n200\n", "canned answer", "Rate limit reached", `"step":"chat"`} {
					if !bytes.Contains(r.dump, []byte(part)) {
						t.Errorf("no %q in the dump: the search means nothing", part)
					}
				}
			})
		}
	}
	cleanHome(t, h, search)
	h.OK("audit", "verify")

	// The same clients without a grant say so, and see nothing either.
	h.OK("revoke", "coder", "openai")
	h.OK("grant", "coder", "openai", "--path", "GET /models")
	c := list[0]
	r := play(t, h, c, nil, func(sdk.Step) {})
	if r.err == nil || len(r.steps) < 2 || !r.steps[0].OK || r.steps[1].OK || r.steps[1].Status != 403 {
		t.Errorf("a client with a grant for one path only: %v %+v", r.err, r.steps)
	}
	clean(t, search, map[string][]byte{"stdout": r.stdout, "stderr": r.stderr, "dump": r.dump})
}
