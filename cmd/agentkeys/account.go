package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision"
)

// revealAccount shows what a sign-up logs in with.
func (a *app) revealAccount(ctx context.Context, client *control.Client, svc agentkeys.Service) error {
	v, err := client.Drawer(ctx, svc, local.DrawerAccount)
	if err != nil {
		return noAccount(svc, err)
	}
	defer v.Clear()
	var l provision.Login
	if json.Unmarshal(v.Expose(), &l) != nil {
		return failWith(exitCorrupt, control.CodeCorrupt, errors.New("what is kept of the account cannot be read"), "'agentkeys rm "+svc.String()+" --account' forgets it")
	}
	fmt.Fprintf(a.stdout, "address   %s\n", printable(l.Address))
	if l.Password != "" {
		fmt.Fprintf(a.stdout, "password  %s\n", printable(l.Password))
	}
	return nil
}

// forgetAccount drops what a sign-up logs in with, and that there is an account.
func (a *app) forgetAccount(ctx context.Context, client *control.Client, svc agentkeys.Service) error {
	p, err := a.paths()
	if err != nil {
		return err
	}
	// The journal first: a run that finds an account's login and no account
	// registers with it, and comes in to the account if there is one.
	had, err := provision.ForgetAccount(p.Provision(), svc)
	if err != nil {
		return explainProvision(svc, err)
	}
	if err = client.RemoveDrawer(ctx, svc, local.DrawerAccount); had && code(err) == control.CodeNotFound {
		return nil
	}
	return noAccount(svc, err)
}

func noAccount(svc agentkeys.Service, err error) error {
	if code(err) == control.CodeNotFound {
		return failWith(exitNotFound, control.CodeNotFound, fmt.Errorf("no account of %s was made from here", svc), "'agentkeys provision "+svc.String()+" --plan' says what would make one")
	}
	return err
}
