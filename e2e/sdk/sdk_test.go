package sdk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv"
)

const key = "sk-e2e-0123456789abcdefghijklmnopqrstuvwxyz"

func clients(t *testing.T) []Client {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the SDKs, which takes minutes the first time")
	}
	dir, err := Cache()
	if err != nil {
		t.Fatal(err)
	}
	list, err := BuildGo(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	js, err := InstallJS(t.Context(), dir)
	if errors.Is(err, ErrNoNode) {
		t.Log(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return append(list, js...)
}

// play runs c against a third party of its own and returns what each saw. Each
// step is told as it comes.
func play(t *testing.T, c Client, opts testsrv.Options, credential string, tell ...func(Step)) (steps []Step, seen []testsrv.Seen, dump []byte, exit error) {
	t.Helper()
	opts.Shape, opts.Keys = testsrv.Shape(c.API), map[string]string{"real": key}
	s, err := testsrv.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	ca, dumpFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "dump")
	if err := os.WriteFile(ca, s.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	// The time limit is for a stream that is held back: its client never ends.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = c.Env(credential, s.URL()+c.BasePath(), dumpFile, dir, ca)
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
		one, err := ParseSteps(lines.Bytes())
		if err != nil {
			t.Errorf("%v in %q", err, lines.Text())
			continue
		}
		steps = append(steps, one...)
		for _, step := range one {
			for _, f := range tell {
				f(step)
			}
		}
	}
	exit = cmd.Wait()
	if dump, err = os.ReadFile(dumpFile); err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	return steps, s.Requests(), dump, exit
}

func TestClients(t *testing.T) {
	for _, c := range clients(t) {
		t.Run(c.Name, func(t *testing.T) {
			steps, seen, dump, err := play(t, c, testsrv.Options{Compress: true}, key)
			if err != nil {
				t.Errorf("%v\n%+v", err, steps)
			}
			want := []string{"models 200", "chat 200", "stream 200", "error 400", "rate-limit 429"}
			if c.API == "openai" {
				want = append(want, "responses 200", "responses-stream 200", "embeddings 200")
			} else {
				want = append(want, "count 200")
			}
			var got []string
			events := 0
			for _, s := range steps {
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
			if len(seen) != len(want) {
				t.Errorf("%d requests", len(seen))
			}
			for _, r := range seen {
				if r.Key != "real" {
					t.Errorf("%s %s carried %q", r.Method, r.Path, r.Header)
				}
			}
			if !bytes.Contains(bytes.ToLower(dump), []byte("request-id: ")) {
				t.Error("no headers in the dump")
			}
			// The dump has the environment, the headers and the bodies: a search
			// for a canary in it means something.
			for _, part := range []string{c.KeyVar() + "=" + key, "\n200\n", "canned answer", "Rate limit reached", `"step":"chat"`} {
				if !bytes.Contains(dump, []byte(part)) {
					t.Errorf("no %q in the dump", part)
				}
			}
		})
	}
}

// TestConventions keeps what the proxy has to know of the SDKs: the header that
// each sends its key in, and where its paths begin.
func TestConventions(t *testing.T) {
	headers := map[string]string{
		"go/openai": "Authorization", "js/openai": "Authorization",
		"go/anthropic": "X-Api-Key", "js/anthropic": "Authorization",
	}
	for _, c := range clients(t) {
		_, seen, _, _ := play(t, c, testsrv.Options{}, key)
		for _, r := range seen {
			for name, values := range r.Header {
				if strings.Contains(strings.Join(values, " "), "{real}") != (name == headers[c.Name]) {
					t.Errorf("%s: the key in %s: %q", c.Name, name, values)
				}
			}
			if !strings.HasPrefix(r.Path, "/v1/") || strings.HasPrefix(r.Path, "/v1/v1/") {
				t.Errorf("%s: %s", c.Name, r.Path)
			}
		}
	}
}

// TestRefused is a client with a wrong key: it must say so, or a proxy that
// injects nothing would pass for one that does.
func TestRefused(t *testing.T) {
	for _, c := range clients(t) {
		steps, _, _, err := play(t, c, testsrv.Options{}, "sk-placeholder")
		if err == nil || len(steps) == 0 || steps[0].OK || steps[0].Status != 401 {
			t.Errorf("%s: %v %+v", c.Name, err, steps)
		}
	}
}

// TestStreamsOneByOne has every client read its streams in lockstep with the
// server.
func TestStreamsOneByOne(t *testing.T) {
	for _, c := range clients(t) {
		t.Run(c.Name, func(t *testing.T) {
			var lock Lockstep
			steps, _, _, err := play(t, c, testsrv.Options{Compress: true, Gate: lock.Gate}, key, lock.Printed)
			if err != nil || len(steps) < 10 {
				t.Errorf("%v %+v", err, steps)
			}
		})
	}
}
