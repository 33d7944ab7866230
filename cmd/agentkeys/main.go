// Command agentkeys lends AI agents access to services without giving them the
// keys. This package owns commands, flags, configuration and wiring, and
// nothing else: whatever decides, keeps or injects is in internal.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main with an exit code; the scripts in testdata call it too.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	return a.main(ctx, args)
}

// app is what every command needs of the world outside.
type app struct {
	stdin          *os.File
	stdout, stderr io.Writer
	getenv         func(string) string
	args           []string
	json           bool
}

func (a *app) main(ctx context.Context, args []string) int {
	a.args = args
	root := a.root(args)
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	// What `run` ran may have had its own idea of an interrupt.
	if _, ended := errors.AsType[exitStatus](err); ctx.Err() != nil && !ended {
		err = errInterrupted
	}
	return a.fail(err)
}
