package recipe

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// personTime is how long a person may take where a step says less.
const personTime = 30 * time.Minute

// person has somebody do something until done says so of a view. The engine
// only looks meanwhile, and a page elsewhere is the browser's business.
func (c *course) person(ctx context.Context, what, note string, done func(View) bool) error {
	return c.led(ctx, what, note, func(ctx context.Context) (bool, error) {
		v, err := c.glance(ctx)
		switch {
		case errors.Is(err, ErrGone) || ctx.Err() != nil:
			return false, errors.Join(err, ctx.Err())
		case err != nil || v.Loading || !c.onHosts(v.URL):
			return false, nil
		}
		return done(v), nil
	})
}

// glance looks while a person is at work, whose time it does not count.
func (c *course) glance(ctx context.Context) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return c.Page.Look(ctx, c.sels)
}

// press clicks in the same way.
func (c *course) press(ctx context.Context, id ElementID) error {
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := c.Page.Do(limited, id, Act{Click: true})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errSilent
	}
	return err
}

// led calls Run.Human and says what its answer means.
func (c *course) led(ctx context.Context, what, note string, look func(context.Context) (bool, error)) error {
	if c.called++; c.called > maxCalls {
		return c.fail(NeedHuman, errCalls)
	}
	need := Need{What: what, Step: c.step.Name, Note: note, Host: hostOf(c.view.URL)}
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, max(c.step.Timeout, personTime))
	err := c.Human(limited, need, look)
	cancel()
	c.event.Human += time.Since(start)
	c.wait, c.same = firstWait, 0
	if err == nil {
		return nil
	}
	var f *Failure
	switch {
	case ctx.Err() != nil:
		return c.fail(Stopped, ctx.Err())
	case errors.As(err, &f):
		return f
	case errors.Is(err, ErrGone):
		return c.fail(Browser, err)
	}
	kind := NeedHuman
	if what == needCaptcha {
		kind = BotCheck
	}
	f = c.fail(kind, err)
	f.Need = need
	return f
}

// maxCalls bounds how often one step calls a person.
const maxCalls = 5

// errCalls is why a person is not called once more.
var errCalls = errors.New("the page wants a person again and again")

// human has a person do what the step says.
func (c *course) human(ctx context.Context) error {
	// Nobody is called for what is there once the page has been drawn.
	for {
		if err := c.look(ctx); err != nil {
			return err
		}
		if !c.view.Loading && c.clear(c.view, c.step.Until) {
			return nil
		}
		// What may be refused without a thought is no business of a person's. To
		// close or decline anything else may be just what they are asked for.
		if !c.view.Loading && c.shows(c.view, c.step.Until) {
			if err := c.uncover(ctx, cookies); err != nil {
				return err
			}
		}
		if c.spent >= patient || c.same >= settled && !c.view.Loading {
			break
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
	return c.person(ctx, c.step.Need, c.step.Note, func(v View) bool { return c.clear(v, c.step.Until) })
}

// google clicks At while a person is there, since only then may the page go to
// Google, and waits until it is back.
func (c *course) google(ctx context.Context) error {
	// Whether At can be used is found out first: a person is not called in vain.
	if err := c.act(ctx, toClick, func([]Element) error { return nil }); err != nil {
		return err
	}
	start, clicked := c.view.URL, false
	back := func(v View) bool {
		if len(c.step.Until) > 0 {
			return c.clear(v, c.step.Until)
		}
		return !samePage(v.URL, start)
	}
	return c.led(ctx, "google-account", c.step.Note, func(ctx context.Context) (bool, error) {
		v, err := c.glance(ctx)
		switch {
		case errors.Is(err, ErrGone) || ctx.Err() != nil:
			return false, errors.Join(err, ctx.Err())
		case err != nil || v.Loading || !c.onHosts(v.URL):
			return false, nil
		case clicked:
			return back(v), nil
		}
		if found, kind := c.pick(v, c.step.At, toClick); kind == "" {
			switch err := c.press(ctx, found[0].ID); {
			case err == nil:
				clicked = true
			case !errors.Is(err, ErrStale):
				return false, c.failed(ctx, err)
			}
		}
		return false, nil
	})
}

// samePage reports whether two addresses differ in their queries at most.
func samePage(a, b string) bool {
	a, _, _ = strings.Cut(a, "?")
	b, _, _ = strings.Cut(b, "?")
	return a == b
}

// codeTime is what there is to type a code in, once it has come.
const codeTime = 30 * time.Second

// mail waits for the mail of this run, and does what it says. A link that the
// page calls wrong may be that of a mail that was late: another run's, cut after
// it had been asked for. Then the next mail is waited for.
func (c *course) mail(ctx context.Context) error {
	var refused error
	var before secret.Value
	defer func() { before.Clear() }()
	for range again {
		m, err := c.await(ctx, c.step.Timeout-c.event.Mail)
		switch {
		case err != nil && refused != nil && ctx.Err() == nil:
			return refused
		case err != nil:
			return err
		case refused != nil && m.Link.Equal(before):
			m.Clear()
			return refused
		}
		err = c.bring(ctx, m)
		before.Clear()
		before = m.Link
		m.Code.Clear()
		var f *Failure
		if before.IsZero() || !errors.As(err, &f) || f.Kind != Wrong {
			return err
		}
		refused, c.blind = err, true // the page is of that link, and stays it
	}
	return refused
}

// bring opens the link of a mail or types its code, whichever the step would
// rather.
func (c *course) bring(ctx context.Context, m Mail) error {
	c.spent, c.limit = 0, min(c.step.Timeout, codeTime)
	for _, how := range c.step.Accept {
		switch {
		case how == "link" && !m.Link.IsZero():
			link := string(m.Link.Expose())
			if !c.onHosts(link) {
				return c.fail(OffHost, errLink)
			}
			return c.open(ctx, link)
		case how == "code" && !m.Code.IsZero():
			return c.write(ctx, m.Code)
		}
	}
	return c.fail(NoMail, nil)
}

// errLink is why a link of a mail is not opened.
var errLink = errors.New("the link of the mail leads elsewhere")

// await waits for the mail. Run.Mail has its goroutine, and the page this one.
func (c *course) await(ctx context.Context, timeout time.Duration) (Mail, error) {
	type answer struct {
		mail Mail
		err  error
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	came, arrived := context.WithCancel(ctx)
	defer arrived()
	got := make(chan answer, 1)
	start, human := time.Now(), c.event.Human
	go func() {
		m, err := c.Mail(waiting, c.step.Accept, timeout)
		got <- answer{m, err}
		arrived()
	}()
	over := func() { c.event.Mail += time.Since(start) - (c.event.Human - human) }
	c.limit = math.MaxInt64 // the time is the mail's
	for {
		select {
		case a := <-got:
			over()
			switch {
			case a.err == nil:
				return a.mail, nil
			case ctx.Err() != nil:
				return Mail{}, c.fail(Stopped, ctx.Err())
			}
			return Mail{}, c.fail(NoMail, a.err)
		default:
		}
		err := c.look(ctx)
		if err == nil {
			if err = c.sleep(came, lastWait); err == nil || came.Err() != nil && ctx.Err() == nil {
				continue
			}
			err = c.fail(Stopped, err)
		}
		cancel()
		a := <-got
		a.mail.Clear()
		over()
		return Mail{}, err
	}
}

// uncover gets a banner or a late modal out of the way by the button that says
// no, or that closes it. Nothing that agrees, pays or deletes is in the list.
func (c *course) uncover(ctx context.Context, names []string) error {
	for _, name := range names {
		for _, e := range c.view.Elements {
			if !c.ours(e) || e.Disabled || e.Covered || e.Role != "button" && e.Role != "link" && e.Tag != "button" {
				continue
			}
			key := string(e.ID) + " " + fold(e.Name)
			if fold(e.Name) != name || c.dismissed[key] || len(c.dismissed) >= maxDismissed {
				continue
			}
			c.dismissed[key] = true
			err := c.touch(ctx, e.ID, Act{Click: true})
			if errors.Is(err, ErrStale) {
				delete(c.dismissed, key)
				return nil
			}
			return err
		}
	}
	return nil
}

// maxDismissed bounds how many banners one step gets out of its way.
const maxDismissed = 5

// cookies are the names of what refuses cookies and nothing else.
var cookies = []string{
	"reject all", "reject all cookies", "reject cookies", "decline all", "decline all cookies", "decline cookies", "refuse all", "deny all",
	"only necessary", "necessary only", "only necessary cookies", "necessary cookies only",
	"use necessary cookies only", "accept only necessary", "only essential", "essential only", "essential cookies only", "only essential cookies",
	"reject non-essential", "reject optional cookies", "continue without accepting",
}

// refusals are the names of what is clicked where something is in the way,
// refusing before closing.
var refusals = append(slices.Clone(cookies),
	"reject", "decline", "refuse", "deny",
	"no thanks", "no, thanks", "no thank you", "not now", "maybe later", "remind me later",
	"close", "close dialog", "close modal", "close popup", "close banner", "dismiss", "got it", "×", "✕", "✖", "x",
)
