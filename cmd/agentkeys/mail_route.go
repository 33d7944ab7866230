package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// laptopReceiver is the host that `agentkeys up` receives as.
const laptopReceiver = "mx.agentkeys.localhost"

// routed is what the router would do with a message.
type routed struct {
	Decision mailroute.Outcome `json:"decision"`
	Wallet   agentkeys.Wallet  `json:"wallet,omitzero"`
	Tag      string            `json:"tag,omitempty"`
	Service  agentkeys.Service `json:"service,omitzero"`
	By       string            `json:"by,omitempty"`
	Reason   string            `json:"reason"`
}

func (a *app) mailRouteCmd() *cobra.Command {
	var domains, recipients, receivers, tags []string
	c := &cobra.Command{
		Use: "route FILE", Short: "Say where the router would bring a stored message", Args: cobra.ExactArgs(1),
		Long: `Say what the mail router would do with the message in FILE, or on standard
input if it is -, and why: bring it to a wallet, ignore it, or refuse it. The
router itself decides, on as much of the message as it would read. Whatever it
decides, the exit code is 0.

The address that counts is that of the envelope: given with --recipient, as a
notification would have it, or named by the topmost Received line if a receiver
wrote it that is believed. Only without one do To and Cc count.`,
		Example: `  agentkeys mail route message.eml --domain agents.example
  agentkeys mail route - --domain agents.example --receiver mx.agents.example --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(domains) == 0 {
				return usage(cmd, errors.New("--domain is missing: whose mail is it?"))
			}
			believed, err := parseReceivers(receivers)
			if err != nil {
				return usage(cmd, err)
			}
			services, err := mailServices()
			if err != nil {
				return err
			}
			rules := mailroute.Rules{Domains: domains, Tags: tags, Receivers: believed}
			for tag := range services {
				rules.Tags = append(rules.Tags, tag)
			}
			router, err := mailroute.New(rules)
			if err != nil {
				return usage(cmd, err)
			}
			msg, size, done, err := a.openMessage(args[0], mailrouter.MaxHeader)
			if err != nil {
				return err
			}
			defer done()
			r, err := route(cmd.Context(), router, oneMessage{msg, size}, mailrouter.Event{ID: messageID(args[0]), Recipients: recipients})
			if err != nil {
				return fmt.Errorf("reading %s: %w", args[0], err)
			}
			r.Service = services[r.Tag]
			return a.print(r, func() { a.printRouted(r) })
		},
	}
	f := c.Flags()
	f.StringArrayVar(&domains, "domain", nil, "mail for this `DOMAIN` is ours; repeat for more")
	f.StringArrayVar(&recipients, "recipient", nil, "the envelope names this `ADDRESS`, by a notification; repeat for more")
	f.StringArrayVar(&receivers, "receiver", nil, receiverHelp+"; repeat for more")
	f.StringArrayVar(&tags, "tag", nil, "know this `TAG` too, beside the catalogue's; repeat for more")
	return c
}

const receiverHelp = "believe this receiving `HOST`, or 'ses' (default: ses and " + laptopReceiver + ")"

// route has the router itself decide, about a store of one message.
func route(ctx context.Context, rules *mailroute.Router, store oneMessage, ev mailrouter.Event) (routed, error) {
	router, err := mailrouter.New(mailrouter.Options{Store: store, Rules: rules})
	if err != nil {
		return routed{}, err
	}
	e, err := router.Handle(ctx, ev)
	if err != nil {
		return routed{}, err
	}
	r := routed{By: e.By, Reason: e.Reason}
	switch e.Outcome {
	case mailrouter.Placed:
		r.Decision, r.Wallet, r.Tag = mailroute.Route, e.Wallet, e.Tag
		r.Reason = map[string]string{
			mailroute.ByNotification: "recipient", mailroute.ByReceived: "received-for", mailroute.ByTo: "to-header",
		}[e.By]
	case mailrouter.Refused:
		r.Decision = mailroute.Refuse
	case mailrouter.Ignored:
		r.Decision = mailroute.Ignore
	default:
		return routed{}, fmt.Errorf("the router answers %q", e.Outcome)
	}
	return r, nil
}

// routeWhy says each reason in a sentence.
var routeWhy = map[string]string{
	"recipient":                    "the notification names an address of this wallet",
	"received-for":                 "the receiver's Received line names an address of this wallet",
	"to-header":                    "the envelope names nobody, and To and Cc name this wallet alone",
	mailroute.ReasonSeveralWallets: "it is for several wallets, and a message goes to one",
	mailroute.ReasonMalformed:      "an address looks like a wallet's and is none",
	mailroute.ReasonUnknownTag:     "an address of a wallet has the tag of no service",
	mailroute.ReasonHeaderTooLong:  "its header does not end where a header ends",
	mailroute.ReasonOtherAddress:   "it is for another address of the domain",
	mailroute.ReasonOtherDomain:    "it is for other domains",
	mailroute.ReasonNoAddress:      "it names nobody",
	mailrouter.ReasonSetup:         "it is what SES writes when a rule is made, and no mail",
	mailrouter.ReasonTooLarge:      "it is larger than mail may be",
}

func (a *app) printRouted(r routed) {
	why := routeWhy[r.Reason]
	if why == "" {
		why = r.Reason
	}
	switch {
	case r.Decision != mailroute.Route:
		fmt.Fprintf(a.stdout, "%s (%s): %s\n", r.Decision, r.Reason, why)
	case r.Service.IsZero():
		fmt.Fprintf(a.stdout, "route to %s, tag %s\n  %s\n", r.Wallet, r.Tag, why)
	default:
		fmt.Fprintf(a.stdout, "route to %s, for %s\n  %s\n", r.Wallet, r.Service, why)
	}
}

// mailServices are the catalogue's services that sign up by mail, by their tag.
func mailServices() (map[string]agentkeys.Service, error) {
	all, err := catalog.All()
	if err != nil {
		return nil, err
	}
	by := map[string]agentkeys.Service{}
	for _, e := range all {
		if tag, ok := e.MailTag.Get(); ok {
			by[tag] = e.ID
		}
	}
	return by, nil
}

// parseReceivers reads the values of --receiver.
func parseReceivers(names []string) (list []mailhead.Receiver, err error) {
	if len(names) == 0 {
		names = []string{"ses", laptopReceiver}
	}
	for _, name := range names {
		name = strings.ToLower(name)
		switch {
		case name == "ses":
			list = append(list, mailhead.SES())
		case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "":
			return nil, fmt.Errorf("--receiver %q: write 'ses' or the name of a host, such as mx.agents.example", name)
		default:
			list = append(list, mailhead.Host(name))
		}
	}
	return list, nil
}

// openMessage opens a stored message, or standard input if it is "-". Of what
// cannot be read at any place only the first keep bytes are there.
func (a *app) openMessage(name string, keep int64) (r io.ReaderAt, size int64, done func(), err error) {
	in := a.stdin
	done = func() {}
	if name != "-" {
		if in, err = os.Open(name); err != nil {
			return nil, 0, nil, messageError(name, err)
		}
		done = func() { _ = in.Close() }
	}
	info, err := in.Stat()
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		done()
		return nil, 0, nil, messageError(name, err)
	}
	if name != "-" && info.Mode().IsRegular() {
		return in, info.Size(), done, nil
	}
	head, err := io.ReadAll(io.LimitReader(in, keep))
	if err == nil {
		size, err = io.Copy(io.Discard, in)
	}
	done()
	if err != nil {
		return nil, 0, nil, messageError(name, err)
	}
	return bytes.NewReader(head), int64(len(head)) + size, func() {}, nil
}

func messageError(name string, err error) error {
	const fix = "name a file with one stored message, or - for standard input"
	if isMissing(err) {
		return failWith(exitNotFound, "not-found", fmt.Errorf("no file %s", name), fix)
	}
	return failWith(exitFailure, "failed", fmt.Errorf("%s cannot be read: %w", name, err), fix)
}

// messageID is the id that a message would have under this name: one name is
// SES's own and no mail.
func messageID(name string) agentkeys.MessageID {
	id, err := agentkeys.ParseMessageID(filepath.Base(name))
	if err != nil {
		return agentkeys.Must(agentkeys.ParseMessageID("message"))
	}
	return id
}

// oneMessage is a mailstore.Arrived of one message, which it brings nowhere.
type oneMessage struct {
	r    io.ReaderAt
	size int64
}

func (m oneMessage) Read(ctx context.Context, _ agentkeys.MessageID, off, n int64, _ mailstore.Version) (mailstore.Part, error) {
	if err := ctx.Err(); err != nil {
		return mailstore.Part{}, err
	}
	data := make([]byte, max(0, min(n, m.size-off)))
	got, err := m.r.ReadAt(data, off)
	if got < len(data) {
		return mailstore.Part{}, err
	}
	return mailstore.Part{Data: data, Size: m.size, Version: "1"}, nil
}

func (oneMessage) Place(context.Context, agentkeys.MessageID, mailstore.Version, agentkeys.Wallet) (bool, error) {
	return true, nil
}

func (oneMessage) Refuse(context.Context, agentkeys.MessageID, mailstore.Version, string) (bool, error) {
	return true, nil
}

func (oneMessage) Remove(context.Context, agentkeys.MessageID) error { return nil }
