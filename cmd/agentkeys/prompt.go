package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/litentry/agentkeys/internal/secret"
)

// hidden asks for a line on the terminal without echo. An interrupt restores
// the terminal and is errInterrupted.
func (a *app) hidden(ctx context.Context, question string) (secret.Value, error) {
	fd := int(a.stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return secret.Value{}, err
	}
	fmt.Fprint(a.stderr, question)
	type answer struct {
		b   []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		done <- answer{b, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, state)
		fmt.Fprintln(a.stderr)
		return secret.Value{}, errInterrupted
	case got := <-done:
		fmt.Fprintln(a.stderr)
		if errors.Is(got.err, io.EOF) {
			return secret.Value{}, errInterrupted
		}
		return secret.New(got.b), got.err
	}
}

// line asks for a line with echo.
func (a *app) line(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	type answer struct {
		s   string
		err error
	}
	done := make(chan answer, 1)
	go func() {
		s, err := bufio.NewReader(a.stdin).ReadString('\n')
		done <- answer{s, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return "", errInterrupted
	case got := <-done:
		if errors.Is(got.err, io.EOF) {
			fmt.Fprintln(a.stderr)
			return "", errInterrupted
		}
		return strings.TrimSpace(got.s), got.err
	}
}

// trimNewline drops one line ending, which editors and echo add, and clears
// what it drops.
func trimNewline(v secret.Value) secret.Value {
	b := v.Expose()
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
		if n > 0 && b[n-1] == '\r' {
			n--
		}
	}
	clear(b[n:])
	return secret.New(b[:n])
}

// secretFile reads a secret from a file that only its owner can read.
func secretFile(path string, limit int) (secret.Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return secret.Value{}, err
	}
	if fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		return secret.Value{}, failWith(exitLocked, "exposed",
			fmt.Errorf("%s can be read by others (mode %04o)", path, fi.Mode().Perm()), "chmod 600 "+path)
	}
	v, err := secret.Read(f, limit)
	if err != nil {
		return v, err
	}
	return trimNewline(v), nil
}
