// Package keyfile owns how keys are read from files that people have: dotenv
// files, JSON, and what password managers export. It says what stands where,
// whose key it is by the catalogue, and can take a value out of a file again.
// It stores nothing, asks nobody, and must not depend on a network or on what
// keeps keys.
//
// No error has any part of a file in it: whatever stands in such a file may be
// a secret, a line that cannot be read most of all.
package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrFormat: what the file is cannot be told, or it is not what was said.
	ErrFormat = errors.New("not a file of a known format")
	// ErrEncrypted: the export is encrypted.
	ErrEncrypted = errors.New("the export is encrypted")
	// ErrTooLarge: more than a file of keys has.
	ErrTooLarge = errors.New("too large for a file of keys")
)

const (
	// MaxFile bounds a file, in bytes.
	MaxFile  = 16 << 20
	maxItems = 20_000
	maxName  = 256
	// maxValue is the longest value that is looked at: above it nothing is a key.
	maxValue = 16 << 10
)

// Format is what a file is.
type Format string

// The formats there are.
const (
	Dotenv      Format = "dotenv"
	JSON        Format = "json"
	OnePassword Format = "1password" // 1PUX
	Bitwarden   Format = "bitwarden" // JSON, not encrypted
	CSV         Format = "csv"       // of LastPass, Chrome, Firefox, 1Password and others
)

// Formats lists them.
func Formats() []Format { return []Format{Dotenv, JSON, OnePassword, Bitwarden, CSV} }

// ParseFormat parses a name.
func ParseFormat(s string) (Format, error) {
	for _, f := range Formats() {
		if s == string(f) {
			return f, nil
		}
	}
	return "", fmt.Errorf("%w: there are dotenv, json, 1password, bitwarden and csv", ErrFormat)
}

// Item is a value in a file.
type Item struct {
	Name  string // of a variable, a path in JSON, a title; printable
	Value secret.Value
	Line  int    // from 1; 0: unknown
	Host  string // of the site that a password manager keeps it for
	// Kept says that a password manager keeps it: most of its values are what
	// a person logs in with, and no keys.
	Kept bool
	span span // where it stands in a dotenv file
}

// Clear clears the values.
func Clear(items []Item) {
	for _, it := range items {
		it.Value.Clear()
	}
}

// Detect tells a file's format from its name and from what is in it.
func Detect(name string, data []byte) (Format, error) {
	text := bytes.TrimLeft(bytes.TrimPrefix(data, bom), " \t\r\n")
	base := strings.ToLower(filepath.Base(name))
	switch {
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return OnePassword, nil
	case len(text) > 0 && (text[0] == '{' || text[0] == '['):
		return jsonFormat(text), nil
	case base == ".env" || strings.HasPrefix(base, ".env.") || strings.HasSuffix(base, ".env") || base == ".envrc":
		return Dotenv, nil
	case strings.HasSuffix(base, ".csv"), looksLikeCSV(text):
		return CSV, nil
	}
	if items, err := Parse(Dotenv, data); err == nil && len(items) > 0 {
		Clear(items)
		return Dotenv, nil
	}
	return "", fmt.Errorf("%w: say which with --format", ErrFormat)
}

var bom = []byte("\xef\xbb\xbf")

// Parse reads the values of a file, in their order. Those that are empty, or
// too long for any key, are left out.
func Parse(f Format, data []byte) (items []Item, err error) {
	if len(data) > MaxFile {
		return nil, ErrTooLarge
	}
	l := &list{}
	switch f {
	case Dotenv:
		err = l.dotenv(data)
	case JSON:
		err = l.json(bytes.TrimPrefix(data, bom))
	case OnePassword:
		err = l.onePassword(data)
	case Bitwarden:
		err = l.bitwarden(bytes.TrimPrefix(data, bom))
	case CSV:
		err = l.csv(bytes.TrimPrefix(data, bom))
	default:
		err = ErrFormat
	}
	if err != nil {
		Clear(l.items)
		return nil, err
	}
	return l.items, nil
}

// list collects items within bounds.
type list struct{ items []Item }

func (l *list) add(it Item, value []byte) error {
	if len(value) == 0 || len(value) > maxValue {
		return nil
	}
	if len(l.items) == maxItems {
		return fmt.Errorf("%w: there are more than %d values", ErrTooLarge, maxItems)
	}
	it.Name = cleanName(it.Name)
	it.Value = secret.New(append([]byte(nil), value...))
	l.items = append(l.items, it)
	return nil
}

// cleanName keeps a name printable, short, and not a secret itself: somebody
// may have put a key where a name belongs.
func cleanName(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	// In JSON it may be one of the names that lead to a value.
	if catalog.LooksLikeKey(s) || catalog.LooksLikeKey(strings.ReplaceAll(s, ".", " ")) {
		return "(a name like a key)"
	}
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return s
}
