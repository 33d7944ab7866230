//go:build !linux

package rig

import (
	"context"
	"errors"
	"os/exec"
)

// Inside is for Linux.
func Inside() (program string, err error) { return "", nil }

// Again is for Linux.
func Again(context.Context, string, ...string) (*exec.Cmd, error) {
	return nil, errors.New("these tests need namespaces of Linux")
}

// Explain is for Linux.
func Explain(err error) error { return err }
