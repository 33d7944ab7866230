package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// print writes v as JSON if that was asked for, and runs text otherwise.
func (a *app) print(v any, text func()) error {
	if !a.json {
		text()
		return nil
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table writes rows under a heading, aligned.
func (a *app) table(heading string, rows [][]string) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(heading), "\t"))
	for _, r := range rows {
		for i, cell := range r {
			if cell == "" {
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
