// Package chaos_test kills replicas of the broker, and what they keep their
// state in, at random moments under ten writers, and holds what is found
// afterwards against what was acknowledged before. The programs are real: the
// broker, the signer, PostgreSQL.
//
// Laws that it tries:
//   - Nothing that was acknowledged is lost, and each replica's log has it.
//   - What is good once is consumed once: codes, nonces, proofs, enrolments.
//   - Nothing is signed by a key that the key set does not have.
//   - A revocation is told before any beat that is younger.
package chaos_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// program is the freshly built binary.
var program string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/chaos:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "ak-chaos-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "agentkeys")
	// Linked once for all packages: what go run starts is cached.
	build := exec.Command("go", "run", "-exec", "cp", "../../cmd/agentkeys", program)
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building agentkeys: %w\n%s", err, out)
	}
	// There are thousands of devices: none keeps a connection.
	http.DefaultTransport.(*http.Transport).DisableKeepAlives = true
	return m.Run(), nil
}

// number reads an environment variable.
func number(t *testing.T, name string, fallback uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
