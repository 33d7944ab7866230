package versity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const (
	module  = "github.com/versity/versitygw/cmd/versitygw"
	version = "v1.8.0"
)

// Program returns the path of the server's program, which is built from the
// module proxy the first time, under a lock, and kept in
// $AGENTKEYS_DEV_CACHE/bin (else $XDG_CACHE_HOME/agentkeys-dev/bin, else
// ~/.cache/agentkeys-dev/bin). `go install` checks it against the checksum
// database as always. log is told when there is something to wait for.
func Program(ctx context.Context, log func(string)) (string, error) {
	dir, err := cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "versitygw-"+version)
	if exists(path) {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if exists(path) { // somebody else has built it meanwhile
		return path, nil
	}
	if log == nil {
		log = func(s string) { fmt.Fprintln(os.Stderr, s) }
	}
	log("versity: building " + module + "@" + version + " once, which takes some minutes, into " + dir)
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, "go", "install", module+"@"+version)
	cmd.Dir = "/" // not in a module, whose go.mod would say what to build with
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("versity: go install %s@%s: %w\n%s\nrun `make setup` where the module proxy can be reached", module, version, err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "versitygw"), path); err != nil {
		return "", err
	}
	return path, nil
}

func exists(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

func cache() (string, error) {
	if d := os.Getenv("AGENTKEYS_DEV_CACHE"); d != "" {
		return filepath.Join(d, "bin"), nil
	}
	if d := os.Getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "agentkeys-dev", "bin"), nil
	}
	d, err := os.UserHomeDir()
	if err != nil {
		return "", errors.Join(errors.New("versity: set AGENTKEYS_DEV_CACHE to a directory for the server's program"), err)
	}
	return filepath.Join(d, ".cache", "agentkeys-dev", "bin"), nil
}
