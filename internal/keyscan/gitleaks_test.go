package keyscan

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	gitleaksVersion = "v8.30.1"
)

// gitleaks is the real program, as `make setup` has built it.
func gitleaks(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("AGENTKEYS_DEV_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(base, "agentkeys-dev")
	}
	path := filepath.Join(cache, "bin", "gitleaks-"+gitleaksVersion)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: run `make setup`", err)
		}
		t.Skipf("%v: run `make setup`", err)
	}
	return path
}

func TestGitleaks(t *testing.T) {
	program := gitleaks(t)
	dir := t.TempDir()
	key := githubKey()
	write(t, dir, "app/config.py", "# nothing\ntoken = \""+key+"\"\n")
	// What a repository says about itself does not count.
	write(t, dir, ".gitleaks.toml", "[allowlist]\npaths = ['''.*''']\n")
	write(t, dir, ".gitleaksignore", "app/config.py:github-pat:2\n")
	write(t, dir, "app/allowed.py", "token = \""+key+"\" # gitleaks:allow\n")
	found, err := Gitleaks(t.Context(), program, dir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	for _, f := range found {
		if string(f.Secret.Expose()) != key || f.Offset != -1 || f.Commit != "" || !strings.HasPrefix(f.Rule, "gitleaks:") {
			t.Errorf("%s:%d, %s", f.File, f.Line, f.Rule)
		}
		rel, _ := filepath.Rel(dir, f.File)
		where = append(where, rel)
	}
	if got := strings.Join(sorted(where), " "); got != "app/allowed.py app/config.py" {
		t.Errorf("found in %s", got)
	}

	// Nothing, and a file.
	if found, err := Gitleaks(t.Context(), program, t.TempDir(), false, nil); err != nil || len(found) > 0 {
		t.Errorf("an empty directory: %d, %v", len(found), err)
	}
	file := filepath.Join(dir, "app/config.py")
	if found, err := Gitleaks(t.Context(), program, file, false, nil); err != nil || len(found) != 1 || found[0].File != file || found[0].Line != 2 {
		t.Errorf("a file: %d, %v", len(found), err)
	}
}

func TestGitleaksHistory(t *testing.T) {
	program := gitleaks(t)
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if _, err := Gitleaks(t.Context(), program, dir, true, rules(t)); !errors.Is(err, ErrGitleaks) {
		t.Errorf("no repository: %v", err)
	}
	git("init", "-q")
	key := githubKey()
	router := routerKey()
	write(t, dir, "config.py", "token = \""+key+"\"\nx = \""+router+"\"\n")
	git("add", ".")
	git("commit", "-qm", "one")
	write(t, dir, "config.py", "token = None\n")
	git("commit", "-qam", "two")
	found, err := Gitleaks(t.Context(), program, dir, true, rules(t))
	if found = Merge(found); err != nil || len(found) != 2 || string(found[0].Secret.Expose()) != key || len(found[0].Commit) != 40 {
		t.Fatalf("%d findings, %v", len(found), err)
	}
	// What the repository says to ignore does not count for our own rules.
	write(t, dir, ".gitleaksignore", found[0].Commit+":config.py:github-pat:1\nconfig.py:github-pat:1\n")
	if again, err := Gitleaks(t.Context(), program, dir, true, rules(t)); err != nil || len(again) != 2 {
		t.Errorf("ignored: %d findings, %v", len(again), err)
	}
	// It knows what the catalogue knows.
	if string(found[1].Secret.Expose()) != router || found[1].Line != 2 || !strings.HasPrefix(found[1].Rule, "gitleaks:openrouter-") {
		t.Errorf("%s:%d, %s", found[1].File, found[1].Line, found[1].Rule)
	}
	if found, err := Gitleaks(t.Context(), program, dir, false, nil); err != nil || len(found) != 0 {
		t.Errorf("the files: %d findings, %v", len(found), err)
	}
	// Nor does what it would have git run.
	ran := filepath.Join(t.TempDir(), "ran")
	helper := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\n: >"+ran+"\ncat \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, ".gitattributes", "*.py diff=x\n")
	git("config", "log.showSignature", "true")
	git("config", "gpg.program", helper)
	write(t, dir, "more.conf", "[diff \"x\"]\n\ttextconv = "+helper+"\n")
	git("config", "include.path", filepath.Join(dir, "more.conf"))
	found, err = Gitleaks(t.Context(), program, dir, true, rules(t))
	if !errors.Is(err, ErrGitleaks) || !strings.Contains(err.Error(), "textconv") || len(found) != 0 {
		t.Errorf("a repository that converts: %d findings, %v", len(found), err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program of the repository ran")
	}
}

// What is in the place of gitleaks may do anything; no key is in an error.
func TestGitleaksGone(t *testing.T) {
	dir := t.TempDir()
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "gitleaks")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := githubKey()
	for name, text := range map[string]string{
		"fails":       "exit 1",
		"no report":   "exit 0",
		"no list":     "echo '{}'",
		"cut":         `printf '[{"Secret": "` + key + `"}, {"Secret": "` + key + `'`,
		"wrong types": `echo '[{"Secret": {"` + key + `": 1}}]'`,
		"late":        `printf '[{"Secret": "` + key + `"}]'; echo ` + key + ` >&2; exit 2`,
	} {
		found, err := Gitleaks(t.Context(), script(text), dir, false, nil)
		if !errors.Is(err, ErrGitleaks) || found != nil || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %d findings, %v", name, len(found), err)
		}
	}
	if found, err := Gitleaks(t.Context(), script("echo null"), dir, false, nil); err != nil || len(found) > 0 {
		t.Errorf("null: %v", err)
	}
	// It is given nothing of this environment but the way to git.
	t.Setenv("OPENROUTER_API_KEY", key)
	t.Setenv("GITLEAKS_CONFIG", "/nowhere")
	env := filepath.Join(dir, "env")
	if _, err := Gitleaks(t.Context(), script("env >"+env+"; echo '[]'"), dir, false, nil); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(env)
	if strings.Contains(string(got), key) || strings.Contains(string(got), "/nowhere") {
		t.Errorf("its environment is\n%s", got)
	}
	// It ends with its caller.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Gitleaks(ctx, script("exec sleep 60"), dir, false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := FindGitleaks(filepath.Join(dir, "none")); !errors.Is(err, ErrNoGitleaks) {
		t.Errorf("no program: %v", err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`[{"RuleID": "a", "StartLine": 1, "Secret": "x", "File": "b"}]`))
	f.Add([]byte("null"))
	f.Add([]byte(`[{"Secret": 1}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := report(strings.NewReader(string(data)), "d", "/d")
		if err != nil && !errors.Is(err, ErrGitleaks) {
			t.Errorf("an error of another kind: %v", err)
		}
		for _, f := range found {
			f.Secret.Clear()
		}
	})
}
