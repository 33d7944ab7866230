package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/keyfile"
)

// importing is a call of `agentkeys import`.
type importing struct {
	format         string
	services       []string
	dryRun         bool
	replace, shred bool
	storing
}

// importFile is one of the files, and what became of it.
type importFile struct {
	File     string `json:"file"`
	Format   string `json:"format"`
	Exposed  bool   `json:"exposed,omitempty"` // others may read it
	Replaced int    `json:"replaced,omitempty"`
	Shredded bool   `json:"shredded,omitempty"`
	Detail   string `json:"detail,omitempty"` // why it is as it was

	file  *keyfile.File // nil: standard input
	items []keyfile.Item
	keys  []*foundKey
}

func (a *app) importCmd() *cobra.Command {
	var o importing
	c := &cobra.Command{
		Use: "import FILE...", Short: "Store the keys that are in files you have", Args: cobra.MinimumNArgs(1),
		Long: `Store the keys of known services that are in files: .env files, JSON, and what
1Password (1PUX), Bitwarden (JSON), LastPass, Chrome and others (CSV) export. A
key is known by its form, by the name of its variable, or, in an export, by a
title that speaks of a key. Each service is asked whether its key is good. What
is not known is left alone. - is standard input.

--replace makes a comment of each line of a .env file whose key was stored.
--shred overwrites the file and removes it, once every key in it is stored. It
does not reach what else has the text: other copies, backups, snapshots, the
history of a repository, and what an SSD keeps of overwritten blocks. A key
that may have leaked is best replaced at the service.`,
		Example: `  agentkeys import .env
  agentkeys import .env --yes --replace
  agentkeys import export.1pux --dry-run
  agentkeys import passwords.csv --service 'My router key=openrouter' --shred
  pass show env | agentkeys import - --format dotenv --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkImport(cmd, &o, args); err != nil {
				return err
			}
			return a.importFiles(cmd, &o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.format, "format", "", "what the files are, a `FORMAT`: dotenv, json, 1password, bitwarden or csv")
	f.StringArrayVar(&o.services, "service", nil, "whose a key is, by `NAME=SERVICE`; NAME=none leaves it alone")
	f.BoolVar(&o.yes, "yes", false, "ask nothing")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be stored, and store nothing")
	f.BoolVar(&o.noVerify, "no-verify", false, "do not ask the services whether the keys are good")
	f.BoolVar(&o.force, "force", false, "also in place of another stored key; shred what else a file has")
	f.BoolVar(&o.replace, "replace", false, "make comments of the lines of .env files whose keys are stored")
	f.BoolVar(&o.shred, "shred", false, "overwrite and remove a file whose keys are all stored")
	_ = c.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) (out []string, _ cobra.ShellCompDirective) {
		for _, f := range keyfile.Formats() {
			out = append(out, string(f))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

func (a *app) checkImport(cmd *cobra.Command, o *importing, args []string) error {
	switch {
	case o.replace && o.shred:
		return usage(cmd, errors.New("a file is changed by --replace or removed by --shred, not both"))
	case o.dryRun && (o.replace || o.shred):
		return usage(cmd, errors.New("--dry-run changes no file"))
	case slices.Contains(args, "-") && (o.replace || o.shred):
		return usage(cmd, errors.New("standard input is no file to replace in or to shred"))
	case slices.Contains(args, "-") && len(args) > 1:
		return usage(cmd, errors.New("standard input is read alone"))
	case o.format != "" && !slices.Contains(keyfile.Formats(), keyfile.Format(o.format)):
		return usage(cmd, errors.New("--format is dotenv, json, 1password, bitwarden or csv"))
	case twice(args) != "":
		return usage(cmd, fmt.Errorf("%s is named twice", printable(twice(args))))
	case !o.yes && !o.dryRun && !a.onTerminal():
		return failWith(exitUsage, "usage", errors.New("there is no terminal to ask at"), "add --yes, or --dry-run to see what is there")
	}
	return nil
}

func (a *app) importFiles(cmd *cobra.Command, o *importing, args []string) error {
	ctx := cmd.Context()
	ks, err := a.knownServices()
	if err != nil {
		return err
	}
	if o.client, err = a.client(); err != nil {
		return err
	}
	if !o.dryRun {
		// Before any file is read: is there somebody to take the keys?
		if _, err := o.client.Status(ctx); err != nil {
			return err
		}
	}
	daemon.Harden() // keys are about to be in this memory
	files, err := a.readImports(o, ks, args)
	defer clearImports(files)
	if err != nil {
		return err
	}
	var keys []*foundKey
	for _, f := range files {
		keys = append(keys, f.keys...)
	}
	if err := applyChoices(cmd, ks, keys, o.services); err != nil {
		return err
	}
	once(keys)
	for _, f := range files {
		if f.Exposed {
			fmt.Fprintf(a.stderr, "agentkeys: %s can be read or changed by others (mode %04o)\n", printable(f.File), f.file.Mode.Perm())
		}
	}
	if !a.json {
		a.printKeysFound(files, keys)
	}
	if !o.dryRun {
		if err := a.storeImports(ctx, o, ks, files, keys); err != nil {
			return err
		}
	}
	out := struct {
		Keys  []*foundKey   `json:"keys"`
		Files []*importFile `json:"files"`
	}{keys, files}
	if out.Keys == nil {
		out.Keys = []*foundKey{}
	}
	if err := a.print(out, func() { a.printImported(o, files, keys) }); err != nil || o.dryRun {
		return err
	}
	if err := outcome(keys); err != nil {
		return err
	}
	for _, f := range files {
		if f.Detail != "" {
			return failWith(exitRefused, "kept", fmt.Errorf("%s: %s", f.File, f.Detail), "the keys that were stored are in the vault; take them out of the file yourself")
		}
	}
	return nil
}

func (a *app) storeImports(ctx context.Context, o *importing, ks knownServices, files []*importFile, keys []*foundKey) error {
	if slices.ContainsFunc(keys, (*foundKey).open) && !o.yes {
		n := 0
		for _, k := range keys {
			if k.open() {
				n++
			}
		}
		typed, err := a.line(ctx, fmt.Sprintf("Type yes to store %s: ", count(n, "key")))
		if err != nil {
			return err
		}
		if typed != "yes" {
			return failWith(exitRefused, "not-confirmed", errors.New("not confirmed, nothing is stored"), "choose with --service NAME=SERVICE, and NAME=none for those to leave")
		}
	}
	if err := a.settle(ctx, ks, keys, o.storing); err != nil {
		return err
	}
	if err := a.storeAll(ctx, keys, o.storing); err != nil {
		return err
	}
	for _, f := range files {
		if err := a.finish(ctx, o, f); err != nil {
			return err
		}
	}
	return nil
}

// readImports reads all files before anything is done with one.
func (a *app) readImports(o *importing, ks knownServices, args []string) (files []*importFile, err error) {
	for _, path := range args {
		f := &importFile{File: path}
		files = append(files, f)
		var data []byte
		if path == "-" {
			if data, err = io.ReadAll(io.LimitReader(a.stdin, keyfile.MaxFile+1)); err != nil {
				return files, err
			}
			defer clear(data)
		} else {
			if f.file, err = keyfile.Open(path, keyfile.MaxFile); err != nil {
				return files, explainKeyfile(path, err)
			}
			data, f.Exposed = f.file.Data, f.file.Exposed()
		}
		var format keyfile.Format
		if o.format != "" {
			format, err = keyfile.ParseFormat(o.format)
		} else {
			format, err = keyfile.Detect(path, data)
		}
		if err == nil {
			f.items, err = keyfile.Parse(format, data)
		}
		if err != nil {
			return files, explainKeyfile(path, err)
		}
		f.Format = string(format)
		if o.replace && format != keyfile.Dotenv {
			return files, failWith(exitUsage, "usage", fmt.Errorf("%s is no .env file: --replace changes those only", path), "leave --replace out, or use --shred")
		}
		for _, it := range f.items {
			f.keys = append(f.keys, ks.judge(path, it))
		}
	}
	return files, nil
}

func clearImports(files []*importFile) {
	for _, f := range files {
		keyfile.Clear(f.items)
		if f.file != nil {
			f.file.Clear()
		}
	}
}

// twice returns a file that stands in a list twice, "" if none does.
func twice(files []string) string {
	seen := map[string]bool{}
	for _, f := range files {
		if f = filepath.Clean(f); seen[f] {
			return f
		}
		seen[f] = true
	}
	return ""
}

func explainKeyfile(path string, err error) error {
	switch {
	case isMissing(err):
		return failWith(exitNotFound, "not-found", fmt.Errorf("no file %s", path), "check its name")
	case errors.Is(err, keyfile.ErrEncrypted):
		return failWith(exitUsage, "usage", fmt.Errorf("%s: %w", path, err), "export it anew, unencrypted, and shred it afterwards with --shred")
	case errors.Is(err, keyfile.ErrTooLarge):
		return failWith(exitUsage, "usage", fmt.Errorf("%s: %w", path, err), "put what has the keys into a file of its own; 'agentkeys scan' looks through many files")
	case errors.Is(err, keyfile.ErrKind):
		return failWith(exitUsage, "usage", fmt.Errorf("%s: %w", path, err), "name a regular file of yours, or - for standard input; 'agentkeys scan DIR' looks through a directory")
	case errors.Is(err, keyfile.ErrFormat):
		return failWith(exitUsage, "usage", fmt.Errorf("%s: %w", path, err), "name the format with --format dotenv, json, 1password, bitwarden or csv, or mend the file")
	}
	return fmt.Errorf("%s: %w", path, err)
}

// applyChoices puts --service into force. Names are compared as they are shown.
func applyChoices(cmd *cobra.Command, ks knownServices, keys []*foundKey, choices []string) error {
	for _, c := range choices {
		i := strings.LastIndexByte(c, '=')
		if i <= 0 {
			return usage(cmd, errors.New("--service is NAME=SERVICE"))
		}
		name, text := c[:i], c[i+1:]
		var id agentkeys.Service
		if text != "none" {
			var err error
			if id, err = agentkeys.ParseService(text); err != nil {
				return err
			}
			if ks.entry(id) == nil {
				return failWith(exitNotFound, control.CodeUnknown, errors.New("--service names a service that there is not"), "list the services with 'agentkeys services'")
			}
		}
		met := false
		for _, k := range keys {
			if k.Name != name {
				continue
			}
			met = true
			if text == "none" {
				k.State, k.Detail, k.err = keySkipped, "as you said", nil
			} else if k.State != keyRefused {
				ks.choose(k, id)
			}
		}
		if !met {
			return failWith(exitNotFound, "not-found", errors.New("--service names a value that is not in the files"), "'agentkeys import FILE --dry-run' shows the names")
		}
	}
	return nil
}

// finish takes the keys out of a file, or the file away.
func (a *app) finish(ctx context.Context, o *importing, f *importFile) error {
	switch {
	case o.replace:
		var patches []keyfile.Patch
		for i, k := range f.keys {
			if k.safe() {
				patches = append(patches, f.items[i].Without()...)
				f.Replaced++
			}
		}
		if len(patches) == 0 {
			return nil
		}
		if err := f.file.Rewrite(patches); err != nil {
			f.Replaced, f.Detail = 0, err.Error()
		}
	case o.shred:
		others := 0
		for _, k := range f.keys {
			switch {
			case !k.isKey():
				others++
			case !k.safe():
				f.Detail = fmt.Sprintf("not shredded: %s was not stored", k.Name)
				return nil
			}
		}
		if others == len(f.keys) {
			f.Detail = "not shredded: there was no key in it"
			return nil
		}
		if o.yes && others > 0 && !o.force {
			f.Detail = fmt.Sprintf("not shredded: %s in it would be lost; add --force, or leave --yes out", count(others, "other value"))
			return nil
		}
		if !o.yes {
			typed, err := a.line(ctx, fmt.Sprintf("Type yes to overwrite and remove %s; %s in it will be lost: ", printable(f.File), count(others, "other value")))
			if err != nil {
				return err
			}
			if typed != "yes" {
				f.Detail = "not shredded: not confirmed"
				return nil
			}
		}
		if err := f.file.Shred(); err != nil {
			f.Detail = "not shredded: " + err.Error()
			return nil
		}
		f.Shredded = true
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) printKeysFound(files []*importFile, keys []*foundKey) {
	var rows [][]string
	for _, k := range keys {
		if k.isKey() {
			rows = append(rows, []string{k.where(), k.Name, k.Service.String(), k.Looks, k.Detail})
		}
	}
	if len(rows) > 0 {
		a.table("WHERE NAME SERVICE LOOKS WHY", rows)
	}
	for _, f := range files {
		var names []string
		kept := 0
		for _, k := range f.keys {
			switch {
			case k.isKey():
			case k.kept:
				kept++
			default:
				names = append(names, k.Name)
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(a.stdout, "%s: left alone: %s\n", printable(f.File), printable(strings.Join(names, ", ")))
		}
		if kept > 0 {
			fmt.Fprintf(a.stdout, "%s: left alone: %d of its values, which are no keys of known services\n", printable(f.File), kept)
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stdout, "No key of a known service.")
	}
}

func (a *app) printImported(o *importing, files []*importFile, keys []*foundKey) {
	if o.dryRun {
		return
	}
	for _, k := range keys {
		if k.isKey() {
			fmt.Fprintf(a.stdout, "%s (%s): %s: %s\n", printable(k.Name), orDash(k.Service.String()), k.State, printable(k.Detail))
		}
	}
	for _, f := range files {
		switch {
		case f.Replaced > 0:
			fmt.Fprintf(a.stdout, "%s: %s out of it; run programs with 'agentkeys run'. Copies and a repository's history still have them\n", printable(f.File), count(f.Replaced, "key"))
		case f.Shredded:
			fmt.Fprintf(a.stdout, "%s: overwritten and removed. Copies, backups, snapshots, a repository's history and an SSD's spare blocks may still have it\n", printable(f.File))
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
