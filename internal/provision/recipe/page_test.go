package recipe

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// thing is an element of a scripted page.
type thing struct {
	Element
	css   []string // selectors that match it
	value string   // of a field, or what Read gives
	hid   bool     // not in views
	stale int      // how often it answers ErrStale first
	done  func(p *script)
	typed func(p *script)
}

// doc is a document of a scripted site.
type doc struct {
	status  int
	check   string
	loading int // views until it is there
	frames  []string
	things  []*thing
	seen    func(p *script, views int) // before each view
	views   int
}

// script is a Page of documents by URL: the device of these tests, in which
// time is the number of looks.
type script struct {
	t      *testing.T
	docs   map[string]func() *doc
	url    string
	doc    *doc
	opened []string
	acts   []string // what was done, values left out
	fault  map[string]error
	mute   string // the method that never answers: open, look, do or read
	gen    int
}

// answers waits for the end of ctx where the page does not answer.
func (p *script) answers(ctx context.Context, method string) error {
	if p.mute != method {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (p *script) goTo(address string) {
	address, _, _ = strings.Cut(address, "#")
	p.url, p.doc = address, &doc{}
	page, _, _ := strings.Cut(address, "?")
	if make := p.docs[page]; make != nil {
		p.doc = make()
	}
}

func (p *script) Open(ctx context.Context, address string) error {
	if err := p.answers(ctx, "open"); err != nil {
		return err
	}
	p.opened = append(p.opened, address)
	if u, err := url.Parse(address); err != nil || u.Host == "evil.example" {
		p.t.Errorf("the engine opened %q", address)
	}
	if err := p.fault["open"]; err != nil {
		return err
	}
	p.goTo(address)
	return nil
}

func (p *script) Look(ctx context.Context, css []string) (View, error) {
	if err := p.answers(ctx, "look"); err != nil {
		return View{}, err
	}
	if err := p.fault["look"]; err != nil {
		return View{}, err
	}
	if p.doc == nil {
		return View{URL: "about:blank"}, nil
	}
	d := p.doc
	d.views++
	if d.seen != nil {
		d.seen(p, d.views)
		if d != p.doc {
			return p.Look(ctx, css)
		}
	}
	p.gen++
	v := View{URL: p.url, Status: d.status, Check: d.check, Frames: d.frames, Loading: d.views <= d.loading}
	for i, e := range d.things {
		if e.hid {
			continue
		}
		out := e.Element
		out.ID = ElementID(fmt.Sprintf("%d:%s", i, e.Name+e.Label))
		out.CSS = nil
		for n, sel := range css {
			if slices.Contains(e.css, sel) {
				out.CSS = append(out.CSS, n)
			}
		}
		out.Empty = isField(out) && e.value == ""
		v.Elements = append(v.Elements, out)
	}
	return v, nil
}

func (p *script) find(id ElementID) *thing {
	for i, e := range p.doc.things {
		if id == ElementID(fmt.Sprintf("%d:%s", i, e.Name+e.Label)) && !e.hid {
			return e
		}
	}
	return nil
}

func (p *script) Do(ctx context.Context, id ElementID, act Act) error {
	if err := p.answers(ctx, "do"); err != nil {
		return err
	}
	e := p.find(id)
	if e == nil {
		return ErrStale
	}
	if e.Disabled || e.Covered {
		p.t.Errorf("the engine acted on %s, which cannot be used", id)
	}
	if e.URL != "" && hostOf(e.URL) != "svc.example" {
		p.t.Errorf("the engine acted in a frame of %s", e.URL)
	}
	if e.stale > 0 {
		e.stale--
		return ErrStale
	}
	name := e.Name + e.Label
	switch {
	case act.Click:
		p.acts = append(p.acts, "click "+name)
	case act.Tick:
		p.acts = append(p.acts, "tick "+name)
		e.Checked = true
	case act.Choose != "":
		p.acts = append(p.acts, "choose "+act.Choose+" in "+name)
	default:
		p.acts = append(p.acts, "type into "+name)
		e.value = string(act.Type.Expose())
		if e.typed != nil {
			e.typed(p)
		}
		return nil
	}
	if e.done != nil {
		e.done(p)
	}
	return nil
}

func (p *script) Read(ctx context.Context, id ElementID) (secret.Value, error) {
	if err := p.answers(ctx, "read"); err != nil {
		return secret.Value{}, err
	}
	e := p.find(id)
	if e == nil {
		return secret.Value{}, ErrStale
	}
	return secret.FromString(e.value), nil
}

// Elements of scripted pages.
func button(name string, done func(*script)) *thing {
	return &thing{Element: Element{Role: "button", Tag: "button", Name: name, Text: name}, done: done}
}

func field(label string) *thing {
	return &thing{Element: Element{Role: "textbox", Tag: "input", Type: "text", Label: label}}
}

func text(s string) *thing { return &thing{Element: Element{Tag: "p", Text: s}} }

// pageOf is a document that is made anew each time it is opened.
func pageOf(things ...func() *thing) func() *doc {
	return func() *doc {
		d := &doc{}
		for _, make := range things {
			d.things = append(d.things, make())
		}
		return d
	}
}

// goTo is a link or button that leads to another page.
func to(path string) func(*script) {
	return func(p *script) { p.goTo("https://svc.example" + path) }
}

const (
	site     = "https://svc.example"
	password = "Pw-canary-2b7e151628aed2a6"
	address  = "or.canary@agents.example"
	code     = "739154"
	keyValue = "sk-canary-0123456789abcdef0123456789abcdef"
)

func loc(l ...catalog.Locator) []catalog.Locator { return l }

// must parse; for tests' own addresses.
func must(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u
}

// rig is a run on a scripted page.
type rig struct {
	*Run
	page    *script
	log     []string // of Begin and End
	events  []Event
	shots   int
	needs   []Need
	waited  time.Duration
	persons func(p *script) // what a person does between two looks; nil: nobody is there
}

func newRig(t *testing.T, docs map[string]func() *doc, steps ...catalog.Step) *rig {
	g := &rig{page: &script{t: t, docs: docs, fault: map[string]error{}}}
	for i := range steps {
		if steps[i].Timeout == 0 {
			steps[i].Timeout = 30 * time.Second
		}
		if steps[i].Name == "" {
			steps[i].Name = fmt.Sprintf("step-%d", i)
		}
	}
	g.Run = &Run{
		Recipe: &catalog.Recipe{Hosts: []string{"svc.example", "auth.svc.example"}, Register: steps, Login: steps, Key: steps},
		Page:   g.page,
		Value: func(_ context.Context, v catalog.Value) (secret.Value, error) {
			return secret.FromString(map[catalog.Value]string{catalog.ValueAddress: address, catalog.ValuePassword: password, catalog.ValueKeyName: "agentkeys-1"}[v]), nil
		},
		Mail: func(context.Context, []string, time.Duration) (Mail, error) {
			return Mail{}, fmt.Errorf("there is none")
		},
		Human: func(ctx context.Context, need Need, look func(context.Context) (bool, error)) error {
			g.needs = append(g.needs, need)
			if g.persons == nil {
				return fmt.Errorf("here: %w", ErrHuman)
			}
			for range 100 {
				if done, err := look(ctx); done || err != nil {
					return err
				}
				g.persons(g.page)
			}
			return context.DeadlineExceeded
		},
		CheckKey: func(b []byte) error {
			if !strings.HasPrefix(string(b), "sk-canary-") || len(b) != len(keyValue) {
				return fmt.Errorf("no key: %s", b) // a careless one: it must not get out
			}
			return nil
		},
		Begin: func(_ context.Context, e Event) error {
			g.log = append(g.log, "begin "+e.Step)
			g.events = append(g.events, e)
			return nil
		},
		End: func(_ context.Context, e Event) error {
			g.log = append(g.log, "end "+e.Step)
			g.events = append(g.events, e)
			return nil
		},
		Shot: func(context.Context, Event) { g.shots++ },
		Sleep: func(ctx context.Context, d time.Duration) error {
			g.waited += d
			return ctx.Err()
		},
	}
	return g
}

// at puts the page somewhere before the stage begins.
func (g *rig) at(path string) *rig {
	g.page.goTo(site + path)
	return g
}
