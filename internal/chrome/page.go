package chrome

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	jsonv2 "github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// Open implements recipe.Page.
func (t *tab) Open(ctx context.Context, url string) error {
	if err := t.b.allowed(url); err != nil {
		return err
	}
	// What the last page wanted is over.
	if err := t.state(ctx); errors.Is(err, recipe.ErrGone) || ctx.Err() != nil {
		return err
	}
	if err := t.leave(ctx); err != nil {
		return err
	}
	r, err := cdp.Call(ctx, t.main, page.Navigate, page.NavigateParams{URL: url})
	if err != nil {
		return t.failed(ctx, err)
	}
	if err := t.state(ctx); err != nil {
		return err
	}
	switch {
	case r.IsDownload:
		return recipe.ErrBlocked
	case r.ErrorText != "":
		return fmt.Errorf("%w: %s", recipe.ErrLoad, netError(r.ErrorText))
	}
	for {
		f := t.top()
		if f.world != "" {
			_, err := t.run(ctx, f, "ready", true)
			if err == nil {
				return t.state(ctx)
			}
			if !errors.Is(err, recipe.ErrStale) {
				return t.failed(ctx, err)
			}
		}
		// The document goes on to another one.
		if err := t.state(ctx); err != nil {
			return err
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// leave puts an empty document in the place of the one that is there. A script
// of that one might lead the tab elsewhere while the next is on its way, which
// ends the way of that: an address that counts once, such as a mail's link, is
// used up then for nothing.
func (t *tab) leave(ctx context.Context) error {
	for try := 1; ; try++ {
		r, err := cdp.Call(ctx, t.main, page.Navigate, page.NavigateParams{URL: "about:blank"})
		switch {
		case err != nil:
			return t.failed(ctx, err)
		case r.ErrorText == "":
			if left, err := t.left(ctx); left || err != nil {
				return err
			}
		}
		if try == leaves {
			return fmt.Errorf("%w: %s", recipe.ErrLoad, netError(r.ErrorText))
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// left waits until the empty document is there. The old one may have asked
// whether to go, by a dialog: what is asked for before that is answered is lost,
// and with it the answer to who asked.
func (t *tab) left(ctx context.Context) (bool, error) {
	for end := time.Now().Add(leaveTime); time.Now().Before(end); {
		if f := t.top(); f.url == "about:blank" && f.world != "" {
			return true, nil
		}
		if err := t.state(ctx); errors.Is(err, recipe.ErrGone) || ctx.Err() != nil {
			return false, err
		}
		if err := wait(ctx); err != nil {
			return false, err
		}
	}
	return false, nil
}

// leaveTime is how long a document may take to go.
const leaveTime = 3 * time.Second

// leaves is how often a document is left that goes elsewhere at that moment.
const leaves = 5

// failed says why a call failed: the guard or the end of the browser, rather
// than what followed from them.
func (t *tab) failed(ctx context.Context, err error) error {
	if s := t.state(ctx); s != nil {
		return s
	}
	var r *refusal
	if errors.As(err, &r) {
		return fmt.Errorf("%w: %w", recipe.ErrLoad, err)
	}
	return err
}

// netError is the part of Chromium's text that is one of its constants.
func netError(text string) string {
	name, ok := strings.CutPrefix(text, "net::ERR_")
	if !ok || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") != "" {
		return "no answer"
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", " "))
}

// top returns a copy of the top frame.
func (t *tab) top() frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.frames[cdp.FrameID(t.id)]; f != nil {
		return *f
	}
	return frame{s: t.main}
}

// run calls a function of the script in a frame and returns its value, which
// is null where the script found nothing. A document that is gone is ErrStale.
func (t *tab) run(ctx context.Context, f frame, name string, await bool, args ...*runtime.CallArgument) (jsonv2.Value, error) {
	p := runtime.CallFunctionOnParams{
		FunctionDeclaration: "(...a) => globalThis.agentkeys." + name + "(...a)",
		Arguments:           args, Silent: new(true), ReturnByValue: new(true), UniqueContextID: f.world,
	}
	if await {
		p.AwaitPromise = new(true)
	}
	r, err := patient(ctx, t, func(ctx context.Context) (runtime.CallFunctionOnResult, error) {
		return cdp.Call(ctx, f.s, runtime.CallFunctionOn, p)
	})
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return nil, recipe.ErrStale
	case err != nil:
		return nil, err
	case r.ExceptionDetails != nil || r.Result == nil:
		return nil, fmt.Errorf("the script failed in a page (%s)", name)
	}
	return r.Result.Value, nil
}

// errBusy: the browser puts off all questions to a page that is about to go.
var errBusy = fmt.Errorf("%w: the page is about to go", recipe.ErrStale)

// busyTime is how long a page that is about to go is waited for.
const busyTime = time.Second

// patient calls f, which asks a page, but waits no longer than busyTime where
// the page is about to go: its successor may be long in coming.
func patient[R any](ctx context.Context, t *tab, f func(context.Context) (R, error)) (R, error) {
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(busyTime, func() {
		for within.Err() == nil {
			if t.busy() {
				cancel(errBusy)
			}
			_ = wait(within)
		}
	})
	defer timer.Stop()
	r, err := f(within)
	if err != nil && context.Cause(within) == errBusy && ctx.Err() == nil {
		return r, errBusy
	}
	return r, err
}

// busy reports whether another document is on its way.
func (t *tab) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loading
}

// value makes an argument; an empty array, object or text would not arrive.
func value(v any) *runtime.CallArgument {
	b, err := json.Marshal(v)
	if err != nil {
		return &runtime.CallArgument{}
	}
	return &runtime.CallArgument{Value: b}
}
