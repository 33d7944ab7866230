//go:build !linux

package main

import (
	"errors"
	"os"
)

// Scripts that need a terminal of their own begin with [!linux] skip.
func openTerminal() (master, slave *os.File, err error) {
	return nil, nil, errors.New("no pseudo-terminal here")
}

func echoes(*os.File) bool { return false }

func unprivileged([]string) error { return errors.New("not here") }

func impostor([]string) error { return errors.New("not here") }
