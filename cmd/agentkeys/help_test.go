package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
)

// everyCommand calls f with each command of our own.
func everyCommand(t *testing.T, f func(t *testing.T, c *cobra.Command)) {
	t.Helper()
	a := &app{stdin: os.Stdin, stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.Hidden {
			t.Run(strings.ReplaceAll(c.CommandPath(), " ", "_"), func(t *testing.T) { f(t, c) })
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" { // cobra's
				walk(sub)
			}
		}
	}
	walk(a.root(nil))
}

// Every command says in its help what it does and how it is called, and its
// examples call commands and flags that there are.
func TestHelp(t *testing.T) {
	everyCommand(t, func(t *testing.T, c *cobra.Command) {
		switch {
		case c.Short == "" || strings.HasSuffix(c.Short, ".") || len(c.Short) > 72:
			t.Errorf("the short text is %q", c.Short)
		case c.Example == "":
			t.Error("there is no example")
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Short, "\n") {
			if len(line) > 80 {
				t.Errorf("wider than a terminal: %q", line)
			}
		}
		own := false
		for line := range strings.SplitSeq(c.Example, "\n") {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("example %q is not indented", line)
			}
			for _, call := range calls(line) {
				target, rest, err := c.Root().Find(call)
				if err != nil {
					t.Errorf("example %q: %v", line, err)
					continue
				}
				own = own || target == c || target.Parent() == c
				for _, arg := range rest {
					if arg == "--" || target.Name() == "run" && !strings.HasPrefix(arg, "-") && arg != "coder" {
						break
					}
					if name, ok := strings.CutPrefix(arg, "--"); ok {
						name, _, _ = strings.Cut(name, "=")
						if target.Flags().Lookup(name) == nil && target.InheritedFlags().Lookup(name) == nil {
							t.Errorf("example %q: %s has no flag --%s", line, target.CommandPath(), name)
						}
					}
				}
			}
		}
		if !own && c.HasParent() && c.Example != "" {
			t.Errorf("no example calls it:\n%s", c.Example)
		}
	})
}

var callText = regexp.MustCompile(`\bagentkeys ([^|)&;>]*)`)

// calls finds the calls of agentkeys in a line of an example.
func calls(line string) (all [][]string) {
	for _, m := range callText.FindAllStringSubmatch(line, -1) {
		all = append(all, strings.Fields(m[1]))
	}
	return all
}

// Every flag is explained, in small letters and without a full stop, and none
// has the name or the letter of another meaning elsewhere.
func TestFlags(t *testing.T) {
	letters := map[string]string{}
	everyCommand(t, func(t *testing.T, c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("--%s is explained by %q", f.Name, f.Usage)
			}
			if name, _ := pflag.UnquoteUsage(f); f.Value.Type() != "bool" && strings.ToUpper(name) != name && !strings.Contains(name, "/") {
				t.Errorf("--%s takes a %q", f.Name, name)
			}
			if f.Shorthand == "" {
				return
			}
			if other, ok := letters[f.Shorthand]; ok && other != f.Name {
				t.Errorf("-%s is --%s here and --%s elsewhere", f.Shorthand, f.Name, other)
			}
			letters[f.Shorthand] = f.Name
		})
	})
}

// The exit codes are a promise to scripts: docs/reference/exit-codes.md. A
// change here is a change there, and a breaking one.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		exit int
		code string
	}{
		{"unforeseen", errors.New("x"), 1, "failed"},
		{"unforeseen, of the process", &control.Error{Code: control.CodeInternal}, 1, "internal"},
		{"usage", usage(&cobra.Command{Use: "x"}, errors.New("x")), 2, "usage"},
		{"usage of run", usage(&cobra.Command{Use: "run"}, errors.New("x")), 125, "usage"},
		{"malformed name", fmt.Errorf("x: %w", agentkeys.ErrName), 2, "usage"},
		{"malformed request", &control.Error{Code: control.CodeRequest}, 2, "malformed"},
		{"down", fmt.Errorf("x: %w", control.ErrDown), 3, "down"},
		{"not found", &control.Error{Code: control.CodeNotFound}, 4, "not-found"},
		{"unknown service", &control.Error{Code: control.CodeUnknown}, 4, "unknown-service"},
		{"bad key", &control.Error{Code: control.CodeBadKey}, 5, "key-refused"},
		{"denied", &control.Error{Code: control.CodeDenied}, 5, "denied"},
		{"forbidden", &control.Error{Code: control.CodeForbidden}, 5, "forbidden"},
		{"somebody else's socket", fmt.Errorf("x: %w", daemon.ErrPeer), 5, "forbidden"},
		{"exists", &control.Error{Code: control.CodeExists}, 6, "exists"},
		{"conflict", &control.Error{Code: control.CodeConflict}, 6, "conflict"},
		{"corrupt", &control.Error{Code: control.CodeCorrupt}, 7, "corrupt"},
		{"disk", &control.Error{Code: control.CodeDisk}, 9, "disk"},
		{"run's own failure", runFailed(control.ErrDown), 125, "down"},
		{"run's own failure with a fix", runFailed(&control.Error{Code: control.CodeDisk, Fix: "x"}), 125, "disk"},
		{"interrupted", errInterrupted, 130, "interrupted"},
	} {
		p := classify(fmt.Errorf("outer: %w", c.err))
		if p.exit != c.exit || p.code != c.code {
			t.Errorf("%s: exit %d, code %s; want %d, %s", c.name, p.exit, p.code, c.exit, c.code)
		}
	}
	for _, c := range causes {
		if p := explain(fmt.Errorf("outer: %w", c.is)); p.exit != c.exit || p.fix == "" || p.code == "" {
			t.Errorf("%v: exit %d, code %q, fix %q", c.is, p.exit, p.code, p.fix)
		}
	}
}

// A failure is one line, and its fix another, whatever the error says; a
// program's own exit code is passed on without a word.
func TestFail(t *testing.T) {
	key := newKey("openrouter")
	var stderr bytes.Buffer
	a := &app{stderr: &stderr, args: []string{"store", key, "--stdin=" + key, "-k" + key}}
	if code := a.fail(errors.Join(errors.New("one\ntwo"), fmt.Errorf("quoting %q", key))); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got, want := stderr.String(), "agentkeys: one; two; quoting \"…\"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	stderr.Reset()
	if code := a.fail(fmt.Errorf("x: %w", exitStatus(42))); code != 42 || stderr.Len() > 0 {
		t.Errorf("exit code %d, %q", code, &stderr)
	}
}
