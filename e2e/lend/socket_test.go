package lend_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/canary"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/e2e/sdk"
	"github.com/litentry/agentkeys/internal/testsrv"
)

func init() { helpers["socket"] = socketClient }

// socketClient is an agent that uses its own socket and no placeholder. It
// prints all that it has and gets, and reads its stream event by event.
func socketClient() error {
	for _, v := range os.Environ() {
		fmt.Println(v)
	}
	a := rig.OnSocket(os.Getenv("AGENTKEYS_SOCKET"))
	show := func(resp *http.Response) {
		fmt.Println(resp.Proto, resp.Status)
		_ = resp.Header.Write(os.Stdout)
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/models", ""},
		{"POST", "/chat/completions", rig.ChatBody("some-model", "plain", false)},
		{"POST", "/chat/completions", rig.ChatBody("error-429", "limit", false)},
		{"POST", "/chat/completions", rig.ChatBody("echo-key", "echo", false)},
		{"POST", "/chat/completions", rig.ChatBody("echo-key-error", "echo", false)},
		{"GET", "/key", ""},
	} {
		resp, err := a.Open(context.Background(), r.method, "openrouter", r.path, r.body)
		if err != nil {
			return err
		}
		show(resp)
		_, err = io.Copy(os.Stdout, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
	}
	// Streaming, echo-key quotes the key four characters an event. Nobody on
	// the way finds that, here or elsewhere: a service that is set on telling
	// the key to its user can.
	for _, model := range []string{"some-model", "echo-key"} {
		resp, err := a.Open(context.Background(), "POST", "openrouter", "/chat/completions", rig.ChatBody(model, "stream", true))
		if err != nil {
			return err
		}
		show(resp)
		sc := bufio.NewScanner(resp.Body)
		for sc.Scan() {
			fmt.Println(sc.Text())
		}
		if err := errors.Join(sc.Err(), resp.Body.Close()); err != nil {
			return err
		}
	}
	return nil
}

// TestSocket runs a client that knows nothing but AGENTKEYS_SOCKET.
func TestSocket(t *testing.T) {
	h := rig.New(t)
	h.Up()
	var l sdk.Lockstep
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Compress: true, Gate: l.Gate})
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "openrouter")
	search := canary.New(s.Key, h.Passphrase)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := h.Command(ctx, "run", "--as", "coder", "--", os.Args[0])
	cmd.Env = append(slices.Clone(h.Env), helperVar+"=socket", "OPENROUTER_API_KEY="+s.Key)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	event := 0
	for sc := bufio.NewScanner(pipe); sc.Scan(); {
		out.WriteString(sc.Text() + "\n")
		// A comment counts for the gate like any event.
		if strings.HasPrefix(sc.Text(), "data: ") || strings.HasPrefix(sc.Text(), ": ") {
			event++
			l.Printed(sdk.Step{Event: event})
		}
		if sc.Text() == "data: [DONE]" {
			event = 0
			l.Printed(sdk.Step{})
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.Bytes(), stderr.Bytes())
	}
	clean(t, search, map[string][]byte{"stdout": out.Bytes(), "stderr": stderr.Bytes()})
	for _, part := range []string{
		testsrv.Reply("plain"), "429 Too Many Requests", "You authenticated with ****", "Could not process the request of ****",
		`"code":"path-shut"`, "data: [DONE]", testsrv.Digest("stream"), "AGENTKEYS_AGENT=coder",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in what the client got:\n%s", part, out.Bytes())
		}
	}
	for _, seen := range s.Requests() {
		if seen.Key != "real" {
			t.Errorf("the service saw %s %s %q", seen.Method, seen.Path, seen.Header)
		}
	}
	if n := len(s.Requests()); n != 8 { // one of them checked the key
		t.Errorf("the service saw %d requests", n)
	}
	log, _ := os.ReadFile(h.Paths.DaemonLog())
	if !strings.Contains(string(log), "the service echoed the credential") {
		t.Errorf("nobody is told of the echo:\n%s", log)
	}
	cleanHome(t, h, search)
}
