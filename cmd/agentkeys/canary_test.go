package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func sortedStrings(s []string) []string {
	slices.Sort(s)
	return s
}

// spellings are the forms in which a secret can lie about: as it is,
// hexadecimal, in base64 at each of three offsets and both alphabets, and
// escaped for a URL.
func spellings(text string) map[string][]byte {
	b := []byte(text)
	forms := map[string][]byte{
		"raw": b,
		"hex": []byte(hex.EncodeToString(b)),
		"HEX": []byte(strings.ToUpper(hex.EncodeToString(b))),
		"url": []byte(url.QueryEscape(text)),
	}
	for offset := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			s := enc.EncodeToString(append(make([]byte, offset), b...))
			// The characters at either end depend on what stands beside.
			s = s[[]int{0, 2, 3}[offset]:]
			if (offset+len(b))%3 != 0 {
				s = s[:len(s)-1]
			}
			forms[fmt.Sprintf("%s+%d", name, offset)] = []byte(s)
		}
	}
	return forms
}

// search returns where in data a canary stands.
func (s *script) search(where string, data []byte) (hits []string) {
	for name, text := range s.canaries {
		for form, needle := range spellings(text) {
			if bytes.Contains(data, needle) {
				hits = append(hits, fmt.Sprintf("%s (%s) is in %s", name, form, where))
			}
		}
	}
	return hits
}

// searchFiles looks into every file that the program may have written: below
// its own home, the user's, and the temporary directory.
func (s *script) searchFiles() (hits []string) {
	for _, dir := range []string{s.home, filepath.Join(s.work, "home"), filepath.Join(s.work, ".tmp")} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			rel, _ := filepath.Rel(s.work, path)
			hits = append(hits, s.search(rel, bytes.TrimRight(data, "\x00"))...)
			return nil
		})
	}
	return hits
}

// canary NAME FILE has the content of a file searched for from now on.
func cmdCanary(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: canary NAME FILE")
	}
	text := strings.TrimSpace(ts.ReadFile(args[1]))
	if len(text) < 8 {
		ts.Fatalf("too short for a canary")
	}
	scriptOf(ts).canaries[args[0]] = text
}

// nocanary searches the last output and every file for every canary. With !
// it demands that there is one in the output: the search works.
func cmdNoCanary(ts *testscript.TestScript, neg bool, _ []string) {
	s := scriptOf(ts)
	hits := slices.Concat(s.search("stdout", []byte(ts.ReadFile("stdout"))), s.search("stderr", []byte(ts.ReadFile("stderr"))))
	if neg {
		if len(hits) == 0 {
			ts.Fatalf("no canary in the output")
		}
		return
	}
	if hits = append(hits, s.searchFiles()...); len(hits) > 0 {
		ts.Fatalf("%s", strings.Join(hits, "\n"))
	}
}

// state digests what is kept, one line a file, but for what every attempt may
// add to: the audit log and the ledger that is made of it.
func (s *script) state(ts *testscript.TestScript) string {
	home := ts.Getenv("AGENTKEYS_HOME")
	var b strings.Builder
	for _, dir := range []string{"config", "data", "run"} {
		_ = filepath.WalkDir(filepath.Join(home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && d.Name() != "log" {
				return nil
			}
			rel, _ := filepath.Rel(home, path)
			switch rel {
			case "data/log":
				return fs.SkipDir
			case "data/ledger.json", "data/lock", "data/roots.age.lock":
				return nil
			}
			fi, err := d.Info()
			if err != nil {
				return nil
			}
			fmt.Fprintf(&b, "%v %s", fi.Mode(), rel)
			if d.Type().IsRegular() {
				data, _ := os.ReadFile(path)
				fmt.Fprintf(&b, " %x", sha256.Sum256(data))
			}
			b.WriteByte('\n')
			return nil
		})
	}
	return b.String()
}
