package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) logsCmd() *cobra.Command {
	var follow bool
	var n int
	c := &cobra.Command{
		Use: "logs", Short: "Print the background process's log", Args: cobra.NoArgs,
		Long:    "Print the background process's own log: starts, stops and failures. What agents\ndid with which key is in 'agentkeys audit tail'.",
		Example: "  agentkeys logs -n 20\n  agentkeys logs -f",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 0 {
				return usage(cmd, errors.New("--lines is not negative"))
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			f, err := os.Open(p.DaemonLog())
			if isMissing(err) {
				return failWith(exitNotFound, "not-found", errors.New("there is no log yet"), "start the process with 'agentkeys up'")
			}
			if err != nil {
				return err
			}
			defer f.Close()
			data, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			lines := strings.SplitAfter(string(data), "\n")
			if lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			fmt.Fprint(a.stdout, strings.Join(lines[max(0, len(lines)-n):], ""))
			for follow {
				select {
				case <-cmd.Context().Done():
					a.afterInterrupt()
					return nil
				case <-time.After(200 * time.Millisecond):
				}
				if _, err := io.Copy(a.stdout, f); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what comes")
	c.Flags().IntVarP(&n, "lines", "n", 100, "print the last `N` lines")
	return c
}
