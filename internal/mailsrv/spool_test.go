package mailsrv

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSweepSpool(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{".tmp-smtpin-old": 2 * time.Hour, ".tmp-smtpin-young": time.Minute, ".tmp-other": 2 * time.Hour, "kept": 2 * time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("obviously-fake"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".tmp-smtpin-directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweepSpool(dir, now.Add(30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{".tmp-smtpin-old": false, ".tmp-smtpin-young": true, ".tmp-other": true, "kept": true, ".tmp-smtpin-directory": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sweepSpool(filepath.Join(dir, "none"), now); err == nil {
		t.Error("a directory that is not there")
	}
}
