package recipe

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// ErrHuman is what Run.Human wraps where no person is there.
var ErrHuman = errors.New("nobody is there to do it")

// shotTime bounds the picture that is taken of a failure.
const shotTime = 10 * time.Second

// Stage does the steps of a stage, one after the other. What it returns is the
// key if one of them extracts it, and any error is a *Failure.
func (r *Run) Stage(ctx context.Context, s Stage) (secret.Value, error) {
	steps := map[Stage][]catalog.Step{StageRegister: r.Recipe.Register, StageLogin: r.Recipe.Login, StageKey: r.Recipe.Key}[s]
	var key secret.Value
	kept, solved := false, map[string]bool{}
	for i := range steps {
		// What the first of some steps that clean did not find by its name, those
		// behind it would take for something else: another key, perhaps.
		behind := steps[i].Cleans && i > 0 && steps[i-1].Cleans
		if behind && kept {
			continue
		}
		step, unnamed := r.named(ctx, steps[i])
		c := newCourse(r, &step, Event{Stage: s, Index: i, Total: len(steps)})
		c.solved = solved
		c.keyed = slices.ContainsFunc(steps[:i], func(s catalog.Step) bool { return s.Makes == "key" })
		if unnamed != nil {
			return secret.Value{}, c.fail(Stopped, unnamed)
		}
		found, err := c.run(ctx)
		if err != nil {
			found.Clear()
			key.Clear()
			if r.Shot != nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shotTime)
				r.Shot(ctx, c.ended(err))
				cancel()
			}
			return secret.Value{}, err
		}
		if !behind {
			kept = c.passed
		}
		if !found.IsZero() {
			key.Clear()
			key = found
		}
	}
	if s == StageKey && key.IsZero() {
		var last catalog.Step
		if len(steps) > 0 {
			last = steps[len(steps)-1]
		}
		return key, &Failure{Stage: s, Step: last.Name, Kind: NoKey}
	}
	return key, nil
}

// course is one step under way.
type course struct {
	*Run
	finder
	step  *catalog.Step
	event Event
	sels  []string
	view  View
	// anything is what any step of the recipe acts on or waits for.
	anything []catalog.Locator
	// spent is how much of the step's time is gone: waiting between looks, and
	// in the page's methods; not with mail or a person.
	spent, limit time.Duration
	wait         time.Duration // before the next look
	same         time.Duration // for how long the view has been what it is
	blind        bool          // the page is not the step's yet: it has not been opened
	began        time.Time
	called       int  // how often a person was called
	passed       bool // over: its turn did not come
	keyed        bool // a step before may have made a key, which is shown now
	dismissed    map[string]bool
}

func newCourse(r *Run, step *catalog.Step, e Event) *course {
	e.Step, e.Pattern, e.Makes = step.Name, step.Pattern, step.Makes
	c := &course{
		Run: r, step: step, event: e, limit: step.Timeout, wait: firstWait,
		finder: finder{hosts: r.Recipe.Hosts, css: map[string]int{}, folded: map[string]string{}}, dismissed: map[string]bool{}, began: time.Now(),
	}
	for _, stage := range [][]catalog.Step{r.Recipe.Register, r.Recipe.Login, r.Recipe.Key} {
		for _, s := range stage {
			c.anything = slices.Concat(c.anything, s.At, s.Until)
		}
	}
	lists := [][]catalog.Locator{step.At, step.Until, step.If, step.Unless, c.anything}
	for _, sign := range r.Recipe.Signs {
		lists = append(lists, sign.At)
	}
	for _, list := range lists {
		for _, l := range list {
			c.match(l.CSS)
		}
	}
	for _, css := range botCSS() {
		c.match(css)
	}
	return c
}

// match has the page tell which elements match a selector.
func (c *course) match(css string) {
	if _, ok := c.css[css]; !ok && css != "" {
		c.css[css] = len(c.sels)
		c.sels = append(c.sels, css)
	}
}

// run does the step, unless its turn does not come.
func (c *course) run(ctx context.Context) (secret.Value, error) {
	due, err := c.due(ctx)
	if c.passed = !due; err != nil || !due {
		return secret.Value{}, err
	}
	c.spent, c.wait, c.blind = 0, firstWait, c.step.Pattern == catalog.StepOpen
	if err := c.Begin(ctx, c.event); err != nil {
		return secret.Value{}, c.fail(Stopped, err)
	}
	key, err := c.do(ctx)
	// What has been done is recorded even if the context has ended by now.
	if said := c.End(context.WithoutCancel(ctx), c.ended(err)); said != nil && err == nil {
		err = c.fail(Stopped, said)
	}
	return key, err
}

// ended is the step's event when it is over.
func (c *course) ended(err error) Event {
	e := c.event
	e.Took, e.Err = time.Since(c.began), err
	return e
}

func (c *course) do(ctx context.Context) (secret.Value, error) {
	switch c.step.Pattern {
	case catalog.StepOpen:
		if c.step.URL == nil {
			return secret.Value{}, c.fail(NoLoad, nil)
		}
		return secret.Value{}, c.open(ctx, c.step.URL.String())
	case catalog.StepFill:
		return secret.Value{}, c.fill(ctx)
	case catalog.StepClick:
		return secret.Value{}, c.click(ctx)
	case catalog.StepChoose:
		return secret.Value{}, c.choose(ctx)
	case catalog.StepExpect:
		return secret.Value{}, c.until(ctx, Missing, c.expected)
	case catalog.StepMail:
		return secret.Value{}, c.mail(ctx)
	case catalog.StepGoogle:
		return secret.Value{}, c.google(ctx)
	case catalog.StepHuman:
		return secret.Value{}, c.human(ctx)
	case catalog.StepExtract:
		return c.extract(ctx)
	}
	return secret.Value{}, c.fail(Stopped, errors.New("the step has no pattern that is known"))
}

// How long it takes to say that something does not show: a page that stays as
// it is, or any page.
const (
	settled = 1500 * time.Millisecond
	patient = 5 * time.Second
)

// due reports whether the step is to be done, which may take some looks: what
// it depends on may be on its way.
func (c *course) due(ctx context.Context) (bool, error) {
	s := c.step
	if s.Cleans && !c.Made {
		return false, nil
	}
	optional := s.Optional && len(s.At) > 0
	if len(s.If) == 0 && len(s.Unless) == 0 && !optional {
		return true, nil
	}
	c.blind = s.Pattern == catalog.StepOpen
	for {
		if err := c.look(ctx); err != nil {
			return false, err
		}
		quiet := c.spent >= patient || c.same >= settled && !c.view.Loading
		if !c.view.Loading || quiet {
			at := len(s.At) > 0 && c.shows(c.view, s.At)
			holds := len(s.If) == 0 || c.shows(c.view, s.If)
			switch {
			case c.shows(c.view, s.Unless):
				return false, nil
			case holds && at, holds && len(s.Unless) == 0 && !optional:
				return true, nil
			case quiet:
				return holds && !optional, nil
			}
		}
		if err := c.pause(ctx); err != nil {
			return false, err
		}
	}
}
