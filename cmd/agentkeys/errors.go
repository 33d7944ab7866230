package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
)

// The exit codes, as docs/reference/exit-codes.md has them.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitDown        = 3   // the background process is not running
	exitNotFound    = 4   // no such service, credential, agent, grant or mail
	exitRefused     = 5   // a key, grant or caller is refused
	exitConflict    = 6   // it exists already, or is in use
	exitCorrupt     = 7   // stored data is damaged, or the log does not verify
	exitLocked      = 8   // wrong passphrase, or a keychain that is locked or missing
	exitDisk        = 9   // the disk is full or fails
	exitPerson      = 10  // a person is wanted, and the command goes on when it is run again
	exitRunFailed   = 125 // `run` could not start the program
	exitInterrupted = 130
)

// problem is a failure with what to do about it and an exit code.
type problem struct {
	err  error
	fix  string
	code string
	exit int
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

func failWith(exit int, code string, err error, fix string) error {
	return &problem{err: err, fix: fix, code: code, exit: exit}
}

var errInterrupted = failWith(exitInterrupted, "interrupted", errors.New("interrupted"), "")

// usage is a mistake in how a command was called.
func usage(c *cobra.Command, err error) error {
	exit := exitUsage
	if c.Name() == "run" {
		exit = exitRunFailed // anything lower may be its program's
	}
	return failWith(exit, "usage", err, fmt.Sprintf("see '%s --help'", c.CommandPath()))
}

var exits = map[string]int{
	control.CodeNotFound: exitNotFound, control.CodeUnknown: exitNotFound, control.CodeNoMail: exitNotFound,
	control.CodeExists: exitConflict, control.CodeConflict: exitConflict,
	control.CodeDenied: exitRefused, control.CodeForbidden: exitRefused, control.CodeBadKey: exitRefused, control.CodeLoggedOut: exitRefused,
	control.CodeExchange: exitRefused,
	control.CodeRequest:  exitUsage, control.CodeCorrupt: exitCorrupt, control.CodeDisk: exitDisk,
}

// classify gives any error a fix and an exit code.
func classify(err error) *problem {
	var p *problem
	var e *control.Error
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &e):
		exit := exits[e.Code]
		if exit == 0 {
			exit = exitFailure
		}
		return &problem{err: err, fix: e.Fix, code: e.Code, exit: exit}
	case errors.Is(err, control.ErrDown):
		return &problem{err: err, fix: "start it with 'agentkeys up'", code: "down", exit: exitDown}
	case errors.Is(err, daemon.ErrPeer):
		return &problem{err: err, fix: "nothing was sent; find out who put a socket there", code: control.CodeForbidden, exit: exitRefused}
	case errors.Is(err, context.Canceled):
		return classify(errInterrupted)
	case errors.Is(err, agentkeys.ErrName):
		return &problem{err: err, fix: "write it as 'agentkeys services' or 'agentkeys agent list' has it", code: "usage", exit: exitUsage}
	case strings.HasPrefix(err.Error(), "unknown command"):
		// cobra has no type for it.
		return &problem{err: err, fix: "see 'agentkeys help'", code: "usage", exit: exitUsage}
	}
	return &problem{err: err, code: "failed", exit: exitFailure}
}

// fail prints problem, cause and fix, and returns the exit code.
func (a *app) fail(err error) int {
	p := classify(err)
	var done exitStatus
	if errors.As(err, &done) {
		return int(done)
	}
	text := hide(strings.ReplaceAll(strings.TrimSpace(p.err.Error()), "\n", "; "), a.args)
	if a.json || wantsJSON(a.args) {
		_ = json.NewEncoder(printableJSON{a.stderr}).Encode(map[string]any{"error": map[string]any{
			"code": p.code, "problem": text, "fix": p.fix, "exit": p.exit,
		}})
		return p.exit
	}
	var faults conf.Faults
	if errors.As(p.err, &faults) {
		fmt.Fprintf(a.stderr, "agentkeys: %v\n%s\n", conf.ErrConfig, hide("  "+strings.ReplaceAll(faults.Error(), "\n", "\n  "), a.args))
		return p.exit
	}
	// What a server, a file or a mail had a part in.
	fmt.Fprintf(a.stderr, "agentkeys: %s\n", printable(text))
	if p.fix != "" {
		fmt.Fprintf(a.stderr, "  fix: %s\n", p.fix)
	}
	return p.exit
}

// wantsJSON finds the flag where the mistake was made before it was parsed.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i] // the rest is another program's
	}
	return slices.Contains(args, "--json")
}

// hide keeps a key that was given as an argument, alone or as the value of a
// flag, from being said again.
func hide(text string, args []string) string {
	for _, arg := range args {
		_, value, _ := strings.Cut(arg, "=")
		for _, part := range []string{arg, value, arg[min(2, len(arg)):]} {
			if catalog.LooksLikeKey(part) {
				text = strings.ReplaceAll(text, part, "…")
			}
		}
	}
	return text
}

// exitStatus is another program's exit code, passed on without a word.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
