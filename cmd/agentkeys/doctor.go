package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/keychain"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision"
)

// finding is one line of doctor's report.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, note or bad
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`
}

func (a *app) doctorCmd() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look for what is wrong and say what to do", Args: cobra.NoArgs,
		Long:    "Check directories, keychain, process, listener, memory protection, disk, audit\nlog, and runs of provision that did not end. Nothing is changed. The exit code\nis 7 if something is wrong.",
		Example: "  agentkeys doctor\n  agentkeys doctor --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.paths()
			if err != nil {
				return err
			}
			found := a.examine(cmd.Context(), p)
			bad := 0
			for _, f := range found {
				if f.State == "bad" {
					bad++
				}
			}
			err = a.print(found, func() {
				for _, f := range found {
					mark := map[string]string{"ok": "ok  ", "note": "note", "bad": "BAD "}[f.State]
					fmt.Fprintf(a.stdout, "%s  %-10s %s\n", mark, f.Check, f.Text)
					if f.Fix != "" {
						fmt.Fprintf(a.stdout, "                  fix: %s\n", f.Fix)
					}
				}
			})
			if err == nil && bad > 0 {
				err = exitStatus(exitCorrupt)
			}
			return err
		},
	}
}

func (a *app) examine(ctx context.Context, p local.Paths) []finding {
	var out []finding
	add := func(check, state, fix, format string, args ...any) {
		out = append(out, finding{check, state, fmt.Sprintf(format, args...), fix})
	}
	a.examineFiles(p, add)
	if c, err := readCustody(p.Custody()); err != nil {
		pr := explain(err)
		add("passphrase", "bad", pr.fix, "%v", pr)
	} else if c.Keeper == keeperKeychain {
		v, err := keychain.Get(ctx, c.Account)
		v.Clear()
		if err != nil {
			pr := explain(err)
			add("passphrase", "bad", pr.fix, "it is in the OS keychain: %v", err)
		} else {
			add("passphrase", "ok", "", "in the OS keychain")
		}
	} else if exists(p.Roots()) {
		add("passphrase", "ok", "", "kept by you; 'agentkeys up' asks for it")
	}
	a.examineProcess(ctx, p, add)
	a.examineRuns(p, add)
	a.examineMinted(ctx, p, add)
	a.examineBroker(ctx, p, add)
	a.examineLog(p, add)
	var fs unix.Statfs_t
	if unix.Statfs(existing(p.Data), &fs) == nil {
		free := uint64(fs.Bavail) * uint64(fs.Bsize) >> 20
		if free < 100 {
			add("disk", "bad", "free some space", "%d MiB free: when the audit log cannot be written nothing is lent", free)
		} else {
			add("disk", "ok", "", "%d MiB free", free)
		}
	}
	return out
}

type addFinding func(check, state, fix, format string, args ...any)

func (a *app) examineFiles(p local.Paths, add addFinding) {
	if !exists(p.Roots()) && p.Device == "" {
		add("state", "note", "agentkeys up", "nothing is set up yet")
		return
	}
	open := 0
	for _, dir := range []string{p.Config, p.Data, p.State, p.Run} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			fi, err := d.Info()
			if err != nil || fi.Mode()&os.ModeSymlink != 0 || fi.Mode().Perm()&0o077 == 0 {
				return nil
			}
			if open++; open <= 5 {
				add("files", "bad", "chmod go= "+path, "%s is open to others (mode %04o)", path, fi.Mode().Perm())
			}
			return nil
		})
	}
	if open == 0 {
		add("files", "ok", "", "everything below %s is yours alone", p.Data)
	} else if open > 5 {
		add("files", "bad", "chmod -R go= "+p.Data, "and %d more", open-5)
	}
}

func (a *app) examineProcess(ctx context.Context, p local.Paths, add addFinding) {
	st, err := control.NewClient(p.Control()).Status(ctx)
	switch {
	case errors.Is(err, control.ErrDown):
		add("process", "note", "agentkeys up", "not running")
		return
	case err != nil:
		pr := classify(err)
		add("process", "bad", pr.fix, "%v", err)
		return
	}
	add("process", "ok", "", "pid %d, up for %s", st.PID, span(time.Since(st.Started)))
	if st.Version != version {
		add("process", "note", "agentkeys down && agentkeys up", "it runs version %s, this command is %s", st.Version, version)
	}
	if st.LogError != "" {
		add("audit log", "bad", "mend the disk, then agentkeys down && agentkeys up", "stopped, so nothing is lent: %s", st.LogError)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+st.Address+"/", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
	}
	if err != nil {
		add("listener", "bad", "agentkeys down && agentkeys up", "http://%s does not answer", st.Address)
	} else {
		add("listener", "ok", "", "agents reach http://%s", st.Address)
	}
	h := st.Hardening
	switch {
	case !h.NotDumpable || !h.NoCore:
		add("memory", "bad", "", "other processes of yours, or a core dump, could read the keys in memory")
	case !h.Locked:
		add("memory", "note", "raise the memlock limit (ulimit -l unlimited), or encrypt swap", "private; pages may be swapped out")
	default:
		add("memory", "ok", "", "private: no core dumps, no debugger, never swapped out")
	}
}

// examineRuns tells of runs of `agentkeys provision` that did not end.
func (a *app) examineRuns(p local.Paths, add addFinding) {
	open, damaged, err := provision.States(p.Provision())
	if err != nil {
		damaged = append(damaged, err)
	}
	for _, err := range damaged {
		pr := classify(explainProvision(agentkeys.Service{}, err))
		add("provision", "bad", pr.fix, "%v", pr.err)
	}
	for _, s := range open {
		why := ", or is under way"
		if f := s.Failure; f != nil {
			why = ": " + stopped(f)
		}
		add("provision", "note", fmt.Sprintf("agentkeys provision %s --resume", s.Service), "%s: a run by %s did not end%s", s.Service, s.Door, why)
	}
}

func (a *app) examineLog(p local.Paths, add addFinding) {
	if !exists(p.AuditLog()) {
		return
	}
	_, v, err := (&logFlags{}).resolve(p)
	if err != nil {
		add("audit log", "bad", classify(err).fix, "%v", err)
		return
	}
	rep, err := audit.Verify(p.AuditLog(), audit.VerifyOptions{Verifier: v})
	if err != nil {
		add("audit log", "bad", "compare with a backup", "%v", err)
		return
	}
	newest := ""
	if rep.Uncovered > 0 {
		newest = fmt.Sprintf("; the newest %d wait for the next signature", rep.Uncovered)
	}
	add("audit log", "ok", "", "%d entries, whole%s", rep.Head.Size+rep.Uncovered, newest)
}

// existing is the nearest ancestor of path that is there.
func existing(path string) string {
	for !exists(path) && path != filepath.Dir(path) {
		path = filepath.Dir(path)
	}
	return path
}
