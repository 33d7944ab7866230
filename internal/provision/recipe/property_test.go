package recipe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// storm is a Page that shows anything, and checks what is done to it.
type storm struct {
	t       *rapid.T
	hosts   []string
	view    View
	clicked map[ElementID]int
	person  bool
}

var (
	stormFrames = []string{"", "", "", "https://svc.example/f", "https://evil.example/", "about:srcdoc", "https://challenges.cloudflare.com/x", "https://www.google.com/recaptcha/api2/a", "http://svc.example/"}
	stormURLs   = []string{"https://svc.example/", "https://svc.example/", "https://svc.example/", "https://svc.example/next", "https://auth.svc.example/x", "https://evil.example/", "about:blank", "http://svc.example/", "https://svc.example:8443/", "data:text/html,x"}
	stormNames  = []string{"Go", "go", "Close", "Reject all", "Accept all", "Delete account", "F", "oh no", keyValue, "Pay"}
)

func (p *storm) Open(_ context.Context, address string) error {
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" || !slices.Contains(p.hosts, u.Host) {
		p.t.Fatalf("the engine opened %q", address)
	}
	return rapid.SampledFrom([]error{nil, nil, nil, ErrLoad, ErrOffHost, ErrGone}).Draw(p.t, "open")
}

func (p *storm) Look(_ context.Context, css []string) (View, error) {
	if err := rapid.SampledFrom([]error{nil, nil, nil, nil, nil, nil, nil, nil, nil, ErrStale, ErrGone, ErrOffHost}).Draw(p.t, "look"); err != nil {
		return View{}, err
	}
	p.view = View{
		URL:     rapid.SampledFrom(stormURLs).Draw(p.t, "url"),
		Loading: rapid.IntRange(0, 5).Draw(p.t, "loading") == 0,
		Status:  rapid.SampledFrom([]int{0, 200, 200, 200, 404, 429, 500}).Draw(p.t, "status"),
		Check:   rapid.SampledFrom([]string{"", "", "", "", "Cloudflare"}).Draw(p.t, "check"),
		Frames:  rapid.SliceOfN(rapid.SampledFrom(stormFrames[3:]), 0, 1).Draw(p.t, "frames"),
	}
	for i := range rapid.IntRange(0, 6).Draw(p.t, "elements") {
		name := rapid.SampledFrom(stormNames).Draw(p.t, "name")
		e := Element{
			ID: ElementID(fmt.Sprint(i)), URL: rapid.SampledFrom(stormFrames).Draw(p.t, "frame"), Name: name, Text: name, Label: name,
			Role: rapid.SampledFrom([]string{"button", "textbox", "checkbox", "link", ""}).Draw(p.t, "role"), Tag: rapid.SampledFrom([]string{"button", "input", "div"}).Draw(p.t, "tag"),
			Disabled: rapid.Bool().Draw(p.t, "disabled"), Covered: rapid.Bool().Draw(p.t, "covered"), Checked: rapid.Bool().Draw(p.t, "checked"), Empty: rapid.Bool().Draw(p.t, "empty"),
			MaxLength: rapid.SampledFrom([]int{0, 0, 1}).Draw(p.t, "max"),
		}
		if len(css) > 0 && rapid.IntRange(0, 9).Draw(p.t, "css") == 0 {
			e.CSS = []int{rapid.IntRange(0, len(css)-1).Draw(p.t, "which")}
		}
		p.view.Elements = append(p.view.Elements, e)
	}
	return p.view, nil
}

func (p *storm) Do(_ context.Context, id ElementID, act Act) error {
	i := slices.IndexFunc(p.view.Elements, func(e Element) bool { return e.ID == id })
	if i < 0 {
		p.t.Fatal("the engine acted on what the last view did not have")
	}
	e := p.view.Elements[i]
	top, err := url.Parse(p.view.URL)
	frame, err2 := url.Parse(e.URL)
	_, bot := BotCheckIn([]string{e.URL})
	switch {
	case e.Covered || e.Disabled && e.MaxLength != 1:
		p.t.Fatalf("the engine acted on what cannot be used: %+v", e)
	case err != nil || top.Scheme != "https" || !slices.Contains(p.hosts, top.Host):
		p.t.Fatalf("the engine acted on %s", p.view.URL)
	case e.URL != "" && (err2 != nil || frame.Scheme != "https" || !slices.Contains(p.hosts, frame.Host)) || bot:
		p.t.Fatalf("the engine acted in a frame of %s", e.URL)
	case act.Click && fold(e.Name) != "go" && fold(e.Name) != "close" && fold(e.Name) != "reject all":
		p.t.Fatalf("the engine clicked %s", e.Name)
	case p.person && fold(e.Name) != "go":
		p.t.Fatal("the engine acted while a person was at work")
	}
	if _, bot := BotCheckIn(p.view.Frames); (bot || p.view.Check != "") && !p.person && len(p.view.Elements) > 0 {
		f := finder{hosts: p.hosts, css: map[string]int{}, folded: map[string]string{}}
		if _, ok := f.checked(p.view); ok {
			p.t.Fatal("the engine acted beside a bot check")
		}
	}
	err = rapid.SampledFrom([]error{nil, nil, nil, ErrStale, ErrGone, ErrOffHost}).Draw(p.t, "do")
	if err == nil && act.Click && fold(e.Name) == "go" {
		if p.clicked[ElementID("go")]++; p.clicked[ElementID("go")] > 1 {
			p.t.Fatal("the engine clicked twice")
		}
	}
	return err
}

func (p *storm) Read(context.Context, ElementID) (secret.Value, error) {
	v := rapid.SampledFrom([]string{"", password, keyValue, keyValue[:20] + "…", keyValue + " "}).Draw(p.t, "read")
	return secret.FromString(v), rapid.SampledFrom([]error{nil, nil, ErrStale, ErrGone}).Draw(p.t, "error")
}

// TestWhateverAPageShows has pages show anything: the laws hold all the same.
func TestWhateverAPageShows(t *testing.T) {
	at := loc(catalog.Locator{CSS: "#x", Nth: 1}, catalog.Locator{Name: "go"})
	steps := []catalog.Step{
		{Pattern: catalog.StepClick, At: at[1:], Makes: "key"},
		{Pattern: catalog.StepClick, At: at[1:], Optional: true},
		{Pattern: catalog.StepGoogle, At: at[1:]},
		{Pattern: catalog.StepFill, At: loc(catalog.Locator{Label: "F"}), Value: catalog.ValuePassword},
		{Pattern: catalog.StepChoose, At: loc(catalog.Locator{Label: "F"}), If: loc(catalog.Locator{Text: "go"})},
		{Pattern: catalog.StepMail, At: loc(catalog.Locator{Label: "F"}), Accept: []string{"code", "link"}},
		{Pattern: catalog.StepMail, Accept: []string{"link"}},
		{Pattern: catalog.StepOpen, URL: must(site)},
		{Pattern: catalog.StepExpect, At: at},
		{Pattern: catalog.StepHuman, Until: at, Need: "card"},
		{Pattern: catalog.StepExtract, At: at},
	}
	rapid.Check(t, func(rt *rapid.T) {
		step := rapid.SampledFrom(steps).Draw(rt, "step")
		step.Name, step.Timeout = "s", time.Second
		g := newRig(t, nil, step)
		p := &storm{t: rt, hosts: g.Recipe.Hosts, clicked: map[ElementID]int{}}
		g.Run.Page = p
		g.Recipe.Signs = []catalog.Sign{{At: loc(catalog.Locator{Text: "oh no"}), Means: rapid.SampledFrom([]catalog.Meaning{catalog.MeansExists, catalog.MeansCard, catalog.MeansCaptcha}).Draw(rt, "sign")}}
		links := rapid.SampledFrom([]string{"", "https://svc.example/v?t=tok-canary", "https://evil.example/?t=tok-canary", "x:tok-canary"}).Draw(rt, "link")
		g.Run.Mail = func(context.Context, []string, time.Duration) (Mail, error) {
			return Mail{Link: secret.FromString(links), Code: secret.FromString(code)}, nil
		}
		g.Human = func(ctx context.Context, n Need, look func(context.Context) (bool, error)) error {
			if rapid.Bool().Draw(rt, "nobody") {
				return ErrHuman
			}
			p.person = true
			defer func() { p.person = false }()
			for range 20 {
				if done, err := look(ctx); done || err != nil {
					return err
				}
			}
			return ErrHuman
		}
		key, err := g.Stage(t.Context(), StageKey)
		var f *Failure
		if err != nil && !errors.As(err, &f) {
			rt.Fatalf("%T is no failure", err)
		}
		if err == nil && string(key.Expose()) != keyValue {
			rt.Fatal("what is no key was returned")
		}
		silent(t, err, g.events)
	})
}
