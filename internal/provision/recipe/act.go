package recipe

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// opens is how often a page is asked for that answers with an error.
const opens = 4

// open leads the page to an address of the recipe's hosts. It may be secret.
func (c *course) open(ctx context.Context, address string) error {
	if !c.onHosts(address) {
		return c.fail(OffHost, nil)
	}
	c.blind = true
	for try, wait := 1, time.Second; ; try, wait = try+1, 3*wait {
		err := c.timed(ctx, func(ctx context.Context) error { return c.Page.Open(ctx, address) })
		if err != nil {
			err = c.failed(ctx, err)
		} else {
			c.blind = false
			err = c.look(ctx)
		}
		var f *Failure
		if err == nil || !errors.As(err, &f) || f.Kind != NoLoad || try == opens || c.step.Makes != "" || c.spent+wait >= c.limit {
			return err
		}
		c.spent += wait
		if err := c.sleep(ctx, wait); err != nil {
			return c.fail(Stopped, err)
		}
	}
}

// act does something to the element that At means, once it can be used. make
// says what, or that nothing needs to be done.
func (c *course) act(ctx context.Context, p purpose, do func([]Element) error) error {
	for {
		if err := c.look(ctx); err != nil {
			return err
		}
		kind := Missing
		if !c.view.Loading {
			var found []Element
			found, kind = c.pick(c.view, c.step.At, p)
			switch kind {
			case "":
				err := do(found)
				if !errors.Is(err, ErrStale) {
					return err
				}
				kind = Missing
			case Ambiguous:
				if c.same >= settled {
					return c.fail(Ambiguous, nil)
				}
			case Unusable:
				if slices.ContainsFunc(found, func(e Element) bool { return e.Covered }) {
					if err := c.uncover(ctx, refusals); err != nil {
						return err
					}
				}
			case Missing:
				if c.nothing() {
					return c.fail(NoLoad, errRefused)
				}
				if err := c.unhide(ctx); err != nil {
					return err
				}
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

// unhide gets a modal out of the way where something is missing: one in the
// browser's top layer takes all else out of the page. One that belongs to the
// page may still be filling, and one that may show a key is not closed.
func (c *course) unhide(ctx context.Context) error {
	if c.keyed || c.same < 2*settled || !c.shows(c.view, dialogs) {
		return nil
	}
	return c.uncover(ctx, refusals)
}

// dialogs is what a modal is.
var dialogs = []catalog.Locator{{Role: "dialog"}, {Role: "alertdialog"}}

// touch has the page act. ErrStale stays what it is; anything else becomes a
// failure. Beside a bot check nothing is done, in a step that is a person's
// neither.
func (c *course) touch(ctx context.Context, id ElementID, a Act) error {
	if _, bot := c.checked(c.view); bot {
		return ErrStale
	}
	err := c.timed(ctx, func(ctx context.Context) error { return c.Page.Do(ctx, id, a) })
	if err == nil {
		c.wait, c.same = firstWait, 0
		return nil
	}
	if errors.Is(err, ErrStale) && ctx.Err() == nil {
		return ErrStale
	}
	return c.failed(ctx, err)
}

func (c *course) click(ctx context.Context) error {
	return c.act(ctx, toClick, func(found []Element) error { return c.touch(ctx, found[0].ID, Act{Click: true}) })
}

// again bounds how often something is typed or ticked that a page forgets, as
// one does whose scripts come late.
const again = 3

func (c *course) choose(ctx context.Context) error {
	if c.step.Option != "" {
		return c.act(ctx, toChoose, func(found []Element) error { return c.touch(ctx, found[0].ID, Act{Choose: c.step.Option}) })
	}
	for range again {
		ticked := true
		err := c.act(ctx, toChoose, func(found []Element) error {
			if found[0].Checked {
				return nil
			}
			ticked = !isTicked(found[0]) // nothing says whether it is
			return c.touch(ctx, found[0].ID, Act{Tick: true})
		})
		if err != nil || ticked {
			return err
		}
		err = c.lasting(ctx, toChoose, func(e Element) bool { return e.Checked })
		if err == nil || !errors.Is(err, errForgotten) {
			return err
		}
	}
	return c.fail(Unusable, errForgotten)
}

// errForgotten is why something was done in vain.
var errForgotten = errors.New("the page does not keep what was entered")

// lasting waits until what was done to At shows, or At is gone; errForgotten if
// the page settles without.
func (c *course) lasting(ctx context.Context, p purpose, shows func(Element) bool) error {
	c.same = 0
	for {
		if err := c.look(ctx); err != nil {
			return err
		}
		found, _ := c.pick(c.view, c.step.At, p)
		if !slices.ContainsFunc(found, func(e Element) bool { return !shows(e) }) {
			return nil
		}
		if !c.view.Loading && c.same >= settled || c.spent >= c.limit {
			return errForgotten
		}
		if err := c.pause(ctx); err != nil {
			return err
		}
	}
}

// value is what the step fills in.
func (c *course) value(ctx context.Context) (secret.Value, error) {
	if c.step.Value == catalog.ValueText {
		return secret.FromString(c.step.Text), nil
	}
	v, err := c.Value(ctx, c.step.Value)
	if err != nil {
		return secret.Value{}, c.fail(Stopped, err)
	}
	return v, nil
}

func (c *course) fill(ctx context.Context) error {
	v, err := c.value(ctx)
	if err != nil {
		return err
	}
	defer v.Clear()
	for range again {
		if err := c.write(ctx, v); err != nil {
			return err
		}
		err := c.lasting(ctx, toFill, func(e Element) bool { return !e.Empty })
		if err == nil || !errors.Is(err, errForgotten) {
			return err
		}
	}
	return c.fail(Unusable, errForgotten)
}

// errFields is why a code cannot be typed.
var errFields = errors.New("the code does not fit the fields")

// write types v into At; into one field each if they take one character.
func (c *course) write(ctx context.Context, v secret.Value) error {
	return c.act(ctx, toFill, func(found []Element) error {
		first := found[0]
		if first.MaxLength != 1 || v.Len() == 1 {
			return c.touch(ctx, first.ID, Act{Type: v})
		}
		fields := row(c.view, first) // some open only when the one before is filled
		if len(fields) != v.Len() {
			return c.fail(Unusable, errFields)
		}
		for i, f := range fields {
			char := secret.New([]byte{v.Expose()[i]})
			err := c.touch(ctx, f.ID, Act{Type: char})
			char.Clear()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// extract reads the key.
func (c *course) extract(ctx context.Context) (secret.Value, error) {
	for {
		if err := c.look(ctx); err != nil {
			return secret.Value{}, err
		}
		kind := Missing
		if !c.view.Loading {
			if found := c.all(c.view.Elements, c.step.At, c.ours); len(found) > 0 {
				key, k, err := c.read(ctx, found)
				switch {
				case err != nil:
					return secret.Value{}, err
				case k == "":
					return key, nil
				case k == Ambiguous && c.same >= settled:
					return secret.Value{}, c.fail(k, nil)
				}
				kind = k
			} else if c.nothing() {
				return secret.Value{}, c.fail(NoLoad, errRefused)
			}
		}
		if c.spent >= c.limit {
			return secret.Value{}, c.late(kind)
		}
		if err := c.pause(ctx); err != nil {
			return secret.Value{}, err
		}
	}
}

// maxRead bounds how many elements are read that fit where a key should be.
const maxRead = 16

// read returns the one key that elements hold: NoKey if none of them looks like
// one, Ambiguous if several do.
func (c *course) read(ctx context.Context, list []Element) (secret.Value, Kind, error) {
	var key secret.Value
	if len(list) > maxRead {
		return key, Ambiguous, nil
	}
	for _, e := range list {
		var v secret.Value
		err := c.timed(ctx, func(ctx context.Context) (err error) { v, err = c.Page.Read(ctx, e.ID); return err })
		switch {
		case errors.Is(err, ErrStale) && ctx.Err() == nil:
			key.Clear()
			return secret.Value{}, NoKey, nil
		case err != nil:
			key.Clear()
			return secret.Value{}, "", c.failed(ctx, err)
		}
		v = trimmed(v)
		switch {
		case v.IsZero() || masked(v) || c.CheckKey(v.Expose()) != nil || v.Equal(key):
			v.Clear()
		case !key.IsZero():
			key.Clear()
			v.Clear()
			return secret.Value{}, Ambiguous, nil
		default:
			key = v
		}
	}
	if key.IsZero() {
		return key, NoKey, nil
	}
	return key, "", nil
}

// trimmed takes the white space around a value away, and clears it.
func trimmed(v secret.Value) secret.Value {
	defer v.Clear()
	b := v.Expose()
	start, end := 0, len(b)
	for start < end && strings.IndexByte(" \t\r\n", b[start]) >= 0 {
		start++
	}
	for end > start && strings.IndexByte(" \t\r\n", b[end-1]) >= 0 {
		end--
	}
	return secret.New(slices.Clone(b[start:end]))
}

// masked reports whether a value shows only a part of a key.
func masked(v secret.Value) bool {
	for _, mark := range []string{"...", "…", "•", "●", "∙", "·", "***", "xxxx", "XXXX"} {
		if strings.Contains(string(v.Expose()), mark) {
			return true
		}
	}
	return false
}
