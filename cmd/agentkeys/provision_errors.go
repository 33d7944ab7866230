package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// explainProvision gives the end of a run a code, and says how to go on.
func explainProvision(svc agentkeys.Service, err error) error {
	again := fmt.Sprintf("run 'agentkeys provision %s' again: it goes on where it was", svc)
	if f, ok := errors.AsType[*recipe.Failure](err); ok {
		return explainStep(svc, f, err, again)
	}
	if c, ok := errors.AsType[*provision.Closed](err); ok {
		return failWith(exitRefused, "no-door", closedText(c), c.Fix())
	}
	for _, o := range []struct {
		is   error
		exit int
		code string
		fix  string
	}{
		{provision.ErrBusy, exitConflict, "busy", "wait for it to end, or end it with Ctrl-C where it runs"},
		{provision.ErrUnfinished, exitConflict, "unfinished", "end it with 'agentkeys provision " + svc.String() + " --resume'; or add --force, and delete that key at the service yourself"},
		{provision.ErrLogin, exitCorrupt, "corrupt", "restore a backup; or forget the account with 'agentkeys rm " + svc.String() + " --account', and the next run makes another"},
		{provision.ErrNothing, exitNotFound, "nothing-to-resume", "begin one with 'agentkeys provision SERVICE'"},
		{provision.ErrJournal, exitCorrupt, "corrupt", "restore a backup, or remove the file it names: the next run tries the login that is in the vault, if there is one"},
		{provision.ErrRefused, exitRefused, "key-refused", again},
		{provision.ErrDeclined, exitRefused, "declined", again},
		{provision.ErrConsent, exitRefused, "consent", again},
		{provision.ErrPerson, exitPerson, "needs-person", again},
		{chrome.ErrNoBrowser, exitFailure, "no-browser", "install Chromium ('apt install chromium'), or name the program with --browser"},
		{chrome.ErrNoDisplay, exitFailure, "no-display", "run it where there is a screen, or use --attach with a browser of yours"},
		{chrome.ErrSandbox, exitFailure, "no-sandbox", "run it as an ordinary user, on a system that lets programs make user namespaces"},
		{chrome.ErrAttach, exitFailure, "attach", "start your browser with --remote-debugging-port=9222 and a --user-data-dir of its own"},
		{chrome.ErrStart, exitFailure, "browser", "see that it is Chromium or Chrome, and starts by itself; then " + again},
	} {
		if errors.Is(err, o.is) {
			return failWith(o.exit, o.code, err, o.fix)
		}
	}
	return err
}

// closedText lists the doors with the reason why each is shut.
func closedText(c *provision.Closed) error {
	if len(c.Openings) == 1 {
		return c
	}
	var why []string
	for _, o := range c.Openings {
		if !o.Open {
			why = append(why, string(o.Door)+": "+strings.TrimSuffix(o.Why, "."))
		}
	}
	return fmt.Errorf("%w: %s", provision.ErrClosed, strings.Join(why, "; "))
}

// explainStep says what a person can do about a step that failed.
func explainStep(svc agentkeys.Service, f *recipe.Failure, err error, again string) error {
	name := svc.String()
	window := fmt.Sprintf("run 'agentkeys provision %s --headed', or --attach URL with a browser of yours; do it there, and the run goes on by itself", name)
	switch f.Kind {
	case recipe.BotCheck, recipe.NeedHuman:
		return failWith(exitPerson, "needs-person", err, window)
	case recipe.Stopped:
		if errors.Is(err, context.Canceled) {
			return failWith(exitInterrupted, "interrupted", errors.New("interrupted"), again)
		}
		return err // what could not be recorded or kept says why itself
	case recipe.NoMail:
		return failWith(exitNotFound, "no-mail", err, "see what came with 'agentkeys mail ls'; --sender and --link-host say what is not known of the service's mail")
	case recipe.OffHost:
		return failWith(exitRefused, "off-host", err, "nothing was sent there; if it is the service's own page, its recipe has to list the host")
	case recipe.Limited:
		return failWith(exitFailure, "rate-limited", err, "wait an hour or so; then "+again)
	case recipe.NoAccount:
		return failWith(exitRefused, string(f.Kind), err, fmt.Sprintf("the service does not know the account that was made, or its password: 'agentkeys rm %s --account' forgets it, and the next run makes another", name))
	case recipe.Closed, recipe.Wrong, recipe.Exists:
		return failWith(exitRefused, string(f.Kind), err, fmt.Sprintf("look at the page with --headed, or bring a key: 'agentkeys store %s'", name))
	case recipe.NoLoad, recipe.Browser:
		return failWith(exitFailure, string(f.Kind), err, again)
	}
	return failWith(exitFailure, "recipe", err, fmt.Sprintf("the page is not as the recipe has it: watch it with --headed, keep a record with --har and --shots, or bring a key: 'agentkeys store %s'", name))
}
