package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/local"
)

func (a *app) demoCmd() *cobra.Command {
	var keep, fast bool
	c := &cobra.Command{
		Use: "demo", Short: "Watch all of it happen on local servers", Args: cobra.NoArgs,
		Long: `Run the whole story by itself, in a directory of its own and with local servers
in the place of OpenRouter, its pages and its mail: no account, no network,
nothing of yours is touched. A browser signs up at the pages; without Chromium
on this machine that part is left out, and the story begins with a key.`,
		Example: "  agentkeys demo\n  agentkeys demo --keep",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), keep, fast || !a.onTerminal())
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "leave the directory to look around in")
	c.Flags().BoolVar(&fast, "fast", false, "do not pause between the steps")
	c.AddCommand(a.demoAgentCmd())
	return c
}

// story runs commands of this very program and tells what they show.
type story struct {
	a    *app
	ctx  context.Context
	exe  string
	home string
	env  []string
	fast bool
	step int
}

func (a *app) demo(ctx context.Context, keep, fast bool) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "agentkeys-demo-")
	if err != nil {
		return err
	}
	v, err := openVendor()
	if err != nil {
		return err
	}
	s := &story{a: a, ctx: ctx, exe: exe, home: home, fast: fast, env: append(childEnv(os.Environ()),
		"AGENTKEYS_HOME="+home, "AGENTKEYS_PASSPHRASE_FILE="+filepath.Join(home, "passphrase"),
		"OPENAI_API_KEY=sk-of-yours-that-an-agent-need-not-see")}
	defer func() {
		// Also after an interrupt, so not under ctx.
		down := exec.Command(exe, "down")
		down.Env = s.env
		_ = down.Run()
		v.close()
		if keep {
			fmt.Fprintf(a.stdout, "\nIt is all in %s: AGENTKEYS_HOME=%s agentkeys audit verify\n", home, home)
			return
		}
		_ = os.RemoveAll(home)
	}()
	ca := filepath.Join(home, "stand-in-ca.pem")
	if err := errors.Join(
		os.WriteFile(filepath.Join(home, "passphrase"), []byte(randomHex(24)+"\n"), 0o600),
		os.WriteFile(ca, v.caPEM(), 0o600),
	); err != nil {
		return err
	}
	return s.tell(v, ca)
}

func (s *story) tell(v *demoVendor, ca string) error {
	fmt.Fprintf(s.a.stdout, "Local servers play OpenRouter: its API at %s, its pages at %s, and its mail. Everything else is the real thing.\n", v.api.URL(), v.site.Addr())
	agent := []string{"run", "--as", "coder", "--", "agentkeys", "demo", "agent"}
	steps := []func() error{
		func() error {
			return s.run("One background process, on loopback, for this demo only. It takes the mail of this wallet too.", "", 0, "up", "--mail-resolver", v.names.Addr())
		},
		func() error {
			return s.run("OpenRouter is to be reached at the stand-in, an address nothing may dial unless you say so.", "", 0,
				"services", "set", "openrouter", "--base-url", v.api.URL()+"/api/v1", "--ca", ca, "--allow-address", v.api.Addr(), "--site-address", v.site.Addr().String())
		},
		func() error { return s.getKey(v) },
		func() error {
			return s.run("A key with a slip in it: the service itself is asked, and what is stored stays.", "sk-or-v1-"+randomHex(32), exitRefused, "store", "openrouter", "--stdin")
		},
		func() error { return s.run("An agent, with a wallet of its own.", "", 0, "agent", "create", "coder") },
		func() error {
			return s.run("It may chat, for five dollars a day, sixty times a minute, for a week. Nothing else.", "", 0,
				"grant", "coder", "openrouter", "--path", "POST /chat/completions", "--budget", "5usd/day", "--rate", "60/min", "--expires", "7d")
		},
		func() error {
			return s.run("The agent at work. Look at what it holds, and at what it is refused.", "", 0, agent...)
		},
		func() error { return s.run("What that cost, by the service's own account.", "", 0, "grants") },
		s.remember,
		func() error {
			return s.run("You take the grant back.", "", 0, "revoke", "coder", "openrouter")
		},
		func() error {
			return s.run("The same agent again, in a shell that still has a placeholder.", "", 0, "demo", "agent")
		},
		func() error {
			return s.run("Every decision was on record before anything was released.", "", 0, "audit", "tail", "-n", "16")
		},
		func() error {
			return s.run("And the record is whole.", "", 0, "audit", "verify")
		},
		s.forge,
		func() error { return s.search(v) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if !s.fast {
			select {
			case <-s.ctx.Done():
				return errInterrupted
			case <-time.After(1200 * time.Millisecond):
			}
		}
	}
	fmt.Fprintf(s.a.stdout, "\nThat is all of it. For your own keys: agentkeys up, then agentkeys store SERVICE.\n")
	return nil
}

func (s *story) say(text string) {
	s.step++
	fmt.Fprintf(s.a.stdout, "\n%2d. %s\n", s.step, text)
}

// run runs a command, shows it, and fails if it does not end as told.
func (s *story) run(why, stdin string, want int, args ...string) error {
	s.say(why)
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = arg
		if strings.ContainsAny(arg, " *") {
			shown[i] = "'" + arg + "'"
		}
	}
	fmt.Fprintf(s.a.stdout, "    $ agentkeys %s\n", strings.Join(shown, " "))
	real := append([]string{}, args...)
	for i, arg := range real {
		if arg == "agentkeys" {
			real[i] = s.exe
		}
	}
	cmd := exec.CommandContext(s.ctx, s.exe, real...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = s.env
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin + "\n")
	}
	out := &indent{w: s.a.stdout}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if s.ctx.Err() != nil {
		return errInterrupted
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("the demo went wrong: 'agentkeys %s' ended with %d, not %d", args[0], got, want)
	}
	return nil
}

// remember puts what the agent was given into the environment of the commands
// that follow, as in a shell that had it from `agentkeys env`.
func (s *story) remember() error {
	cmd := exec.CommandContext(s.ctx, s.exe, "env", "--as", "coder", "--json")
	cmd.Env = s.env
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var env local.Env
	if err := json.Unmarshal(out, &env); err != nil {
		return err
	}
	for _, name := range env.Unset {
		s.env = append(s.env, name+"=")
	}
	for _, v := range env.Set {
		s.env = append(s.env, v.Name+"="+v.Value)
	}
	return nil
}

// forge changes one byte in a copy of the log and has it verified.
func (s *story) forge() error {
	from, to := filepath.Join(s.home, "data", "log"), filepath.Join(s.home, "forged")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	changed := false
	err := filepath.WalkDir(filepath.Join(to, "tile", "entries"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || changed {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if i := bytes.Index(data, []byte(`"deny"`)); i >= 0 {
			copy(data[i:], `"done"`)
			changed = true
			return os.WriteFile(path, data, 0o600)
		}
		return nil
	})
	if err != nil || !changed {
		return errors.Join(err, errors.New("the demo went wrong: no denial is on record"))
	}
	return s.run("Somebody with access to the disk rewrites one entry, in a copy of the log. The checker names it.", "", exitCorrupt, "audit", "verify", "--dir", to)
}

// search looks for the key wherever the demo left anything.
func (s *story) search(v *demoVendor) error {
	s.say("Where is the key now? Not in any file, and not with the agent:")
	files, hits := 0, 0
	err := filepath.WalkDir(s.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, key := range v.secrets() {
			if bytes.Contains(data, []byte(strings.TrimPrefix(key, "sk-or-v1-"))) {
				hits++
				fmt.Fprintf(s.a.stdout, "    found in %s\n", path)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	used := 0
	for _, r := range v.api.Requests() {
		if r.Key != "" {
			used++
		}
	}
	fmt.Fprintf(s.a.stdout, "    %d files searched, %d with the key; the server saw it %d times.\n", files, hits, used)
	if hits > 0 || used == 0 {
		return errors.New("the demo went wrong: the key leaked, or was never used")
	}
	return nil
}

// indent sets what a command prints off from the story.
type indent struct {
	w   io.Writer
	mid bool
}

func (i *indent) Write(p []byte) (int, error) {
	var out []byte
	for _, c := range p {
		if !i.mid {
			out = append(out, "    "...)
		}
		out = append(out, c)
		i.mid = c != '\n'
	}
	_, err := i.w.Write(out)
	return len(p), err
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// demoAgentCmd is the agent of the demo: a program that knows nothing but its
// environment, as any other would.
func (a *app) demoAgentCmd() *cobra.Command {
	return &cobra.Command{
		Use: "agent", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, url := a.getenv("OPENROUTER_API_KEY"), a.getenv("AGENTKEYS_OPENROUTER_URL")
			if key == "" {
				fmt.Fprintln(a.stdout, "agent: my environment has no OPENROUTER_API_KEY: I was lent nothing")
				return exitStatus(1)
			}
			fmt.Fprintf(a.stdout, "agent: OPENROUTER_API_KEY=%s… is a placeholder\n", key[:min(len(key), 24)])
			fmt.Fprintf(a.stdout, "agent: OPENAI_API_KEY=%q: what your shell holds did not come along\n", a.getenv("OPENAI_API_KEY"))
			ask := func(method, path, body string) error {
				return a.demoAsk(cmd.Context(), method, url+path, key, body)
			}
			return errors.Join(
				ask("POST", "/chat/completions", `{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Say hello."}]}`),
				ask("POST", "/chat/completions", `{"model":"openai/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Count."}]}`),
				ask("GET", "/models", ""),
				ask("GET", "/keys", ""),
			)
		},
	}
}

func (a *app) demoAsk(ctx context.Context, method, url, key, body string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintf(a.stdout, "agent: %s %s → %s", method, req.URL.Path, resp.Status)
	defer fmt.Fprintln(a.stdout)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		events := 0
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			if strings.HasPrefix(sc.Text(), "data: {") {
				events++
				fmt.Fprint(a.stdout, " ·")
			}
		}
		fmt.Fprintf(a.stdout, " %d events, each as it came", events)
		return nil
	}
	var answer struct {
		Choices []struct {
			Message struct{ Content string }
		}
		Detail string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil
	}
	for _, c := range answer.Choices {
		fmt.Fprintf(a.stdout, "  %q", c.Message.Content)
	}
	if answer.Detail != "" {
		fmt.Fprintf(a.stdout, "\n         %s", answer.Detail)
	}
	return nil
}
