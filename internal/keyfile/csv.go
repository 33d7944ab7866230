package keyfile

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The headings of the columns, in small letters, as LastPass, Chrome, Edge,
// Firefox, 1Password, Bitwarden, Dashlane, KeePassXC and Proton write them. A
// table NAME,VALUE is read as well.
var (
	titleColumns  = []string{"title", "name", "account", "key"}
	siteColumns   = []string{"url", "login_uri", "website", "web site", "login url", "urls"}
	secretColumns = []string{"password", "login_password", "value", "secret", "api key", "api_key", "token"}
	noteColumns   = []string{"notes", "note", "extra"}
)

func column(heading, names []string) int {
	for _, n := range names {
		if i := slices.Index(heading, n); i >= 0 {
			return i
		}
	}
	return -1
}

func headings(record []string) []string {
	out := make([]string, len(record))
	for i, h := range record {
		out[i] = strings.ToLower(strings.TrimSpace(h))
	}
	return out
}

// looksLikeCSV looks at the first line only.
func looksLikeCSV(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	if len(line) > 4096 || !bytes.Contains(line, []byte{','}) {
		return false
	}
	record, err := csv.NewReader(bytes.NewReader(line)).Read()
	return err == nil && column(headings(record), secretColumns) >= 0
}

func (l *list) csv(data []byte) error {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1 // some exports leave empty fields at the end out
	r.ReuseRecord = true
	record, err := r.Read()
	if err != nil {
		return fmt.Errorf("%w: it has no line of headings", ErrFormat)
	}
	heading := headings(record)
	title, site, note := column(heading, titleColumns), column(heading, siteColumns), column(heading, noteColumns)
	hidden := column(heading, secretColumns)
	if hidden < 0 {
		return fmt.Errorf("%w: its first line names no column password, secret or value", ErrFormat)
	}
	// Without a site it is somebody's table of names and keys.
	manager := site >= 0
	field := func(record []string, i int) string {
		if i < 0 || i >= len(record) {
			return ""
		}
		return record[i]
	}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			// Not err: it is about what stands there.
			return fmt.Errorf("%w: malformed CSV", ErrFormat)
		}
		line, _ := r.FieldPos(0)
		name, at := field(record, title), field(record, site)
		if !manager {
			b := []byte(strings.TrimSpace(field(record, hidden)))
			err := l.add(Item{Name: name, Line: line}, b)
			clear(b)
			if err != nil {
				return err
			}
			continue
		}
		if err := l.kept(name, heading[hidden], at, field(record, hidden), line); err != nil {
			return err
		}
		if err := l.note(name, at, field(record, note), line); err != nil {
			return err
		}
	}
}
