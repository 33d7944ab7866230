package dirmail

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// memDir is a directory for what is not about the disk: syncing takes its time
// there, and more when others write.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dirmail-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func openAt(t testing.TB, dir string) *Dir {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func open(t testing.TB) *Dir {
	t.Helper()
	return openAt(t, filepath.Join(memDir(t), "mail"))
}

// world is a Dir, another of the same directory, which shares no memory with
// it, and what is in the directory.
func world(t *testing.T, dir string) mailstoretest.World {
	return mailstoretest.World{
		Store: openAt(t, dir), Other: openAt(t, dir),
		Objects: func(t testing.TB) map[string][]byte { return objects(t, dir) },
		Plant:   func(t testing.TB, key string, data []byte) { plant(t, dir, key, data) },
	}
}

func objects(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == lockName {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plant puts a new file in the place of what was there.
func plant(t testing.TB, dir, key string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Error(err)
	}
	tmp := filepath.Join(filepath.Dir(dir), "planted")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		t.Error(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	mailstoretest.Run(t, func(t *testing.T) mailstoretest.World { return world(t, filepath.Join(t.TempDir(), "mail")) })
}

func TestCampaign(t *testing.T) {
	mailstoretest.Campaign(t, world(t, filepath.Join(memDir(t), "mail")), mailstoretest.Plan{Messages: 10_000, Seed: 3})
}

func TestCampaignRemovingSources(t *testing.T) {
	mailstoretest.Campaign(t, world(t, filepath.Join(memDir(t), "mail")), mailstoretest.Plan{Messages: 2_000, Seed: 4, RemoveSource: true})
}
