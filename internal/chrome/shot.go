package chrome

import (
	"context"
	"errors"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// errRestless is why there is no picture of a page that writes on and on.
var errRestless = errors.New("the page shows something new all the time")

// Shot returns a PNG of what the window shows. Fields, and words that look like
// a key or a code, are blanked before it is made; the page is put back after.
// Frames in which that cannot be done are left out, and so is what is in closed
// shadow roots. It is for a person who
// wonders why a step failed, and may show anything else that the page shows.
func (b *Browser) Shot(ctx context.Context) ([]byte, error) {
	t := b.tab
	if err := b.conn.settle(ctx); err != nil {
		return nil, err
	}
	t.owners(ctx)
	t.mu.Lock()
	frames := make(map[cdp.FrameID]frame, len(t.frames))
	for id, f := range t.frames {
		frames[id] = *f
	}
	top := cdp.FrameID(t.id)
	t.mu.Unlock()
	defer func() {
		for _, f := range frames {
			if f.world != "" {
				var done bool
				_ = t.ask(context.WithoutCancel(ctx), f, &done, "unmask")
			}
		}
	}()
	if _, err := t.mask(ctx, frames, top); err != nil {
		return nil, err
	}
	for range 5 {
		p, err := cdp.Call(ctx, t.main, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		if err != nil {
			return nil, err
		}
		// What the page wrote meanwhile may be in the picture.
		again, err := t.mask(ctx, frames, top)
		if err != nil {
			return nil, err
		}
		if again == 0 && t.same(frames) {
			return p.Data, nil
		}
	}
	return nil, errRestless
}

// mask blanks a frame and those in it, and returns how much it had to.
func (t *tab) mask(ctx context.Context, frames map[cdp.FrameID]frame, top cdp.FrameID) (int, error) {
	return t.blank(ctx, &closed{frames: frames, asked: map[target.SessionID]bool{}, hosts: map[cdp.FrameID][]*runtime.CallArgument{}}, top)
}

func (t *tab) blank(ctx context.Context, roots *closed, id cdp.FrameID) (int, error) {
	frames := roots.frames
	f := frames[id]
	if f.world == "" {
		return 0, recipe.ErrStale
	}
	hidden, err := roots.in(ctx, f)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, c := range f.children {
		n, err := t.blank(ctx, roots, c)
		switch o := frames[c]; {
		case err == nil:
			sum += n
		case o.owner == "" || o.ownerWorld != f.world:
			return 0, err
		default:
			hidden = append(hidden, &runtime.CallArgument{ObjectID: o.owner})
		}
	}
	var done struct{ Count int }
	if err := t.ask(ctx, f, &done, "mask", hidden...); err != nil {
		return 0, err
	}
	return sum + done.Count, nil
}

// same reports whether the frames are still those, with the same documents.
func (t *tab) same(frames map[cdp.FrameID]frame) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(frames) != len(t.frames) {
		return false
	}
	for id, f := range t.frames {
		if frames[id].world != f.world {
			return false
		}
	}
	return true
}
