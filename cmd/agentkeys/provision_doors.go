package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision"
)

// doors gives a run the doors of its service. done is called when the run has
// ended.
func (p *provisioning) doors(run *provision.Run, k keep) (done func() error, err error) {
	e := run.Entry
	rt, err := daemon.Transport(e)
	if err != nil {
		return nil, err
	}
	rec := p.recorder()
	signup := &provision.Signup{
		Entry: e, Vault: k, Post: k, Terms: p.terms(e),
		Ready:  p.ready,
		Launch: p.launch(e, rec),
	}
	if rec != nil {
		signup.Secret = rec.Hide
	}
	if p.headed || p.attach != "" {
		signup.Person = p.person
	}
	if p.shots != "" {
		signup.Shot = p.keepShot
	}
	run.Doors = []provision.Door{
		p.federate(e), p.mint(e),
		provision.NewConsent(e, rt, p.show()), signup, p.bring(e),
	}
	return func() error { return p.saveHAR(rec) }, nil
}

// ready reports whether there can be a browser.
func (p *provisioning) ready() error {
	if p.attach != "" || p.browser != "" {
		return nil
	}
	_, err := chrome.Find()
	return err
}

// terms asks whether a review of the terms lets a browser sign up. The process
// that answers, and this one, must be of one mind on whether the pages are live.
func (p *provisioning) terms(e *catalog.Entry) func(context.Context) (provision.Opening, error) {
	return func(ctx context.Context) (provision.Opening, error) {
		t, err := p.client.Terms(ctx, e.ID)
		o := provision.Opening{Open: t.Open, Why: t.Why}
		switch {
		case err != nil:
		case t.Live == e.Played():
			o = provision.Opening{Why: "the background process knows other settings of this service", Fix: "start it again: 'agentkeys down', then 'agentkeys up'"}
		case !t.Open:
			o.Fix = fmt.Sprintf("read the terms, then 'agentkeys terms review %s --allow --by NAME --note TEXT'", e.ID)
		}
		return o, err
	}
}

// show leads the person to a page in their own browser; nil where nobody is.
func (p *provisioning) show() func(context.Context, provision.Invitation) error {
	if !p.a.onTerminal() && p.door != string(catalog.Consent) {
		return nil
	}
	return func(_ context.Context, i provision.Invitation) error {
		fmt.Fprintf(p.a.stderr, "\n  Open this page, and agree there:\n\n  %s\n\n", i.Page)
		if p.a.onTerminal() && (runtime.GOOS != "linux" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "") {
			openBrowser(i.Once) // other users see the arguments of a program
		}
		return nil
	}
}

// bring is the door of who has a key.
func (p *provisioning) bring(e *catalog.Entry) provision.Door {
	return &provision.Ready{
		Door: catalog.Import,
		See: func(context.Context) (provision.Opening, error) {
			o := provision.Opening{
				Open: p.a.onTerminal(), Asked: true, Does: []string{"you paste a key that you have: " + e.Doors[catalog.Import].Fact},
				Fix: fmt.Sprintf("'agentkeys store %s' takes a key that you have", e.ID),
			}
			if !o.Open {
				o.Why = "a key is pasted in a terminal"
			}
			return o, nil
		},
		Try: func(ctx context.Context) (provision.Found, error) {
			v, err := p.a.readKey(ctx, e.ID, false, "")
			if err == nil {
				err = e.CheckKey(v.Expose())
			}
			if err != nil {
				v.Clear()
				return provision.Found{}, err
			}
			return provision.Found{Secret: v}, nil
		},
	}
}

// federate is the door of who has set up an exchange of tokens.
func (p *provisioning) federate(e *catalog.Entry) provision.Door {
	return &provision.Ready{
		Door: catalog.Federate,
		See: func(ctx context.Context) (provision.Opening, error) {
			f, err := p.client.Federation(ctx, e.ID)
			if code(err) != "" {
				return provision.Opening{Why: notBuilt(e.Doors[catalog.Federate])}, nil
			}
			o := provision.Opening{Open: f.Set, Fix: fmt.Sprintf("'agentkeys federate %s' shows what to enter where", e.ID)}
			switch {
			case err != nil:
				return provision.Opening{}, err
			case f.Set:
				o.Fix = ""
				o.Does = []string{"a token of " + f.Issuer + " is exchanged at " + f.URL + " as one is needed: there is no key"}
			case f.Issuer == "":
				o.Why, o.Fix = "it takes a broker, whose issuer the service believes", "'agentkeys login --broker URL'; then 'agentkeys federate "+e.ID.String()+"'"
			default:
				o.Why = "it is known, and not set up"
			}
			return o, nil
		},
		Try: func(ctx context.Context) (provision.Found, error) {
			r, err := p.client.CheckFederation(ctx, e.ID)
			if err != nil {
				return provision.Found{}, err
			}
			return provision.Found{
				Without: "no key is needed: a token was exchanged, and the service takes it (" + string(r.Verdict) + ")",
				Detail:  "tokens are renewed while they are in use; nothing is stored",
			}, nil
		},
	}
}

// mint is the door of who has a management key.
func (p *provisioning) mint(e *catalog.Entry) provision.Door {
	return &provision.Ready{
		Door: catalog.Mint,
		See: func(ctx context.Context) (provision.Opening, error) {
			if e.Minting == nil {
				return provision.Opening{Why: notBuilt(e.Doors[catalog.Mint])}, nil
			}
			all, err := p.client.Credentials(ctx)
			if err != nil {
				return provision.Opening{}, err
			}
			o := provision.Opening{
				Open: slices.ContainsFunc(all, func(c local.CredentialInfo) bool { return c.Service == e.ID && c.Management }),
				Does: []string{"each grant gets a key of its own, made with the management key that you keep here, and deleted with the grant"},
			}
			if !o.Open {
				o.Why, o.Fix = "there is no management key here", fmt.Sprintf("'agentkeys store %s --management' takes one", e.ID)
			}
			return o, nil
		},
		Try: func(context.Context) (provision.Found, error) {
			return provision.Found{
				Without: "no key of your own is needed: each grant gets one, made with your management key",
				Detail:  fmt.Sprintf("lend it with 'agentkeys grant AGENT %s'", e.ID),
			}, nil
		},
	}
}

// notBuilt is why a door is shut of which no more is known than the fact.
func notBuilt(f catalog.DoorFact) string {
	if f.State == catalog.DoorKnown {
		return "known, and not built: " + f.Fact
	}
	return f.Fact
}
