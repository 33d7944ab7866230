// Package keyscan owns finding keys that lie about in files: with the patterns
// of the catalogue, and with gitleaks, a program with a well-kept set of rules,
// where there is one. It changes nothing, and must not depend on a network or
// on what keeps keys.
//
// What is found is a secret.Value; neither an error nor a log has any of it.
package keyscan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
)

const (
	// MaxFile is the size above which a file is not looked at, in bytes.
	MaxFile = 4 << 20
	// maxFindings bounds what is kept.
	maxFindings = 10_000
	sniff       = 8 << 10 // where a zero byte makes a file binary
)

// ErrTooMany says that there is more than can be shown.
var ErrTooMany = fmt.Errorf("there are more than %d findings", maxFindings)

// Finding is a key in a file.
type Finding struct {
	File    string            // as below the directory that was named
	Line    int               // from 1
	Offset  int               // in bytes, -1: unknown
	Service agentkeys.Service // zero: of none that is known
	Manages bool              // it manages an account: nothing to lend
	Rule    string            // a service, a variable, or a rule of gitleaks
	Commit  string            // of the history, "": the file as it is
	Secret  secret.Value
	// Sum is of the file as it was, zero if Offset is unknown.
	Sum [sha256.Size]byte
}

// Stats say how much was looked at.
type Stats struct {
	Files  int `json:"files"`
	Binary int `json:"binary"` // not looked at
	Large  int `json:"large"`  // likewise
	Denied int `json:"denied"` // could not be read
}

// skipped are directories that hold what others wrote, or what is packed.
var skipped = map[string]bool{
	"node_modules": true, "vendor": true, ".venv": true, "venv": true, "__pycache__": true, ".tox": true, ".terraform": true,
}

// inGit are directories of .git without text.
var inGit = map[string]bool{"objects": true, "lfs": true, "modules": true}

// Scanner looks into files, one at a time, in one buffer.
type Scanner struct {
	Rules *Rules
	// Progress is called after each file.
	Progress func(Stats)

	stats Stats
	found []Finding
	buf   []byte
}

// Findings returns what was found until now; the caller clears it.
func (s *Scanner) Findings() []Finding { return s.found }

// Stats returns how much was looked at until now.
func (s *Scanner) Stats() Stats { return s.stats }

// Close clears the buffer, not the findings.
func (s *Scanner) Close() { clear(s.buf[:cap(s.buf)]) }

// Dir looks into a file, or into all files below a directory, as long as ctx
// lasts. Symbolic links are not followed.
func (s *Scanner) Dir(ctx context.Context, root string) error {
	// A link that is named is meant.
	top := root
	if real, err := filepath.EvalSymlinks(root); err == nil {
		top = real
	}
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if path == top {
				return err
			}
			s.stats.Denied++
			return nil
		}
		if d.IsDir() {
			if path != top && (skipped[d.Name()] || filepath.Base(filepath.Dir(path)) == ".git" && inGit[d.Name()]) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		name := root
		if rel, err := filepath.Rel(top, path); err == nil && rel != "." {
			name = filepath.Join(root, rel)
		}
		return s.file(path, name)
	})
}

func (s *Scanner) file(path, name string) error {
	text, err := s.read(path)
	switch {
	case errors.Is(err, errLarge):
		s.stats.Large++
		return nil
	case err != nil:
		s.stats.Denied++
		return nil
	}
	if bytes.IndexByte(text[:min(len(text), sniff)], 0) >= 0 {
		s.stats.Binary++
		return nil
	}
	s.stats.Files++
	hits := s.Rules.find(text)
	line, at := 1, 0
	var sum [sha256.Size]byte
	if len(hits) > 0 {
		sum = sha256.Sum256(text)
	}
	for _, h := range hits {
		if len(s.found) == maxFindings {
			return ErrTooMany
		}
		line += bytes.Count(text[at:h.from], []byte{'\n'})
		at = h.from
		s.found = append(s.found, Finding{
			File: name, Line: line, Offset: h.from, Service: h.service(), Manages: h.manages, Rule: h.by, Sum: sum,
			Secret: secret.New(bytes.Clone(text[h.from:h.to])),
		})
	}
	if s.Progress != nil {
		s.Progress(s.stats)
	}
	return nil
}

var errLarge = errors.New("large")

// read is into the buffer, which the next read overwrites.
func (s *Scanner) read(path string) ([]byte, error) {
	// What was a file a moment ago may be a pipe now, which must not block.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	if fi.Size() > MaxFile {
		return nil, errLarge
	}
	if s.buf == nil {
		s.buf = make([]byte, MaxFile+1)
	}
	n, err := io.ReadFull(f, s.buf)
	switch {
	case err == nil:
		return nil, errLarge // it has grown
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return s.buf[:n], nil
	}
	return nil, err
}

// HomeFiles are the files of a home directory in which keys are put for a
// shell, and the .env files beside them.
func HomeFiles(home string) []string {
	var out []string
	for _, name := range []string{
		".bashrc", ".bash_profile", ".bash_login", ".bash_aliases", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".kshrc", ".cshrc", ".tcshrc",
		".config/fish/config.fish", ".config/fish/fish_variables", ".envrc", ".npmrc", ".pypirc", ".netrc", ".xsessionrc", ".pam_environment",
	} {
		out = append(out, filepath.Join(home, name))
	}
	env, _ := filepath.Glob(filepath.Join(home, ".env*"))
	more, _ := filepath.Glob(filepath.Join(home, ".config", "environment.d", "*.conf"))
	seen := map[string]bool{}
	var there []string
	for _, p := range append(append(out, env...), more...) {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && !seen[p] {
			seen[p] = true
			there = append(there, p)
		}
	}
	return there
}
