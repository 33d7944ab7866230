package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

type daemonOptions struct {
	broker, enrol, enrolFile string
	place, name, sockets     string
	port                     int
	idle                     time.Duration
}

func (a *app) daemonCmd() *cobra.Command {
	var o daemonOptions
	c := &cobra.Command{
		Use:   "daemon [--broker URL --enrol CODE]",
		Short: "Serve one agent on its own machine",
		Long: `Serve one agent on its own machine, in the foreground: on a socket of its own
and on loopback. The first start redeems a code that was made on a machine of
the master's, by 'agentkeys agent create LABEL --enrol-code' or 'agentkeys agent
enrol LABEL'; later ones need neither code nor address, unless the key is kept
in memory.

Such a machine stores, grants and creates nothing: what its agent is lent is
said elsewhere, and taken back elsewhere.

A code in an argument is seen by whoever lists this machine's processes. It is
good once and for ten minutes; --enrol - reads it from standard input instead.`,
		Example: `  agentkeys daemon --broker https://broker.example.com --enrol - --device-key file:/var/lib/agentkeys/device.key < code
  agentkeys daemon --broker https://broker.example.com --enrol ABCD-EFGH-JKLM-NPQR --device-key memory
  agentkeys daemon`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.port < 0 || o.port > 65535:
				return usage(cmd, errors.New("--port is a number from 1 to 65535"))
			case o.enrol != "" && o.enrolFile != "":
				return usage(cmd, errors.New("--enrol and --enrol-file say the same"))
			}
			return a.serveAgent(cmd, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.broker, "broker", "", "the broker's `URL`")
	f.StringVar(&o.enrol, "enrol", "", "redeem the `CODE`; - reads it from standard input")
	f.StringVar(&o.enrolFile, "enrol-file", "", "redeem the code in a `FILE`")
	f.StringVar(&o.place, "device-key", device.Keychain.String(), "keep this machine's key in a `PLACE`: keychain, file:PATH or memory")
	f.StringVar(&o.name, "name", "", "the `NAME` of this machine among the master's devices (default: its host name)")
	f.StringVar(&o.sockets, "socket-dir", "", "make the agent's socket in a `DIRECTORY` that is yours alone")
	f.IntVar(&o.port, "port", 0, "loopback `PORT` for the agent (default: the one used before)")
	f.DurationVar(&o.idle, "idle", 0, "clear an opened key from memory after a `SPAN` unused (default 5m)")
	return c
}

func (a *app) serveAgent(cmd *cobra.Command, o daemonOptions) error {
	ctx := cmd.Context()
	p, err := a.paths()
	if err != nil {
		return err
	}
	l, err := readProfile(p)
	if err != nil {
		return err
	}
	enrolling := o.enrol != "" || o.enrolFile != ""
	up := upOptions{port: o.port, idle: o.idle, sockets: o.sockets, foreground: true}
	switch {
	case l != nil && l.Agent.IsZero():
		return failWith(exitConflict, "conflict", fmt.Errorf("this machine is logged in at %s as a master", l.Issuer),
			"run 'agentkeys up', or choose another AGENTKEYS_HOME for the agent")
	case l != nil && enrolling:
		return failWith(exitConflict, "conflict", fmt.Errorf("this machine is agent %s's at %s already", l.Agent, l.Issuer),
			"leave --enrol out, or run 'agentkeys logout' first")
	case l != nil:
		key, err := l.openDevice(ctx)
		if err != nil {
			return err
		}
		a.warnOfFile(l.Place)
		return a.serveForeground(ctx, p, up, unlocked{login: l, key: key})
	case o.broker == "" || !enrolling:
		return usage(cmd, errors.New("this machine is no agent's yet: give --broker URL and --enrol CODE"))
	}
	place, err := placeFlag(o.place)
	if err != nil {
		return err
	}
	code, err := a.enrolCode(o)
	if err != nil {
		return err
	}
	defer code.Clear()
	if _, err := askBroker(ctx, o.broker); err != nil {
		return err
	}
	l, key, err := a.enrolDevice(ctx, p, o, place, code)
	if err != nil {
		return err
	}
	p.Device = l.Device
	a.warnOfFile(place)
	return a.serveForeground(ctx, p, up, unlocked{login: l, key: key})
}

// warnOfFile says who can read a device key that is in a file.
func (a *app) warnOfFile(place device.Place) {
	if path, isFile := strings.CutPrefix(place.String(), "file:"); isFile && !a.json {
		fmt.Fprintf(a.stderr, "agentkeys: whatever runs as this user (uid %d) can take this machine's key out of %s: run the agent as another user\n", os.Getuid(), path)
	}
}

// enrolDevice makes a key and has the broker know it as the agent's.
func (a *app) enrolDevice(ctx context.Context, p local.Paths, o daemonOptions, place device.Place, code secret.Value) (*profile, device.Key, error) {
	d, err := makeDevice(ctx, place)
	if err != nil {
		return nil, device.Key{}, err
	}
	l, err := func() (*profile, error) {
		client, err := brokerOptions(o.broker, d.key, slog.New(slog.DiscardHandler)).Client()
		if err != nil {
			return nil, err
		}
		defer client.Close()
		if place != device.Memory { // before the code is used up
			if err := durable.MkdirAll(p.Config); err != nil {
				return nil, err
			}
		}
		sess, err := client.Enrol(ctx, brokerapi.EnrolRequest{Code: string(code.Expose()), Device: deviceName(o.name)})
		if err != nil {
			return nil, err
		}
		l := d.profile(client.Origin(), sess)
		if l.Agent.IsZero() {
			return nil, fmt.Errorf("the code made this machine a master's, not an agent's")
		}
		fmt.Fprintf(a.stderr, "this machine is agent %s's now, wallet %s\n", l.Agent, signer.ChecksumAddress(l.Wallet))
		if place == device.Memory {
			return l, nil
		}
		return l, l.save(p)
	}()
	if err != nil {
		d.forget()
		return nil, device.Key{}, explainBroker(err)
	}
	return l, d.key, nil
}

// maxCode bounds an enrolment code, in bytes.
const maxCode = 256

func (a *app) enrolCode(o daemonOptions) (secret.Value, error) {
	var v secret.Value
	var err error
	switch {
	case o.enrol == "-":
		v, err = secret.Read(io.Reader(a.stdin), maxCode)
	case o.enrolFile != "":
		v, err = secretFile(o.enrolFile, maxCode)
	default:
		fmt.Fprintln(a.stderr, "agentkeys: the code is in an argument, where other processes can see it; it is good once (--enrol - reads it from standard input)")
		v = secret.FromString(o.enrol)
	}
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return v, failWith(exitNotFound, "not-found", err, "give the file that holds the code")
		}
		return v, err
	}
	trimmed := secret.FromString(strings.TrimSpace(string(v.Expose())))
	v.Clear()
	if trimmed.IsZero() {
		return trimmed, failWith(exitUsage, "usage", errors.New("the enrolment code is empty"), "make one with 'agentkeys agent enrol LABEL' on a machine of the master's")
	}
	return trimmed, nil
}
