package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) devicesCmd() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		client, err := a.client()
		if err != nil {
			return err
		}
		devices, err := client.Devices(cmd.Context())
		if err != nil {
			return err
		}
		return a.print(devices, func() {
			var rows [][]string
			for _, d := range devices {
				whose := "yours"
				if !d.Agent.IsZero() {
					whose = "agent " + d.Agent.String()
				}
				if d.Current {
					whose += ", this one"
				}
				rows = append(rows, []string{d.ID, printable(d.Name), whose, ago(d.Created, time.Now())})
			}
			a.table("DEVICE NAME WHOSE SINCE", rows)
		})
	}
	c := &cobra.Command{
		Use: "devices", Short: "List the machines that are logged in at the broker, and end their logins", Args: cobra.NoArgs,
		Example: "  agentkeys devices\n  agentkeys devices revoke DEVICE",
		RunE:    list,
	}
	c.AddCommand(
		&cobra.Command{Use: "list", Short: "List the machines", Args: cobra.NoArgs, Aliases: []string{"ls"}, Example: "  agentkeys devices list --json", RunE: list},
		&cobra.Command{
			Use: "revoke DEVICE", Short: "End a machine's login, at once and for good", Args: cobra.ExactArgs(1),
			Example: "  agentkeys devices revoke NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := a.client()
				if err != nil {
					return err
				}
				if err := client.RevokeDevice(cmd.Context(), args[0]); err != nil {
					return err
				}
				return a.print(map[string]any{"device": args[0], "revoked": true}, func() { fmt.Fprintf(a.stdout, "%s: its login has ended\n", args[0]) })
			},
		},
	)
	return c
}
