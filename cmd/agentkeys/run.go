package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
)

func (a *app) runCmd() *cobra.Command {
	var as string
	var keep []string
	c := &cobra.Command{
		Use:   "run --as AGENT -- PROGRAM [ARG …]",
		Short: "Run a program as an agent",
		Long: `Run a program with the placeholders and base URLs of what the agent is lent in
its environment, and without any variable that holds a real key. The program's
exit code is passed on; 125 means that agentkeys could not start it, 126 that it
cannot be executed and 127 that it was not found. The session ends with it.`,
		Example: `  agentkeys run --as coder -- python agent.py
  agentkeys run --as coder -- bash -c 'curl -sS "$AGENTKEYS_OPENROUTER_URL/models" -H "Authorization: Bearer $OPENROUTER_API_KEY"'`,
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			label, err := a.agentFlag(cmd, as)
			if err != nil {
				return runFailed(err)
			}
			// The environment this started with may hold real keys, and the
			// agent's processes are children of this one.
			daemon.Conceal()
			client, err := a.client()
			if err != nil {
				return runFailed(err)
			}
			sess, err := client.StartSession(cmd.Context(), control.SessionRequest{
				Agent: label, TTL: int64(local.SessionTTL.Seconds()), Run: true,
			})
			if err != nil {
				return runFailed(err)
			}
			env, dropped := agentEnv(os.Environ(), sess.Env, keep)
			if len(dropped) > 0 {
				fmt.Fprintf(a.stderr, "agentkeys: not passed on, because they hold or may hold a key: %s\n", strings.Join(dropped, ", "))
			}
			if len(sess.Env.Set) == local.EnvAlways {
				fmt.Fprintf(a.stderr, "agentkeys: %s is lent nothing at the moment: see 'agentkeys grants'\n", label)
			}
			path, err := exec.LookPath(args[0])
			if err != nil {
				a.endSession(client, sess.Token)
				if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EISDIR) {
					return failWith(126, "not-executable", fmt.Errorf("cannot execute %s", args[0]), "make it executable")
				}
				return failWith(127, "not-found", fmt.Errorf("no program %s", args[0]), "check its name and your PATH")
			}
			stop := a.keepAlive(client, sess.Token)
			code, err := supervise(path, args, env)
			stop()
			a.endSession(client, sess.Token)
			if err != nil {
				return failWith(126, "not-executable", fmt.Errorf("cannot execute %s: %w", args[0], err), "check that it is a program, and that what its first line names is there")
			}
			if code != 0 {
				return exitStatus(code)
			}
			return nil
		},
	}
	c.Flags().StringVar(&as, "as", "", "the `AGENT` to run as (or AGENTKEYS_AGENT)")
	c.Flags().StringArrayVar(&keep, "keep-env", nil, "pass the variable `NAME` on even though it looks like a key; may be repeated")
	_ = c.RegisterFlagCompletionFunc("as", a.completeAgents)
	// What follows the program belongs to it.
	c.Flags().SetInterspersed(false)
	return c
}

// agentFlag says which agent a command is for.
func (a *app) agentFlag(cmd *cobra.Command, as string) (agentkeys.Agent, error) {
	if as == "" {
		as = a.getenv("AGENTKEYS_AGENT")
	}
	if as == "" {
		return agentkeys.Agent{}, usage(cmd, errors.New("which agent? give --as AGENT"))
	}
	return agentkeys.ParseAgent(as)
}

// runFailed keeps run's own failures apart from its program's.
func runFailed(err error) error {
	p := classify(err)
	return &problem{err: p.err, fix: p.fix, code: p.code, exit: exitRunFailed}
}

// inForeground reports whether what is pressed on the terminal goes to this
// process group, be standard input the terminal or a pipe.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// keepAlive prolongs the session until stopped. A background process that was
// restarted meanwhile learns of the run by it.
func (a *app) keepAlive(client *control.Client, token string) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				ctx, cancel := shortContext()
				_ = client.RenewSession(ctx, token)
				cancel()
			}
		}
	}()
	return func() { close(done) }
}

// endSession is best effort: the session ends by itself within the hour.
func (a *app) endSession(client *control.Client, token string) {
	ctx, cancel := shortContext()
	defer cancel()
	_ = client.EndSession(ctx, token)
}

// agentEnv makes an agent's environment of the user's: what the session sets
// wins, what may hold a key goes. It returns the names it left out.
func agentEnv(env []string, s local.Env, keep []string) (out, dropped []string) {
	kept := func(name string) bool {
		for _, k := range keep {
			if k == name {
				return true
			}
		}
		return false
	}
	skip := map[string]bool{childVariable: true, "AGENTKEYS_PASSPHRASE_FILE": true}
	for _, v := range s.Set {
		skip[v.Name] = true
	}
	unset := map[string]bool{}
	for _, name := range s.Unset {
		unset[name] = true
	}
	var proxied bool
	noProxy := map[string]string{"NO_PROXY": "", "no_proxy": ""}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		switch {
		case skip[name]:
			continue
		case kept(name):
		case unset[name], value != "" && catalog.LooksLikeKey(value):
			if value != "" {
				dropped = append(dropped, name)
			}
			continue
		}
		switch name {
		case "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy":
			proxied = proxied || value != ""
		case "NO_PROXY", "no_proxy":
			noProxy[name] = value
			continue
		}
		out = append(out, kv)
	}
	for name, value := range noProxy {
		// Many clients would send requests for loopback to the user's proxy.
		if proxied {
			if value != "" {
				value += ","
			}
			value += "127.0.0.1,localhost"
		}
		if value != "" {
			out = append(out, name+"="+value)
		}
	}
	for _, v := range s.Set {
		out = append(out, v.Name+"="+v.Value)
	}
	return out, dropped
}

func (a *app) envCmd() *cobra.Command {
	var as, shell, ttl string
	c := &cobra.Command{
		Use: "env --as AGENT", Short: "Print an agent's environment for a shell", Args: cobra.NoArgs,
		Long: `Print an agent's placeholders and base URLs as shell commands, for programs that
cannot be started with 'agentkeys run'. The placeholders work until they expire
or the agent is removed, from any process of yours that has them.`,
		Example: "  eval \"$(agentkeys env --as coder)\"\n  agentkeys env --as coder --shell fish | source\n  agentkeys env --as coder --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			label, err := a.agentFlag(cmd, as)
			if err != nil {
				return err
			}
			life, err := parseSpan(ttl)
			if err != nil {
				return usage(cmd, fmt.Errorf("--ttl %q: %w", ttl, err))
			}
			if life > local.MaxSessionTTL {
				return usage(cmd, fmt.Errorf("--ttl %q: at most %s", ttl, span(local.MaxSessionTTL)))
			}
			if shell != "sh" && shell != "fish" {
				return usage(cmd, fmt.Errorf("--shell %q: there is sh and fish", shell))
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.StartSession(cmd.Context(), control.SessionRequest{Agent: label, TTL: int64(life.Seconds())})
			if err != nil {
				return err
			}
			return a.print(s.Env, func() {
				for _, name := range s.Env.Unset {
					if a.getenv(name) == "" {
						continue
					}
					if shell == "fish" {
						fmt.Fprintf(a.stdout, "set -e %s\n", name)
					} else {
						fmt.Fprintf(a.stdout, "unset %s\n", name)
					}
				}
				for _, v := range s.Env.Set {
					if shell == "fish" {
						fmt.Fprintf(a.stdout, "set -gx %s %s\n", v.Name, quote(v.Value))
					} else {
						fmt.Fprintf(a.stdout, "export %s=%s\n", v.Name, quote(v.Value))
					}
				}
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "the `AGENT` (or AGENTKEYS_AGENT)")
	c.Flags().StringVar(&shell, "shell", "sh", "for which `SHELL`: sh or fish")
	c.Flags().StringVar(&ttl, "ttl", "12h", "how long the placeholders work, a `SPAN` such as 90m or 7d")
	_ = c.RegisterFlagCompletionFunc("as", a.completeAgents)
	return c
}

// quote quotes a value for sh and fish, which read it alike.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (a *app) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say whose keys these are, and as which agent this runs", Args: cobra.NoArgs,
		Example: "  agentkeys whoami --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			st, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			me := struct {
				Wallet agentkeys.Wallet `json:"wallet"`
				Agent  string           `json:"agent,omitempty"`
			}{st.Wallet, a.getenv("AGENTKEYS_AGENT")}
			if st.Broker != nil && !st.Broker.Agent.IsZero() {
				me.Agent = st.Broker.Agent.String()
			}
			return a.print(me, func() {
				if me.Agent != "" {
					fmt.Fprintf(a.stdout, "agent %s of %s\n", me.Agent, signer.ChecksumAddress(me.Wallet))
				} else {
					fmt.Fprintf(a.stdout, "master %s\n", signer.ChecksumAddress(me.Wallet))
				}
			})
		},
	}
}
