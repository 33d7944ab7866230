// Package cloud tries the broker as its operator and its users have it, on a
// rig of real processes. It has tests and nothing else.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/litentry/agentkeys/e2e/cloud/rig"
)

// program is the freshly built binary.
var program string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/cloud:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var err error
	if program, err = rig.Inside(); err != nil {
		return 0, err
	}
	if program != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "ak-cloud-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "agentkeys")
	// Linked once for all packages: what go run starts is cached.
	build := exec.Command("go", "run", "-exec", "cp", "../../cmd/agentkeys", binary)
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building agentkeys: %w\n%s", err, out)
	}
	cmd, err := rig.Again(context.Background(), binary, os.Args[1:]...)
	if err != nil {
		return 0, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, rig.Explain(err)
}
