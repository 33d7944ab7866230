package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// print writes v as JSON if that was asked for, and runs text otherwise. What
// cannot be written is an error either way.
func (a *app) print(v any, text func()) error {
	if !a.json {
		out := &remembering{w: a.stdout}
		a.stdout = out
		text()
		a.stdout = out.w
		return out.err
	}
	enc := json.NewEncoder(printableJSON{a.stdout})
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// remembering keeps the first error of its writer.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// printableJSON escapes what is valid in JSON and yet moves the cursor of some
// terminal: DEL, the C1 controls, of which U+009B begins a control sequence as
// ESC [ does, and what turns the direction of a line. Each Write must be whole
// runes, as an encoder's are.
type printableJSON struct{ w io.Writer }

func (p printableJSON) Write(b []byte) (int, error) {
	if utf8.Valid(b) && bytes.ContainsFunc(b, movesCursor) {
		out := make([]byte, 0, len(b)+64)
		for _, r := range string(b) {
			if !movesCursor(r) {
				out = utf8.AppendRune(out, r)
				continue
			}
			for _, u := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, u)
			}
		}
		_, err := p.w.Write(out)
		return len(b), err
	}
	return p.w.Write(b)
}

// movesCursor leaves ASCII's own controls alone: of those an encoder writes
// line ends only.
func movesCursor(r rune) bool { return r >= 0x7f && !strconv.IsPrint(r) }

// table writes rows under a heading, aligned.
func (a *app) table(heading string, rows [][]string) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(heading), "\t"))
	for _, r := range rows {
		for i, cell := range r {
			if r[i] = printable(cell); cell == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isMissing(err error) bool { return err != nil && os.IsNotExist(err) || err == fs.ErrNotExist }

// onTerminal reports whether a person can be asked and will see the question.
func (a *app) onTerminal() bool {
	errFile, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(errFile.Fd()))
}

// hint tells a person what takes its time; a program is not told.
func (a *app) hint(text string) {
	if a.onTerminal() && !a.json {
		fmt.Fprintln(a.stderr, text)
	}
}

// afterInterrupt ends the line on which the terminal shows ^C.
func (a *app) afterInterrupt() {
	if a.onTerminal() {
		fmt.Fprintln(a.stderr)
	}
}

// ago says how long ago or ahead t is, in one unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	form := "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	return fmt.Sprintf(form, span(d))
}

// span rounds to the nearest unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d.Round(time.Minute)/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%dd", d.Round(day)/day)
}

func join[T fmt.Stringer](list []T, sep string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, sep)
}
