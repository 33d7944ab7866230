package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
)

func (a *app) auditCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Read and check the audit log", Args: cobra.NoArgs,
		Long:    "Every decision and every change is an entry in an append-only log before\nanything happens on its strength. The log is a Merkle tree whose head is\nsigned; anybody with the key can check it without this program's process.",
		Example: "  agentkeys audit tail -n 20\n  agentkeys audit verify",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.auditTailCmd(), a.auditVerifyCmd(), a.auditCheckpointCmd(), a.auditProveCmd(), a.auditCheckProofCmd())
	return c
}

func (a *app) auditTailCmd() *cobra.Command {
	var n int
	var follow bool
	c := &cobra.Command{
		Use: "tail", Short: "Print the last entries", Args: cobra.NoArgs,
		Example: "  agentkeys audit tail\n  agentkeys audit tail -n 100 --json\n  agentkeys audit tail -f",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 0 {
				return usage(cmd, errors.New("--lines is not negative"))
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			enc := json.NewEncoder(printableJSON{a.stdout})
			err = client.TailAudit(cmd.Context(), n, follow, func(l control.LogLine) error {
				if a.json {
					return enc.Encode(l)
				}
				fmt.Fprintln(a.stdout, logLine(l))
				return nil
			})
			if follow && errors.Is(err, cmd.Context().Err()) {
				a.afterInterrupt()
				return nil
			}
			return err
		},
	}
	c.Flags().IntVarP(&n, "lines", "n", 20, "print the last `N` entries")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what comes")
	return c
}

// logLine puts an entry on one line. What this version does not know is shown
// by its operation alone; --json has all of it.
func logLine(l control.LogLine) string {
	var e grant.Event
	if err := json.Unmarshal(l.Entry, &e); err != nil {
		return fmt.Sprintf("%6d  %s", l.Index, printable(string(l.Entry)))
	}
	parts := []string{fmt.Sprintf("%6d", l.Index), e.Time.Local().Format("2006-01-02 15:04:05"), fmt.Sprintf("%-18s", e.Op), fmt.Sprintf("%-6s", e.Decision)}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if !e.Agent.IsZero() {
		add("%s", e.Agent)
	}
	if !e.Svc.IsZero() {
		add("%s", e.Svc)
	}
	switch {
	case e.Op == grant.OpUse && e.Decision == grant.Allowed:
		add("%s", e.Path)
	case e.Method != "" || e.Path != "":
		add("%s %s", e.Method, e.Path)
	}
	if e.Status != 0 {
		add("status %d", e.Status)
	}
	if e.Cost > 0 {
		cost := e.Cost.String()
		if e.Estimate {
			cost = "about " + cost
		}
		add("cost %s", cost)
	}
	if e.Revision != 0 {
		add("revision %d", e.Revision)
	}
	if e.Epoch != 0 {
		add("epoch %d", e.Epoch)
	}
	if e.Subject != "" {
		add("%s", e.Subject)
	}
	if e.Reason != "" {
		add("(%s)", e.Reason)
	}
	if e.Repeated > 0 {
		add("and %d more like it", e.Repeated)
	}
	return printable(strings.Join(parts, "  "))
}

// printable keeps what an agent put into a path from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// logFlags say which log to look at, and by which key.
type logFlags struct{ dir, key string }

func (l *logFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&l.dir, "dir", "", "the log's `DIRECTORY`, or a copy of it (default: this user's)")
	c.Flags().StringVar(&l.key, "key", "", "the log's verifier `KEY`, or a file with it (default: this user's)")
}

func (l *logFlags) resolve(p local.Paths) (string, note.Verifier, error) {
	dir, key := l.dir, l.key
	if dir == "" {
		dir = p.AuditLog()
	}
	if key == "" {
		key = p.LogKey()
	}
	if !strings.Contains(key, "+") || exists(key) {
		data, err := os.ReadFile(key)
		if isMissing(err) {
			return "", nil, failWith(exitNotFound, "not-found", fmt.Errorf("no verifier key at %s", key), "give it with --key; its owner prints it with 'agentkeys audit checkpoint --json'")
		}
		if err != nil {
			return "", nil, err
		}
		key = strings.TrimSpace(string(data))
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return "", nil, failWith(exitUsage, "usage", fmt.Errorf("the verifier key: %w", err), "give the line that 'agentkeys audit checkpoint --json' prints as key, or a file with it")
	}
	return dir, v, nil
}

func (a *app) auditVerifyCmd() *cobra.Command {
	var lf logFlags
	var known []string
	c := &cobra.Command{
		Use: "verify", Short: "Check the whole log, offline", Args: cobra.NoArgs,
		Long: `Check every entry, every hash and the signature of the log, without the
background process. What is wrong is named, with the first bad entry. The head
that was found good is kept, and the next check notices if the log was put back
to before it. An earlier checkpoint from somewhere else makes that check
independent of this disk.`,
		Example: "  agentkeys audit verify\n  agentkeys audit verify --known checkpoint-of-last-month.txt\n  agentkeys audit verify --dir /mnt/copy/log --key log.vkey",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.paths()
			if err != nil {
				return err
			}
			dir, v, err := lf.resolve(p)
			if err != nil {
				return err
			}
			opts := audit.VerifyOptions{Verifier: v}
			seen := filepath.Join(p.State, "verified.checkpoint")
			own := dir == p.AuditLog()
			if own && exists(seen) {
				known = append(known, seen)
			}
			for _, path := range known {
				data, err := os.ReadFile(path)
				if err != nil {
					return usage(cmd, fmt.Errorf("--known: %w", err))
				}
				at, err := audit.ParseCheckpoint(data, v)
				if err != nil {
					return failWith(exitCorrupt, "corrupt", fmt.Errorf("%s: %w", path, err), "it is not a checkpoint of this log")
				}
				opts.Known = append(opts.Known, at)
			}
			if own {
				// So that the newest entries are covered. Without a process
				// there are none to wait for.
				ctx, cancel := shortContext()
				_, _ = control.NewClient(p.Control()).Checkpoint(ctx)
				cancel()
			}
			began, told := time.Now(), false
			opts.Progress = func(done, total int64) {
				if time.Since(began) > time.Second && !a.json {
					told = true
					fmt.Fprintf(a.stderr, "\rchecked %d of %d entries ", done, total)
				}
			}
			rep, err := audit.Verify(dir, opts)
			if told {
				fmt.Fprintln(a.stderr)
			}
			if err != nil {
				if isMissing(errors.Unwrap(err)) || isMissing(err) {
					return failWith(exitNotFound, "not-found", fmt.Errorf("no log at %s", dir), "start the process once with 'agentkeys up', or give --dir")
				}
				if errors.Is(err, audit.ErrCorrupt) {
					return failWith(exitCorrupt, "corrupt", err, "compare with a backup or with what others have of it: somebody, or a failing disk, changed this log")
				}
				return err
			}
			if own {
				if err := durable.WriteFile(seen, rep.Head.Signed); err != nil {
					return err
				}
			}
			answer := map[string]any{
				"ok": true, "origin": rep.Head.Origin, "size": rep.Head.Size, "root": rep.Head.Root.String(),
				"checked": rep.Checked, "uncovered": rep.Uncovered, "against": len(opts.Known),
			}
			return a.print(answer, func() {
				fmt.Fprintf(a.stdout, "the log is whole: %d entries, signed by %s\n", rep.Head.Size, rep.Head.Origin)
				if rep.Uncovered > 0 {
					fmt.Fprintf(a.stdout, "  %d newer entries wait for the next signature\n", rep.Uncovered)
				}
				if n := len(opts.Known); n > 0 {
					fmt.Fprintf(a.stdout, "  and continues %d earlier checkpoint(s)\n", n)
				}
			})
		},
	}
	lf.register(c)
	c.Flags().StringArrayVar(&known, "known", nil, "a `FILE` with an earlier checkpoint that the log must continue; may be repeated")
	return c
}

func (a *app) auditCheckpointCmd() *cobra.Command {
	return &cobra.Command{
		Use: "checkpoint", Short: "Sign the log as it is and print the checkpoint", Args: cobra.NoArgs,
		Long:    "Sign the log as it is now and print the checkpoint, a signed note. Kept anywhere\nelse, it proves later that nothing before it was changed.",
		Example: "  agentkeys audit checkpoint > checkpoint.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			cp, err := client.Checkpoint(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cp, func() { fmt.Fprint(a.stdout, cp.Note) })
		},
	}
}

func (a *app) auditProveCmd() *cobra.Command {
	var lf logFlags
	c := &cobra.Command{
		Use: "prove INDEX", Short: "Print a proof that an entry is in the log", Args: cobra.ExactArgs(1),
		Example: "  agentkeys audit prove 17 > entry-17.proof\n  agentkeys audit check-proof entry-17.proof --key log.vkey",
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || index < 0 {
				return usage(cmd, errors.New("INDEX is the number of an entry, from 0"))
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			dir, v, err := lf.resolve(p)
			if err != nil {
				return err
			}
			r, err := audit.OpenReader(dir, v)
			if err != nil {
				return explainLog(err)
			}
			proof, err := r.Inclusion(index)
			if err != nil {
				return explainLog(err)
			}
			text := string(proof.Text())
			return a.print(map[string]any{"index": index, "proof": text}, func() { fmt.Fprint(a.stdout, text) })
		},
	}
	lf.register(c)
	return c
}

func (a *app) auditCheckProofCmd() *cobra.Command {
	var lf logFlags
	c := &cobra.Command{
		Use: "check-proof FILE", Short: "Check a proof and print the entry it proves", Args: cobra.ExactArgs(1),
		Example: "  agentkeys audit check-proof entry-17.proof --key log.vkey",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return usage(cmd, err)
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			_, v, err := lf.resolve(p)
			if err != nil {
				return err
			}
			proof, err := audit.ParseInclusion(data)
			if err != nil {
				return explainLog(err)
			}
			e, at, err := proof.Verify(v)
			if err != nil {
				return explainLog(err)
			}
			l := control.LogLine{Index: e.Index, Entry: e.Raw}
			return a.print(l, func() {
				fmt.Fprintln(a.stdout, logLine(l))
				fmt.Fprintf(a.stdout, "is in the log %s, as signed at %d entries\n", at.Origin, at.Size)
			})
		},
	}
	lf.register(c)
	return c
}

func explainLog(err error) error {
	switch {
	case errors.Is(err, audit.ErrCorrupt), errors.Is(err, audit.ErrProof), errors.Is(err, audit.ErrCheckpoint):
		return failWith(exitCorrupt, "corrupt", err, "it was changed, or is of another log than the key: get it again, and the key, from the log's owner")
	case errors.Is(err, audit.ErrRange):
		return failWith(exitNotFound, "not-found", err, "entries count from 0; the newest are covered within a second, or at once by 'agentkeys audit checkpoint'")
	case isMissing(err):
		return failWith(exitNotFound, "not-found", errors.New("there is no log yet"), "start the process with 'agentkeys up'")
	}
	return err
}
