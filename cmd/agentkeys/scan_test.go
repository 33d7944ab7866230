package main

import (
	"os"
	"path/filepath"
	"slices"
)

// gitleaksProgram is the real one, as `make setup` has built it, or a name that is not found.
func gitleaksProgram() string {
	dir := os.Getenv("AGENTKEYS_DEV_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "gitleaks"
		}
		dir = filepath.Join(base, "agentkeys-dev")
	}
	all, _ := filepath.Glob(filepath.Join(dir, "bin", "gitleaks-v8.*"))
	if len(all) == 0 {
		return "gitleaks"
	}
	return slices.Max(all)
}
