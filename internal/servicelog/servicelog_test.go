package servicelog_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/servicelog"
)

func record(t *testing.T, dir string) string {
	t.Helper()
	l, err := servicelog.Open(dir, "agentkeys/broker-test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(context.Background(), grant.Event{Op: "token.mint", Decision: grant.Allowed}); err != nil {
		t.Fatal(err)
	}
	if _, err := servicelog.Open(dir, "agentkeys/broker-test", time.Now); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.VerifierKey
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	key := record(t, dir)
	if again := record(t, dir); again != key {
		t.Errorf("the key changed from %s to %s", key, again)
	}
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if err != nil || strings.TrimSpace(string(vkey)) != key {
		t.Errorf("log.vkey: %s, %v", vkey, err)
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := audit.Verify(filepath.Join(dir, "log"), audit.VerifyOptions{Verifier: v}); err != nil || r.Checked != 2 {
		t.Errorf("verify: %+v, %v", r, err)
	}
	for path, mode := range map[string]os.FileMode{"": 0o700, "seed": 0o600} {
		if fi, err := os.Stat(filepath.Join(dir, path)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, fi.Mode(), err)
		}
	}
}

func TestSeed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"gone":    {os.Remove, "backup"},
		"open":    {func(p string) error { return os.Chmod(p, 0o640) }, "chmod 600"},
		"cut":     {func(p string) error { return os.Truncate(p, 40) }, "64 hexadecimal"},
		"long":    {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("0", 66)), 0o600) }, "64 hexadecimal"},
		"foreign": {func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("z", 64)), 0o600) }, "64 hexadecimal"},
	} {
		dir := filepath.Join(t.TempDir(), "audit")
		record(t, dir)
		if err := c.spoil(filepath.Join(dir, "seed")); err != nil {
			t.Fatal(err)
		}
		if _, err := servicelog.Open(dir, "agentkeys/broker-test", time.Now); !errors.Is(err, servicelog.ErrSeed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
