package keyscan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrNoGitleaks: there is no such program.
	ErrNoGitleaks = errors.New("gitleaks was not found")
	// ErrGitleaks: it did not do its work.
	ErrGitleaks = errors.New("gitleaks failed")
)

// maxReport bounds what is read of a report, in bytes.
const maxReport = 256 << 20

// FindGitleaks returns the program that path names or, if that is "", the one
// beside this program or in PATH.
func FindGitleaks(path string) (string, error) {
	if path != "" {
		p, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%w: nothing that can be run at %s", ErrNoGitleaks, path)
		}
		return filepath.Abs(p)
	}
	if self, err := os.Executable(); err == nil {
		if p, err := exec.LookPath(filepath.Join(filepath.Dir(self), "gitleaks")); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath("gitleaks"); err == nil {
		return filepath.Abs(p)
	}
	return "", ErrNoGitleaks
}

// Gitleaks has a program of gitleaks 8 look into dir, or into the history of
// the repository there. It runs with its own rules, whatever the directory
// says: neither a configuration in it nor a comment hides a finding. To those
// it adds own, which no Scanner has looked for in a history. A .gitleaksignore
// in the directory gitleaks always heeds: see Ignores.
func Gitleaks(ctx context.Context, program, dir string, history bool, own *Rules) ([]Finding, error) {
	mode := "dir"
	if history {
		mode = "git"
	}
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if target, err = filepath.Abs(target); err != nil {
		return nil, err
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), // it runs git
		"HOME=" + os.DevNull, "LANG=C", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
		// What a repository's own configuration must not make git do.
		"GIT_ALLOW_PROTOCOL=none", "GIT_NO_LAZY_FETCH=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=log.showSignature", "GIT_CONFIG_VALUE_0=false",
	}
	if history && converts(ctx, target, env) {
		return nil, fmt.Errorf("%w: the configuration of %s has git run a program on its files (textconv); scan a clone of it", ErrGitleaks, dir)
	}
	cmd := exec.CommandContext(ctx, program, mode, "--no-banner", "--no-color", "--log-level", "error", "--exit-code", "0",
		"--redact=0", "--ignore-gitleaks-allow", "--gitleaks-ignore-path", os.DevNull,
		"--max-target-megabytes", strconv.Itoa(MaxFile>>20), "--report-format", "json", "--report-path", "-", target)
	cmd.Dir = "/"
	cmd.Env = append(env, "GITLEAKS_CONFIG_TOML="+own.toml())
	cmd.WaitDelay = 2 * time.Second
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGitleaks, err)
	}
	found, rerr := report(io.LimitReader(out, maxReport), dir, target)
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrGitleaks, err)
	case stderr.n > 0 && len(found) == 0 && history:
		// It ends well where git does not. What it says may quote a file.
		err = fmt.Errorf("%w: git could not read the history of %s", ErrGitleaks, dir)
	default:
		err = rerr
	}
	if err != nil {
		for _, f := range found {
			f.Secret.Clear()
		}
		return nil, err
	}
	return oneRule(found), nil
}

// converts reports whether a repository has git run programs of its choice when
// it shows a history. No flag of gitleaks turns that off, and a directory that
// somebody has packed and sent brings its configuration with it.
func converts(ctx context.Context, dir string, env []string) bool {
	cmd := exec.CommandContext(ctx, "git", "-C", dir, "config", "--name-only", "--get-regexp", `^diff\..*\.textconv$`)
	cmd.Dir, cmd.Env, cmd.WaitDelay = "/", env, 2*time.Second
	out, _ := cmd.Output() // where it fails, gitleaks will
	return len(out) > 0
}

// Ignores reports whether a directory has a list of findings that gitleaks is
// to leave out, which no flag of it turns off.
func Ignores(dir string) bool {
	fi, err := os.Stat(filepath.Join(dir, ".gitleaksignore"))
	return err == nil && fi.Mode().IsRegular()
}

// oneRule keeps one of the rules that found the same key in one place.
func oneRule(found []Finding) []Finding {
	type key struct {
		file, commit string
		line         int
		sum          [sha256.Size]byte
	}
	first := map[key]string{}
	return slices.DeleteFunc(found, func(f Finding) bool {
		k := key{f.File, f.Commit, f.Line, sha256.Sum256(f.Secret.Expose())}
		if rule, ok := first[k]; ok && rule != f.Rule {
			f.Secret.Clear()
			return true
		}
		first[k] = f.Rule
		return false
	})
}

// toml is a configuration of gitleaks. Its regular expressions are Go's too.
func (r *Rules) toml() string {
	var b strings.Builder
	b.WriteString("[extend]\nuseDefault = true\n")
	if r == nil {
		return b.String()
	}
	for i, s := range r.shapes {
		if strings.Contains(s.re.String(), "'''") {
			continue
		}
		fmt.Fprintf(&b, "\n[[rules]]\nid = \"%s-%d\"\ndescription = \"a key of %s\"\nsecretGroup = 1\n", s.entry.ID, i, s.entry.ID)
		fmt.Fprintf(&b, "regex = '''(?:^|[^\\w-])(%s)(?:[^\\w-]|$)'''\n", s.re)
		if len(s.literal) > 0 {
			fmt.Fprintf(&b, "keywords = [%q]\n", strings.ToLower(string(s.literal)))
		}
	}
	return b.String()
}

// tail counts what is said, and keeps nothing.
type tail struct{ n int }

func (t *tail) Write(p []byte) (int, error) {
	t.n += len(p)
	return len(p), nil
}

// leak is what a report has of a finding, less what nobody needs here.
type leak struct {
	RuleID    string
	StartLine int
	Secret    string
	File      string
	Commit    string
}

// report reads a report as it comes.
func report(r io.Reader, dir, target string) ([]Finding, error) {
	dec := json.NewDecoder(r)
	tok, err := dec.Token()
	if err == nil && tok == nil {
		return nil, nil // null: nothing was found
	}
	if err != nil || tok != json.Delim('[') {
		return nil, fmt.Errorf("%w: its report is no list", ErrGitleaks)
	}
	var found []Finding
	for dec.More() {
		var l leak
		if err := dec.Decode(&l); err != nil {
			return found, fmt.Errorf("%w: its report is malformed", ErrGitleaks) // err would quote it
		}
		if len(found) == maxFindings {
			return found, ErrTooMany
		}
		if l.Secret == "" {
			continue
		}
		name := l.File
		if rel, err := filepath.Rel(target, name); filepath.IsAbs(name) && err == nil && !strings.HasPrefix(rel, "..") {
			name = rel
		}
		if name == "." {
			name = dir
		} else if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		found = append(found, Finding{
			File: name, Line: l.StartLine, Offset: -1, Rule: "gitleaks:" + l.RuleID, Commit: l.Commit,
			Secret: secret.New(bytes.TrimSpace([]byte(l.Secret))),
		})
	}
	if _, err := dec.Token(); err != nil {
		return found, fmt.Errorf("%w: its report has no end", ErrGitleaks)
	}
	return found, nil
}
