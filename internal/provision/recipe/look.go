package recipe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
)

// Waits between two looks grow from firstWait to lastWait.
const (
	firstWait = 25 * time.Millisecond
	lastWait  = 250 * time.Millisecond
)

// fail makes the step's failure.
func (c *course) fail(k Kind, err error) *Failure {
	return &Failure{Stage: c.event.Stage, Step: c.step.Name, Kind: k, Host: hostOf(c.view.URL), Err: err}
}

// hostOf returns the host of an address, and nothing that cannot be one.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || len(u.Host) > 253 || strings.Trim(u.Host, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" {
		return ""
	}
	return u.Host
}

// failed is the failure that a Page's error stands for.
func (c *course) failed(ctx context.Context, err error) *Failure {
	switch {
	case ctx.Err() != nil:
		return c.fail(Stopped, ctx.Err())
	case errors.Is(err, ErrOffHost), errors.Is(err, ErrBlocked):
		return c.fail(OffHost, err)
	case errors.Is(err, ErrLoad):
		return c.fail(NoLoad, err)
	}
	return c.fail(Browser, err)
}

// pause waits for the next look.
func (c *course) pause(ctx context.Context) error {
	wait := c.wait
	c.wait = min(c.wait*3/2, lastWait)
	c.spent += wait
	c.same += wait
	if err := c.sleep(ctx, wait); err != nil {
		return c.fail(Stopped, err)
	}
	return nil
}

func (c *course) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A call of the page's methods takes no longer than is left of the step's time,
// but may have callTime where that is less: the last look comes after it. It
// takes no longer than callLimit where a step has all the time.
const (
	callTime  = 2 * time.Second
	callLimit = time.Minute
)

// errSilent is why a page that does not answer is as one that does not load.
var errSilent = fmt.Errorf("%w: no answer in the step's time", ErrLoad)

// timed calls one of the page's methods, which counts as the step's time, and
// which ends with it.
func (c *course) timed(ctx context.Context, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, min(max(c.limit-c.spent, callTime), callLimit))
	defer cancel()
	start := time.Now()
	err := call(limited)
	c.spent += time.Since(start)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errSilent
	}
	return err
}

// look gets a view and says what in it ends the step, or hands it to a person
// first.
func (c *course) look(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return c.fail(Stopped, err)
		}
		var v View
		err := c.timed(ctx, func(ctx context.Context) (err error) { v, err = c.Page.Look(ctx, c.sels); return err })
		if errors.Is(err, ErrStale) && c.spent < c.limit {
			if err := c.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return c.failed(ctx, err)
		}
		if !alike(c.view, v) {
			c.same = 0
		}
		c.view = v
		again, err := c.judge(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// alike reports whether two views show the same.
func alike(a, b View) bool {
	return a.URL == b.URL && a.Loading == b.Loading && a.Status == b.Status && a.Check == b.Check && slices.Equal(a.Frames, b.Frames) &&
		slices.EqualFunc(a.Elements, b.Elements, func(x, y Element) bool {
			same := slices.Equal(x.CSS, y.CSS)
			x.CSS, y.CSS, x.ID, y.ID = nil, nil, "", ""
			return same && x.URL == y.URL && x.Role == y.Role && x.Name == y.Name && x.Label == y.Label && x.Text == y.Text && x.Tag == y.Tag &&
				x.Disabled == y.Disabled && x.Covered == y.Covered && x.Checked == y.Checked && x.Empty == y.Empty
		})
}

// judge says what the view means for the run. again is true if a person has
// changed the page since.
func (c *course) judge(ctx context.Context) (again bool, err error) {
	u, err := url.Parse(c.view.URL)
	switch {
	case c.view.URL == "" || c.view.URL == "about:blank":
		c.view.Elements, c.view.Frames = nil, nil // of nobody's page
		return false, nil
	case err == nil && u.Scheme == "chrome-error":
		return false, c.fail(NoLoad, nil)
	case !c.onHosts(c.view.URL):
		return false, c.fail(OffHost, nil)
	case c.blind:
		return false, nil
	}
	if c.step.Pattern != catalog.StepHuman {
		if again, err = c.bots(ctx); again || err != nil {
			return again, err
		}
	}
	if again, err = c.signs(ctx); again || err != nil {
		return again, err
	}
	switch {
	case c.view.Status == 429:
		return false, c.fail(Limited, nil)
	case c.view.Status >= 500:
		return false, c.fail(NoLoad, errServer)
	}
	return false, nil
}

// nothing reports whether the page is the answer of a server that has none: it
// says so, stays as it is, and has nothing of the whole recipe. Some sites draw
// their pages by a script in an answer of 404.
func (c *course) nothing() bool {
	return c.view.Status >= 400 && !c.view.Loading && c.same >= patient && !c.shows(c.view, c.anything)
}

// errRefused is why such a page is not waited for.
var errRefused = errors.New("the server answers that there is no such page, or not for us")

// errServer is why a page that answers with an error is not one.
var errServer = errors.New("the server answers with an error")

// bots hands a bot check to a person.
func (c *course) bots(ctx context.Context) (again bool, err error) {
	if _, ok := c.checked(c.view); !ok {
		return false, nil
	}
	err = c.person(ctx, needCaptcha, "", func(v View) bool {
		if _, ok := c.checked(v); ok {
			return false
		}
		c.solve(v)
		return true
	})
	return true, err
}

// signs says what the recipe's signs mean, where one shows.
func (c *course) signs(ctx context.Context) (again bool, err error) {
	for _, sign := range c.Recipe.Signs {
		what, human := needs[sign.Means]
		may := c.ours
		if human {
			// A frame of somebody else's may at most have a person called.
			may = func(Element) bool { return true }
		}
		shows := func(v View) bool { return len(c.all(v.Elements, sign.At, may)) > 0 }
		switch {
		case !shows(c.view), human && c.step.Pattern == catalog.StepHuman:
			continue
		case human:
			return true, c.person(ctx, what, sign.Note, func(v View) bool { return !shows(v) })
		}
		kind, ok := kinds[sign.Means]
		if !ok {
			kind = Closed // a sign that is not understood is not passed by
		}
		return false, c.fail(kind, nil)
	}
	return false, nil
}

// What a sign leads to: a person is called, or the run ends.
var (
	needs = map[catalog.Meaning]string{
		catalog.MeansCaptcha: needCaptcha, catalog.MeansPhone: "phone", catalog.MeansCard: "card", catalog.MeansTerms: "terms",
	}
	kinds = map[catalog.Meaning]Kind{
		catalog.MeansExists: Exists, catalog.MeansNoAccount: NoAccount, catalog.MeansRateLimited: Limited,
		catalog.MeansClosed: Closed, catalog.MeansWrong: Wrong,
	}
)

const needCaptcha = "captcha"

// until looks until something is so, and fails with kind when the step's time
// is over.
func (c *course) until(ctx context.Context, kind Kind, so func() bool) error {
	for {
		if err := c.look(ctx); err != nil {
			return err
		}
		switch {
		case !c.view.Loading && so():
			return nil
		case c.nothing():
			return c.fail(NoLoad, errRefused)
		case !c.view.Loading:
			if err := c.unhide(ctx); err != nil {
				return err
			}
		}
		if c.spent >= c.limit {
			return c.late(kind)
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
}

// late is the failure of a step whose time is over.
func (c *course) late(kind Kind) *Failure {
	if c.view.Loading {
		kind = NoLoad
	}
	return c.fail(kind, nil)
}

// expected reports whether what the step expects is there.
func (c *course) expected() bool {
	if len(c.step.At) > 0 && !c.shows(c.view, c.step.At) {
		return false
	}
	return c.step.URL == nil || below(c.view.URL, c.step.URL)
}

// below reports whether an address is that of a page, or of one below it.
func below(address string, of *url.URL) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != of.Scheme || u.Host != of.Host {
		return false
	}
	base := strings.TrimSuffix(of.EscapedPath(), "/")
	path := u.EscapedPath()
	return path == base || strings.HasPrefix(path, base+"/")
}
