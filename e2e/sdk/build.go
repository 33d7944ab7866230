package sdk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ErrNoNode says that JavaScript clients cannot run here.
var ErrNoNode = errors.New("node or npm is not installed")

// Cache is a directory outside the checkout to build in: what is there already
// is not built again.
func Cache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "agentkeys-e2e")
	return dir, os.MkdirAll(dir, 0o700)
}

// BuildGo builds the Go clients below dir.
func BuildGo(ctx context.Context, dir string) ([]Client, error) {
	src, err := source(ctx, "go")
	if err != nil {
		return nil, err
	}
	files, err := readAll(src, "go.mod", "go.sum", "report/report.go", "openai/main.go", "anthropic/main.go")
	if err != nil {
		return nil, err
	}
	home, err := once(dir, "go-"+runtime.Version(), files, func(tmp string) error {
		// -mod=readonly: a test must not rewrite the module's files.
		return run(ctx, src, "go", "build", "-mod=readonly", "-o", tmp+string(filepath.Separator), "./openai", "./anthropic")
	})
	if err != nil {
		return nil, err
	}
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	var clients []Client
	for _, api := range []string{"openai", "anthropic"} {
		clients = append(clients, Client{Name: "go/" + api, API: api, Argv: []string{filepath.Join(home, api+suffix)}})
	}
	return clients, nil
}

// InstallJS installs the SDKs that the lock file names below dir, and the
// JavaScript clients beside them.
func InstallJS(ctx context.Context, dir string) ([]Client, error) {
	node, err := exec.LookPath("node")
	if _, err2 := exec.LookPath("npm"); err != nil || err2 != nil {
		return nil, ErrNoNode
	}
	src, err := source(ctx, "js")
	if err != nil {
		return nil, err
	}
	files, err := readAll(src, ".npmrc", "package.json", "package-lock.json", "report.mjs", "openai.mjs", "anthropic.mjs")
	if err != nil {
		return nil, err
	}
	home, err := once(dir, "js", files, func(tmp string) error {
		for name, b := range files {
			if err := os.WriteFile(filepath.Join(tmp, name), b, 0o600); err != nil {
				return err
			}
		}
		return run(ctx, tmp, "npm", "ci")
	})
	if err != nil {
		return nil, err
	}
	var clients []Client
	for _, api := range []string{"openai", "anthropic"} {
		clients = append(clients, Client{Name: "js/" + api, API: api, Argv: []string{node, filepath.Join(home, api+".mjs")}})
	}
	return clients, nil
}

// once has build fill a directory below dir, unless one was filled from the
// same files before. Several processes may call it at once: each fills a
// directory of its own, the first to rename it wins and the others use that.
func once(dir, name string, files map[string][]byte, build func(tmp string) error) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%s\n%d\n%s", name, len(files[name]), files[name])
	}
	home := filepath.Join(dir, name+"-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(home); err == nil {
		return home, nil
	}
	tmp, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := build(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, home); err != nil {
		if _, lost := os.Stat(home); lost != nil {
			return "", err
		}
	}
	return home, nil
}

func readAll(dir string, names ...string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	return files, nil
}

// source is where the clients' text is, whatever directory the test runs in.
func source(ctx context.Context, lang string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/litentry/agentkeys/e2e/sdk").Output()
	if err != nil {
		return "", fmt.Errorf("finding e2e/sdk: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), lang), nil
}

func run(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
