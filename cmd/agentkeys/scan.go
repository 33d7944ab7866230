package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/keyfile"
	"github.com/litentry/agentkeys/internal/keyscan"
)

// scanning is a call of `agentkeys scan`.
type scanning struct {
	gitleaks                 string
	home, git, into, replace bool
	storing
}

// scanned is the answer.
type scanned struct {
	Findings []*foundKey   `json:"findings"`
	Rules    []string      `json:"rules"` // that were used
	Stats    keyscan.Stats `json:"stats"`
	Files    []*importFile `json:"files,omitempty"` // that were changed

	found []keyscan.Finding // as Findings
}

func (a *app) scanCmd() *cobra.Command {
	var o scanning
	c := &cobra.Command{
		Use: "scan [DIR]", Short: "Find keys that lie about in files", Args: cobra.MaximumNArgs(1),
		Long: `Find keys in the files of a directory: those of known services by what they look
like and by the variables they stand in, and all that gitleaks knows if that
program is installed (beside this one, in PATH, or where --gitleaks says). What
is found is never shown, only where, whose it is, and how long. Files above
4 MiB, binary ones, node_modules, vendor and the like are left out.

--import stores what is found; --replace then puts a placeholder in its place,
which is worthless. Nothing reaches other copies, backups or the history of a
repository: --git looks into that. A key that may have leaked is best replaced
at the service.

The exit code is 0 if nothing is left lying about, and 1 if something is.`,
		Example: `  agentkeys scan
  agentkeys scan ~/src --import --replace
  agentkeys scan . --home --git --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			switch {
			case o.replace && !o.into:
				return usage(cmd, errors.New("--replace goes with --import: what is taken out of a file has to be kept"))
			case o.into && !o.yes && !a.onTerminal():
				return failWith(exitUsage, "usage", errors.New("there is no terminal to ask at"), "add --yes to store all that is found")
			}
			return a.scan(cmd.Context(), &o, dir)
		},
	}
	f := c.Flags()
	f.StringVar(&o.gitleaks, "gitleaks", "", "the `PATH` of the program gitleaks, version 8")
	f.BoolVar(&o.home, "home", false, "look into the shell's files and .env in your home as well")
	f.BoolVar(&o.git, "git", false, "look into the history of the repository as well; takes gitleaks")
	f.BoolVar(&o.into, "import", false, "offer to store the keys of known services")
	f.BoolVar(&o.replace, "replace", false, "put a placeholder in the place of each key that is stored")
	f.BoolVar(&o.yes, "yes", false, "store all without asking")
	f.BoolVar(&o.force, "force", false, "also in place of another key that is stored")
	f.BoolVar(&o.noVerify, "no-verify", false, "do not ask the services whether the keys are good")
	return c
}

func (a *app) scan(ctx context.Context, o *scanning, dir string) (err error) {
	ks, err := a.knownServices()
	if err != nil {
		return err
	}
	if o.into {
		if o.client, err = a.client(); err != nil {
			return err
		}
		if _, err := o.client.Status(ctx); err != nil {
			return err
		}
	}
	daemon.Harden() // keys are about to be in this memory
	out, err := a.look(ctx, o, ks, dir)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range out.found {
			f.Secret.Clear()
		}
	}()
	if !a.json {
		a.printScan(out)
	}
	if o.into {
		if err := a.importScan(ctx, o, ks, &out); err != nil {
			return err
		}
	}
	err = a.print(out, func() {
		if o.into {
			a.printScanned(out)
		}
	})
	if err != nil {
		return err
	}
	return scanOutcome(out)
}

// look finds, with all the rules there are.
func (a *app) look(ctx context.Context, o *scanning, ks knownServices, dir string) (out scanned, err error) {
	out.Findings = []*foundKey{}
	rules, err := keyscan.NewRules(ks.entries)
	if err != nil {
		return out, err
	}
	program, err := keyscan.FindGitleaks(o.gitleaks)
	if err != nil && (o.gitleaks != "" || o.git) {
		return out, failWith(exitNotFound, "no-gitleaks", err, "install gitleaks 8 (https://github.com/gitleaks/gitleaks), or name it with --gitleaks PATH")
	}
	targets := []string{dir}
	if o.home {
		targets = append(targets, keyscan.HomeFiles(a.getenv("HOME"))...)
	}
	var lists [][]keyscan.Finding
	defer func() {
		if err != nil {
			for _, l := range lists {
				for _, f := range l {
					f.Secret.Clear()
				}
			}
		}
	}()
	s := &keyscan.Scanner{Rules: rules, Progress: a.scanProgress()}
	defer s.Close()
	for _, t := range targets {
		err := s.Dir(ctx, t)
		lists = append(lists[:0:0], s.Findings())
		if err != nil {
			return out, explainScan(t, err)
		}
	}
	out.Stats, out.Rules = s.Stats(), []string{"catalogue"}
	if program != "" {
		out.Rules = append(out.Rules, program)
		if keyscan.Ignores(dir) {
			out.Rules = append(out.Rules, "without what .gitleaksignore lists")
		}
		a.hint("asking " + program)
		var more []keyscan.Finding
		for _, t := range targets {
			found, err := keyscan.Gitleaks(ctx, program, t, false, nil)
			more = append(more, found...)
			lists = append(lists[:1:1], more)
			if err != nil {
				return out, explainScan(t, err)
			}
		}
		if o.git {
			history, err := keyscan.Gitleaks(ctx, program, dir, true, rules)
			if err != nil {
				return out, explainScan(dir, err)
			}
			lists = append(lists, history)
		}
		for _, l := range lists[1:] {
			for i := range l {
				rules.Claim(&l[i])
			}
		}
	}
	out.found = keyscan.Merge(lists...)
	for _, f := range out.found {
		out.Findings = append(out.Findings, ks.found(f))
	}
	return out, nil
}

func (ks knownServices) found(f keyscan.Finding) *foundKey {
	k := &foundKey{
		File: f.File, Line: f.Line, Name: f.Rule, Service: f.Service, State: keyFound, value: f.Secret,
		Looks: keyfile.Mask(ks.entry(f.Service), f.Secret.Expose()),
	}
	switch {
	case f.Service.IsZero():
		k.State = keyUnknown
	case f.Manages:
		k.State, k.Detail = keyRefused, "it manages the account: replace it at the service"
	}
	if f.Commit != "" {
		k.Detail = "in the history, commit " + f.Commit[:min(12, len(f.Commit))]
	}
	return k
}

func explainScan(path string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errInterrupted
	case isMissing(err):
		return failWith(exitNotFound, "not-found", fmt.Errorf("no directory %s", path), "check its name")
	case errors.Is(err, keyscan.ErrTooMany):
		return failWith(exitFailure, "too-many", fmt.Errorf("%s: %w", path, err), "scan the directories below one by one")
	case errors.Is(err, keyscan.ErrGitleaks):
		return failWith(exitFailure, "gitleaks", err, "run it by hand to see why; version 8 is known to work")
	}
	return fmt.Errorf("%s: %w", path, err)
}

// scanProgress tells a person, from a second on.
func (a *app) scanProgress() func(keyscan.Stats) {
	if !a.onTerminal() || a.json {
		return nil
	}
	last := time.Now()
	return func(s keyscan.Stats) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			fmt.Fprintf(a.stderr, "%d files\n", s.Files)
		}
	}
}

// importScan offers what was found, one key at a time, and stores it.
func (a *app) importScan(ctx context.Context, o *scanning, ks knownServices, out *scanned) error {
	twins := once(out.Findings)
	for _, k := range out.Findings {
		if !k.open() || twins[k] != nil || o.yes {
			continue
		}
		typed, err := a.line(ctx, fmt.Sprintf("%s: %s %s. Type yes to store it: ", printable(k.where()), k.Service, k.Looks))
		if err != nil {
			return err
		}
		if typed != "yes" {
			for _, other := range out.Findings {
				if other == k || twins[other] == k {
					other.State, other.Detail = keySkipped, "declined"
				}
			}
		}
	}
	if err := a.settle(ctx, ks, out.Findings, o.storing); err != nil {
		return err
	}
	if err := a.storeAll(ctx, out.Findings, o.storing); err != nil {
		return err
	}
	if !o.replace {
		return nil
	}
	byFile := map[string][]int{}
	var order []string
	for i, f := range out.found {
		if f.Commit == "" && out.Findings[i].safe() {
			if byFile[f.File] == nil {
				order = append(order, f.File)
			}
			byFile[f.File] = append(byFile[f.File], i)
		}
	}
	for _, path := range order {
		file := &importFile{File: path}
		out.Files = append(out.Files, file)
		if err := a.replaceFound(ks, path, out, byFile[path]); err != nil {
			file.Detail = err.Error()
			continue
		}
		file.Replaced = len(byFile[path])
	}
	return nil
}

// replaceFound puts placeholders into a file: a key is replaced where it was
// found, and only if the file is still the same.
func (a *app) replaceFound(ks knownServices, path string, out *scanned, which []int) error {
	file, err := keyfile.Open(path, keyscan.MaxFile)
	if err != nil {
		return err
	}
	defer file.Clear()
	var patches []keyfile.Patch
	for _, i := range which {
		f := out.found[i]
		from := f.Offset
		if from < 0 {
			from = onLine(file.Data, f.Line, f.Secret.Expose())
		} else if sha256.Sum256(file.Data) != f.Sum {
			return keyfile.ErrChanged
		}
		to := from + f.Secret.Len()
		if from < 0 || to > len(file.Data) || !bytes.Equal(file.Data[from:to], f.Secret.Expose()) {
			return keyfile.ErrChanged
		}
		patches = append(patches, keyfile.Patch{From: from, To: to, Text: ks.entry(f.Service).Placeholder("removed")})
	}
	return file.Rewrite(patches)
}

// onLine finds what stands once on a line, -1 otherwise.
func onLine(data []byte, line int, what []byte) int {
	from := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(data[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
	}
	text, _, _ := bytes.Cut(data[from:], []byte{'\n'})
	if len(what) == 0 || bytes.Count(text, what) != 1 {
		return -1
	}
	return from + bytes.Index(text, what)
}

func (a *app) printScan(out scanned) {
	var rows [][]string
	for _, k := range out.Findings {
		what := k.Service.String()
		if what == "" {
			what = k.Name
		}
		rows = append(rows, []string{k.where(), what, k.Looks, k.Detail})
	}
	if len(rows) > 0 {
		a.table("WHERE WHAT LOOKS NOTE", rows)
	}
	s := out.Stats
	fmt.Fprintf(a.stdout, "%s in %s", count(len(rows), "finding"), count(s.Files, "file"))
	if n := s.Binary + s.Large + s.Denied; n > 0 {
		fmt.Fprintf(a.stdout, ", %d not looked at (%d binary, %d large, %d unreadable)", n, s.Binary, s.Large, s.Denied)
	}
	if len(out.Rules) > 1 {
		fmt.Fprintf(a.stdout, "; rules of the catalogue and of %s\n", printable(strings.Join(out.Rules[1:], ", ")))
	} else {
		fmt.Fprintln(a.stdout, "; rules of the catalogue alone: gitleaks, which knows many more, was not found")
	}
}

func (a *app) printScanned(out scanned) {
	for _, k := range out.Findings {
		if k.isKey() {
			fmt.Fprintf(a.stdout, "%s (%s): %s %s\n", printable(k.where()), k.Service, k.State, printable(k.Detail))
		}
	}
	for _, f := range out.Files {
		if f.Replaced > 0 {
			fmt.Fprintf(a.stdout, "%s: %s replaced by placeholders\n", printable(f.File), count(f.Replaced, "key"))
		} else {
			fmt.Fprintf(a.stdout, "%s: left as it is: %s\n", printable(f.File), printable(f.Detail))
		}
	}
}

// scanOutcome is a failure if a key could not be stored, and exit code 1,
// without a word more, if something still lies about.
func scanOutcome(out scanned) error {
	var tried []*foundKey
	left := 0
	for i, k := range out.Findings {
		if k.State == keyFailed || k.State == keyAmbiguous {
			tried = append(tried, k)
		}
		gone := slices.ContainsFunc(out.Files, func(f *importFile) bool { return f.Replaced > 0 && f.File == k.File })
		if !k.safe() || !gone || out.found[i].Commit != "" {
			left++
		}
	}
	if err := outcome(tried); err != nil {
		p := classify(err)
		if tried[0].State == keyAmbiguous {
			p.fix = "run it in a terminal to choose, or store the right one with 'agentkeys store SERVICE'"
		}
		return p
	}
	if left > 0 {
		return exitStatus(exitFailure)
	}
	return nil
}
