package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/siwe"
)

type loginOptions struct {
	broker, email, wallet string
	google, passkey       bool
	place, name           string
	message, signature    string // files
	open                  bool
}

// methods are the ways to log in that were named.
func (o loginOptions) methods() (all []string) {
	for _, m := range []struct {
		named  bool
		method string
	}{
		{o.email != "", brokerapi.LoginEmail}, {o.wallet != "", brokerapi.LoginWallet},
		{o.google, brokerapi.LoginGoogle}, {o.passkey, brokerapi.LoginPasskey},
	} {
		if m.named {
			all = append(all, m.method)
		}
	}
	return all
}

// askWallet is --wallet without an address.
const askWallet = "ask"

func (a *app) loginCmd() *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use:   "login --broker URL [--email A | --wallet [ADDRESS] | --google | --passkey]",
		Short: "Log this machine in at a broker",
		Long: `Log this machine in at a broker, which from then on says who your agents are and
what they are lent; your keys are in its store, under your own session, and
sealed by its signer. The login stays until 'agentkeys logout': a key made for
this machine, in the OS keychain or where --device-key says, renews it.

The browser page that ends the login hands a code to this command, over loopback
or typed by you. What 'agentkeys up' has kept on this machine so far stays there
untouched, and is not used while you are logged in.`,
		Example: `  agentkeys login --broker https://broker.example.com --email ada@example.com
  agentkeys login --broker https://broker.example.com --passkey --open
  agentkeys login --broker https://broker.example.com --wallet 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --device-key file:/root/device.key`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && o.wallet != askWallet {
				return usage(cmd, errors.New("only --wallet takes an address"))
			}
			if len(args) == 1 {
				o.wallet = args[0]
			}
			switch {
			case o.broker == "":
				return usage(cmd, errors.New("which broker? give --broker URL"))
			case len(o.methods()) > 1:
				return usage(cmd, errors.New("there is one way to log in at a time: --email, --wallet, --google or --passkey"))
			case o.wallet == "" && (o.message != "" || o.signature != ""):
				return usage(cmd, errors.New("--message-file and --signature-file go with --wallet"))
			}
			return a.login(cmd, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.broker, "broker", "", "the broker's `URL`")
	f.StringVar(&o.email, "email", "", "prove an `ADDRESS` by a mailed link")
	f.StringVar(&o.wallet, "wallet", "", "prove a wallet of yours by a signature; its `ADDRESS` may follow")
	f.Lookup("wallet").NoOptDefVal = askWallet
	f.BoolVar(&o.google, "google", false, "prove a Google account")
	f.BoolVar(&o.passkey, "passkey", false, "prove a passkey, or make one")
	f.StringVar(&o.place, "device-key", device.Keychain.String(), "keep this machine's key in a `PLACE`: keychain or file:PATH")
	f.StringVar(&o.name, "name", "", "the `NAME` of this machine among your devices (default: its host name)")
	f.BoolVar(&o.open, "open", false, "open the page in the browser")
	f.StringVar(&o.message, "message-file", "", "with --wallet, write the message to sign to a `FILE`")
	f.StringVar(&o.signature, "signature-file", "", "with --wallet, read its signature from a `FILE`, once it is there")
	return c
}

func (a *app) login(cmd *cobra.Command, o loginOptions) error {
	ctx := cmd.Context()
	p, err := a.paths()
	if err != nil {
		return err
	}
	place, err := placeFlag(o.place)
	if err != nil {
		return err
	}
	if place == device.Memory {
		return usage(cmd, errors.New("--device-key memory would end with this command; it is for 'agentkeys daemon'"))
	}
	if err := a.mayLogin(ctx, p); err != nil {
		return err
	}
	if left := madeKeys(p); left > 0 && !a.json {
		fmt.Fprintf(a.stderr, "services have %d keys that were made on this laptop; while you are logged in nothing here deletes them\n", left)
	}
	cfg, err := askBroker(ctx, o.broker)
	if err != nil {
		return err
	}
	req, err := a.loginRequest(ctx, cmd, o, cfg)
	if err != nil {
		return err
	}
	d, err := makeDevice(ctx, place)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			d.forget()
		}
	}()
	client, err := brokerOptions(o.broker, d.key, slog.New(slog.DiscardHandler)).Client()
	if err != nil {
		return explainBroker(err)
	}
	defer client.Close()
	sess, err := a.proveSelf(ctx, client, req, o)
	if err != nil {
		return explainBroker(err)
	}
	if err := d.profile(client.Origin(), sess).save(p); err != nil {
		short, cancel := shortContext()
		defer cancel()
		_ = client.Logout(short)
		return err
	}
	done = true
	return a.print(map[string]any{"broker": client.Origin(), "wallet": sess.Wallet, "device": sess.Device}, func() {
		fmt.Fprintf(a.stdout, "logged in at %s, wallet %s\n", client.Origin(), signer.ChecksumAddress(sess.Wallet))
		if exists(p.Roots()) {
			fmt.Fprint(a.stdout, "The keys that this machine kept by itself stay where they are, and are not used\nwhile you are logged in: store those you need again. 'agentkeys logout' goes back.\n")
		}
		fmt.Fprintln(a.stdout, "next: agentkeys up, then agentkeys store SERVICE")
	})
}

// askBroker asks a broker about itself, before anything is made for it.
func askBroker(ctx context.Context, url string) (brokerapi.Config, error) {
	key := device.New()
	defer key.Clear()
	client, err := brokerOptions(url, key, slog.New(slog.DiscardHandler)).Client()
	if err != nil {
		return brokerapi.Config{}, explainBroker(err)
	}
	defer client.Close()
	cfg, err := client.Config(ctx)
	return cfg, explainBroker(err)
}

// mayLogin refuses a second login, and one under the feet of a process that
// serves without it.
func (a *app) mayLogin(ctx context.Context, p local.Paths) error {
	l, err := readProfile(p)
	if err != nil {
		return err
	}
	if l != nil {
		return failWith(exitConflict, "conflict", fmt.Errorf("this machine is logged in at %s already", l.Issuer), "run 'agentkeys logout' first")
	}
	if _, err := control.NewClient(p.Control()).Status(ctx); err == nil {
		return failWith(exitConflict, "conflict", errors.New("agentkeys is running with the keys of this machine"), "run 'agentkeys down' first")
	}
	return nil
}

// loginRequest settles how to log in.
func (a *app) loginRequest(ctx context.Context, cmd *cobra.Command, o loginOptions, cfg brokerapi.Config) (r brokerapi.LoginRequest, err error) {
	if all := o.methods(); len(all) > 0 {
		r.Method = all[0]
	}
	flags := "--" + strings.Join(cfg.Logins, ", --")
	switch {
	case len(cfg.Logins) == 0:
		return r, failWith(exitRefused, "no-login", errors.New("the broker has no way to log in"), "ask its operator to configure one")
	case r.Method == "" && len(cfg.Logins) == 1:
		r.Method = cfg.Logins[0]
	case r.Method == "":
		return r, usage(cmd, fmt.Errorf("how do you log in? The broker takes %s", flags))
	}
	if !slices.Contains(cfg.Logins, r.Method) {
		return r, failWith(exitRefused, "no-login", fmt.Errorf("the broker does not take --%s", r.Method), "it takes "+flags)
	}
	switch r.Method {
	case brokerapi.LoginEmail:
		if r.Email = o.email; r.Email == "" {
			r.Email, err = a.askFor(ctx, cmd, "Your e-mail address: ", "--email ADDRESS")
		}
	case brokerapi.LoginWallet:
		if r.Address = o.wallet; r.Address == "" || r.Address == askWallet {
			r.Address, err = a.askFor(ctx, cmd, "The address of your wallet: ", "--wallet ADDRESS")
		}
		if err == nil {
			if _, perr := agentkeys.ParseWallet(strings.ToLower(r.Address)); perr != nil {
				err = usage(cmd, fmt.Errorf("--wallet: %w", perr))
			}
		}
	}
	return r, err
}

func (a *app) askFor(ctx context.Context, cmd *cobra.Command, question, flag string) (string, error) {
	if !a.onTerminal() {
		return "", usage(cmd, fmt.Errorf("give %s", flag))
	}
	return a.line(ctx, question)
}

// proveSelf has the person prove who they are, and takes the session for it.
func (a *app) proveSelf(ctx context.Context, client *brokerclient.Client, req brokerapi.LoginRequest, o loginOptions) (brokerapi.Session, error) {
	hand, err := listenHandoff()
	if err != nil {
		return brokerapi.Session{}, err
	}
	defer hand.close()
	req.LoopbackPort = hand.port
	login, err := client.BeginLogin(ctx, req)
	if err != nil {
		return brokerapi.Session{}, err
	}
	hand.expect(login.ID)
	if err := checkLogin(client, req, login); err != nil {
		return brokerapi.Session{}, err
	}
	if err := a.instruct(client.Origin(), req, login, o); err != nil {
		return brokerapi.Session{}, err
	}
	lines := a.typed(ctx)
	var signed <-chan string
	if o.signature != "" {
		signed = awaitFile(ctx, o.signature)
	}
	end := time.NewTimer(max(time.Until(login.Expires), time.Minute)) // whatever this machine's clock says
	defer end.Stop()
	for tries := 0; ; {
		var code string
		select {
		case <-ctx.Done():
			return brokerapi.Session{}, errInterrupted
		case <-end.C:
			return brokerapi.Session{}, failWith(exitRefused, "expired", errors.New("the login has expired"), "try again, and finish it within its time")
		case code = <-hand.codes:
		case line, ok := <-lines:
			if !ok {
				lines = nil // nobody types; the browser may come yet
				continue
			}
			code = line
		case code = <-signed:
			signed = nil
		}
		if code == "" {
			continue
		}
		if req.Method == brokerapi.LoginWallet && strings.HasPrefix(code, "0x") {
			h, err := client.ProveWallet(ctx, login.ID, brokerapi.WalletProof{Message: login.Message, Signature: code})
			if err != nil {
				return brokerapi.Session{}, err
			}
			code = h.Code
		}
		sess, err := client.EndLogin(ctx, login.ID, brokerapi.HandoffProof{Code: code, Device: deviceName(o.name)})
		p, refused := errors.AsType[*brokerapi.Problem](err)
		if tries++; refused && p.Code == brokerapi.CodeLogin && tries < 3 {
			fmt.Fprintln(a.stderr, "The broker does not take that code. Type it again, or press Ctrl-C.")
			continue
		}
		return sess, err
	}
}

// checkLogin refuses a login that is for another broker, or for another device:
// what the person proves there would let whoever runs this broker in at that
// one. Of a mailed link, the mail says where it leads.
func checkLogin(client *brokerclient.Client, req brokerapi.LoginRequest, login brokerapi.Login) error {
	origin := client.Origin()
	no := func(what string) error {
		return failWith(exitRefused, "foreign-login", fmt.Errorf("what %s wants to be proven is not for itself and this machine: %s", origin, what),
			"do not prove it in any other way; ask whoever runs this broker")
	}
	switch req.Method {
	case brokerapi.LoginWallet:
		m, err := siwe.Parse(login.Message)
		if err != nil {
			return no("the message: " + err.Error())
		}
		_, host, _ := strings.Cut(origin, "://")
		for _, f := range []struct {
			what string
			ok   bool
		}{
			{"the domain", m.Scheme == "" && m.Domain == host},
			{"the URI", m.URI == origin},
			{"the address", strings.EqualFold(m.Address.String(), req.Address)},
			{"the request id", m.RequestID == login.ID},
			{"the device among the resources", slices.Equal(m.Resources, []string{"urn:agentkeys:device:" + client.Device()})},
		} {
			if !f.ok {
				return no(f.what + " of the message is not what was asked for")
			}
		}
	case brokerapi.LoginPasskey:
		if login.URL != origin+"/login/passkey#"+login.ID {
			return no("the page is not its own")
		}
		return checkPage(login.URL)
	case brokerapi.LoginGoogle:
		if err := checkPage(login.URL); err != nil {
			return err
		}
		u, err := url.Parse(login.URL)
		if err != nil {
			return no("the page is none")
		}
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || !slices.Equal(q["redirect_uri"], []string{origin + brokerapi.PathGoogleReturn}) {
			return no("the page does not lead back to it")
		}
	}
	return nil
}

// instruct tells the person what to do.
func (a *app) instruct(origin string, req brokerapi.LoginRequest, login brokerapi.Login, o loginOptions) error {
	switch req.Method {
	case brokerapi.LoginEmail:
		fmt.Fprintf(a.stderr, "If %s can log in here, a link is on its way to it: open it in a browser on this\nmachine, or anywhere and type the code that it shows.\n", req.Email)
	case brokerapi.LoginWallet:
		if o.message != "" {
			if err := os.WriteFile(o.message, []byte(login.Message), 0o600); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stderr, "Sign this message with %s, as it is (personal_sign, EIP-191):\n\n%s\n\n", req.Address, quoted(login.Message))
		fmt.Fprintf(a.stderr, "Paste the signature (0x…), or sign in a browser:\n\n  %s/login/wallet#%s\n\n",
			origin, base64.RawURLEncoding.EncodeToString([]byte(login.Message)))
	default:
		fmt.Fprintf(a.stderr, "Open this page in a browser on this machine, or anywhere and type the code that\nit shows:\n\n  %s\n\n", login.URL)
		if o.open {
			openBrowser(login.URL)
		}
	}
	if a.onTerminal() {
		fmt.Fprint(a.stderr, "Code: ")
	}
	return nil
}

func quoted(s string) string {
	safe := strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
	return "  " + strings.ReplaceAll(safe, "\n", "\n  ")
}
