package chrome

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"

	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

// Do implements recipe.Page.
func (t *tab) Do(ctx context.Context, id recipe.ElementID, act recipe.Act) error {
	if err := t.state(ctx); err != nil {
		return err
	}
	f, n, err := t.locate(id)
	if err != nil {
		return err
	}
	switch {
	case act.Click:
		return t.click(ctx, f, n)
	case act.Tick:
		var on struct{ On bool }
		if err := t.ask(ctx, f, &on, "checked", value(n)); err != nil || on.On {
			return err
		}
		return t.click(ctx, f, n)
	case act.Choose != "":
		var chosen bool
		return t.ask(ctx, f, &chosen, "choose", value(n), value(act.Choose))
	case !act.Type.IsZero():
		return t.enter(ctx, f, n, act.Type)
	}
	return errors.New("nothing to do")
}

// locate returns the frame that an element of a View is in.
func (t *tab) locate(id recipe.ElementID) (frame, int, error) {
	name, number, ok := strings.Cut(string(id), "#")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || name == "" {
		return frame{}, 0, recipe.ErrStale
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.frames {
		if f.world != name {
			continue
		}
		all := make(map[cdp.FrameID]frame, len(t.frames))
		for id, f := range t.frames {
			all[id] = *f
		}
		// Nothing is done in a document that may not be visited, whichever way
		// it came there.
		if !t.b.listed(host(address(all, *f))) {
			return frame{}, 0, recipe.ErrOffHost
		}
		return *f, n, nil
	}
	return frame{}, 0, recipe.ErrStale
}

// ask runs a function of the script that answers null for what is not there.
func (t *tab) ask(ctx context.Context, f frame, out any, name string, args ...*runtime.CallArgument) error {
	raw, err := t.run(ctx, f, name, false, args...)
	if err != nil {
		return err
	}
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return recipe.ErrStale
	}
	if json.Unmarshal(raw, out) != nil {
		return fmt.Errorf("the script's answer is malformed (%s)", name)
	}
	return nil
}

type point struct{ X, Y float64 }

// click clicks an element's middle, if it is the element that is there.
func (t *tab) click(ctx context.Context, f frame, n int) error {
	for range maxPresses {
		p, err := t.aim(ctx, f, n)
		if err != nil {
			return err
		}
		if f.s.id == t.main.id {
			return t.press(ctx, p)
		}
		var on struct{ On bool }
		var armed bool
		if err := t.ask(ctx, f, &armed, "arm"); err != nil {
			return err
		}
		if err := t.press(ctx, p); err != nil {
			return err
		}
		if err := t.ask(ctx, f, &on, "arrived"); err != nil || on.On {
			if errors.Is(err, recipe.ErrStale) {
				return nil // the click led the frame away
			}
			return err
		}
		if err := wait(ctx); err != nil {
			return err
		}
	}
	return recipe.ErrStale
}

// maxPresses is how often a frame that is not drawn yet is clicked.
const maxPresses = 50

// aim brings an element into sight and returns its middle in the window.
func (t *tab) aim(ctx context.Context, f frame, n int) (point, error) {
	var p point
	if err := t.ask(ctx, f, &p, "aim", value(n)); err != nil {
		return p, err
	}
	for f.parent != "" {
		t.mu.Lock()
		parent := t.frames[f.parent]
		if parent == nil || f.owner == "" || f.ownerWorld != parent.world {
			t.mu.Unlock()
			return p, recipe.ErrStale
		}
		up := *parent
		t.mu.Unlock()
		if err := t.ask(ctx, up, &p, "through", &runtime.CallArgument{ObjectID: f.owner}, value(p.X), value(p.Y)); err != nil {
			return p, err
		}
		f = up
	}
	return p, nil
}

// press clicks a point of the window.
func (t *tab) press(ctx context.Context, p point) error {
	mouse := input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: p.X, Y: p.Y}
	down := mouse
	down.Type, down.Button, down.Buttons, down.ClickCount = input.DispatchMouseEventTypeMousePressed, input.MouseButtonLeft, 1, 1
	up := down
	up.Type, up.Buttons = input.DispatchMouseEventTypeMouseReleased, 0
	t.main.tell(input.DispatchMouseEvent.Method, mouse)
	t.main.tell(input.DispatchMouseEvent.Method, down)
	return t.finish(ctx, t.main, input.DispatchMouseEvent.Method, up)
}

// finish sends the last of some input and waits until the page has had it. A
// page that goes away at that is none the worse.
func (t *tab) finish(ctx context.Context, s session, method string, params any) error {
	err := s.Call(ctx, method, params, nil)
	var r *refusal
	if errors.As(err, &r) {
		return nil
	}
	return err
}

// enter puts text in place of what a field holds. The script writes it: keys go
// to whatever has the focus by then, which may be a frame of somebody else's.
func (t *tab) enter(ctx context.Context, f frame, n int, text secret.Value) error {
	for b := text.Expose(); len(b) > 0; {
		r, size := utf8.DecodeRune(b)
		if b = b[size:]; r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return errors.New("a field takes no control characters")
		}
	}
	if err := t.click(ctx, f, n); err != nil {
		return err
	}
	var on struct{ On bool }
	if err := t.ask(ctx, f, &on, "grab", value(n)); err != nil {
		return err
	}
	arg := value(string(text.Expose()))
	raw, err := t.run(ctx, f, "type", false, value(n), arg)
	clear(arg.Value)
	switch {
	case errors.Is(err, recipe.ErrStale):
		return nil // what was typed led the frame away
	case err != nil:
		return err
	case !bytes.Equal(raw, []byte("true")):
		return recipe.ErrStale
	}
	// Some pages go by keys. This one types nothing, wherever it goes.
	key := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeRawKeyDown, Key: "Shift", Code: "ShiftLeft", WindowsVirtualKeyCode: 16}
	f.s.tell(input.DispatchKeyEvent.Method, key)
	key.Type = input.DispatchKeyEventTypeKeyUp
	return t.finish(ctx, f.s, input.DispatchKeyEvent.Method, key)
}

// Read implements recipe.Page.
func (t *tab) Read(ctx context.Context, id recipe.ElementID) (secret.Value, error) {
	if err := t.state(ctx); err != nil {
		return secret.Value{}, err
	}
	f, n, err := t.locate(id)
	if err != nil {
		return secret.Value{}, err
	}
	raw, err := t.run(ctx, f, "read", false, value(n))
	if err != nil {
		return secret.Value{}, err
	}
	defer clear(raw)
	quoted, ok := bytes.CutPrefix(raw, []byte{'"'})
	quoted, ok2 := bytes.CutSuffix(quoted, []byte{'"'})
	if !ok || !ok2 {
		return secret.Value{}, recipe.ErrStale
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(quoted)))
	size, err := base64.StdEncoding.Decode(out, quoted)
	if err != nil {
		clear(out)
		return secret.Value{}, errors.New("the script's answer is malformed (read)")
	}
	return secret.New(out[:size:size]), nil
}
