// Package npm gives tests the programs of a package-lock.json, installed into a
// cache outside the checkout, with no scripts of the packages run.
package npm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Install installs what the lock file at the root of src names, and copies the
// *.mjs files there beside it. It returns where: what was installed from the same files
// before is not installed again. Several processes may call it at once.
func Install(ctx context.Context, src fs.FS) (home string, err error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed; `make setup` installs it", program)
		}
	}
	home, err = install(ctx, src)
	if err != nil {
		return "", fmt.Errorf("installing the programs of a lock file, which `make setup` does while the registry can be reached: %w", err)
	}
	return home, nil
}

func install(ctx context.Context, src fs.FS) (string, error) {
	files, err := manifest(src)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s\n%d\n%s", f.name, len(f.text), f.text)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "agentkeys-e2e", "npm-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(home); err == nil {
		return home, nil
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(home), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(tmp, f.name), f.text, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	// Of several that install at once, the first to rename wins.
	if err := os.Rename(tmp, home); err != nil {
		if _, lost := os.Stat(home); lost != nil {
			return "", err
		}
	}
	return home, nil
}

type file struct {
	name string
	text []byte
}

func manifest(src fs.FS) ([]file, error) {
	programs, err := fs.Glob(src, "*.mjs")
	if err != nil {
		return nil, err
	}
	var files []file
	for _, name := range append([]string{"package.json", "package-lock.json"}, programs...) {
		text, err := fs.ReadFile(src, name)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name, text})
	}
	return files, nil
}
