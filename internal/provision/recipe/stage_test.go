package recipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// whole is a service that one signs up at, with everything that a page can have.
func whole() (map[string]func() *doc, []catalog.Step) {
	tick := func() *thing {
		return &thing{Element: Element{Role: "checkbox", Tag: "input", Type: "checkbox", Label: "I agree"}}
	}
	digit := func() *thing { f := field("digit"); f.MaxLength = 1; return f }
	docs := map[string]func() *doc{
		site + "/sign-up": pageOf(func() *thing { return field("Email  Address") }, func() *thing { return field("Password") }, tick,
			func() *thing { return button("Continue", to("/verify")) }),
		site + "/verify": pageOf(digit, digit, func() *thing { return text("-") }, digit, digit, digit, digit,
			func() *thing { return button("Verify", to("/keys")) }),
		site + "/keys": pageOf(func() *thing { return field("Name") }, func() *thing {
			return &thing{Element: Element{Role: "combobox", Tag: "select", Label: "Expiry"}}
		}, func() *thing { return button("Create", to("/shown")) }),
		site + "/shown": pageOf(func() *thing {
			return &thing{Element: Element{Tag: "code"}, css: []string{"code"}, value: " " + keyValue + "\n"}
		},
			func() *thing {
				return &thing{Element: Element{Tag: "p", Text: "decoy"}, value: "sk-canary-ffffffffffffffffffffffffffffffff"}
			}),
	}
	steps := []catalog.Step{
		{Name: "sign-up", Pattern: catalog.StepOpen, URL: must(site + "/sign-up")},
		{Name: "address", Pattern: catalog.StepFill, Value: catalog.ValueAddress, At: loc(catalog.Locator{CSS: "#nothing"}, catalog.Locator{Label: "email address"})},
		{Name: "password", Pattern: catalog.StepFill, Value: catalog.ValuePassword, At: loc(catalog.Locator{Role: "textbox", Label: "password"})},
		{Name: "agree", Pattern: catalog.StepChoose, At: loc(catalog.Locator{Label: "i agree"})},
		{Name: "continue", Pattern: catalog.StepClick, At: loc(catalog.Locator{Role: "button", Name: "continue"}), Makes: "account"},
		{Name: "verify", Pattern: catalog.StepMail, Accept: []string{"link", "code"}, At: loc(catalog.Locator{Label: "digit"}), Timeout: 10 * time.Minute},
		{Name: "send", Pattern: catalog.StepClick, At: loc(catalog.Locator{Text: "Verify"})},
		{Name: "in", Pattern: catalog.StepExpect, URL: must(site + "/keys"), At: loc(catalog.Locator{HasName: "CREA"})},
		{Name: "name", Pattern: catalog.StepFill, Value: catalog.ValueText, Text: "agent", At: loc(catalog.Locator{Label: "Name"})},
		{Name: "expiry", Pattern: catalog.StepChoose, Option: "Never", At: loc(catalog.Locator{Label: "Expiry"})},
		{Name: "create", Pattern: catalog.StepClick, At: loc(catalog.Locator{Name: "Create"}), Makes: "key"},
		{Name: "key", Pattern: catalog.StepExtract, At: loc(catalog.Locator{CSS: "code"})},
	}
	return docs, steps
}

func TestAWholeRun(t *testing.T) {
	docs, steps := whole()
	g := newRig(t, docs, steps...)
	g.Run.Mail = func(_ context.Context, accept []string, limit time.Duration) (Mail, error) {
		if !slices.Equal(accept, []string{"link", "code"}) || limit != 10*time.Minute {
			t.Errorf("the mail is waited for with %v, %s", accept, limit)
		}
		return Mail{Code: secret.FromString(code)}, nil
	}
	key, err := g.Stage(t.Context(), StageKey)
	if err != nil || string(key.Expose()) != keyValue {
		t.Fatalf("%v; done: %q", err, g.page.acts)
	}
	want := []string{
		"type into Email  Address", "type into Password", "tick I agree", "click Continue",
		"type into digit", "type into digit", "type into digit", "type into digit", "type into digit", "type into digit",
		"click Verify", "type into Name", "choose Never in Expiry", "click Create",
	}
	if !slices.Equal(g.page.acts, want) {
		t.Errorf("done: %q", g.page.acts)
	}
	if len(g.log) != 2*len(steps) || g.events[8].Makes != "account" || g.events[9].Total != 12 || g.events[9].Index != 4 {
		t.Errorf("events: %q", g.log)
	}
}

// click is a step that clicks Go.
func click(edit ...func(*catalog.Step)) catalog.Step {
	s := catalog.Step{Pattern: catalog.StepClick, At: loc(catalog.Locator{Role: "button", Name: "Go"})}
	for _, e := range edit {
		e(&s)
	}
	return s
}

func TestKinds(t *testing.T) {
	goButton := button("Go", nil)
	covered := button("Go", nil)
	covered.Covered = true
	disabled := button("Go", nil)
	disabled.Disabled = true
	framed := button("Go", nil)
	framed.URL = "https://evil.example/frame"
	local := button("Go", nil)
	local.URL = "about:srcdoc"
	bot := button("Go", nil)
	bot.URL = "https://challenges.cloudflare.com/x"
	fillIt := catalog.Step{Pattern: catalog.StepFill, Value: catalog.ValuePassword, At: loc(catalog.Locator{Label: "F"})}
	forgetful := field("F")
	forgetful.typed = func(*script) { forgetful.value = "" }
	three := field("F")
	three.MaxLength = 1
	extract := catalog.Step{Pattern: catalog.StepExtract, At: loc(catalog.Locator{CSS: "code"})}
	shows := func(v string) *thing { return &thing{Element: Element{Tag: "code"}, css: []string{"code"}, value: v} }
	sign := func(m catalog.Meaning) []catalog.Sign {
		return []catalog.Sign{{At: loc(catalog.Locator{HasText: "oh no"}), Means: m, Note: "the note"}}
	}
	oh := text("Oh  NO, what")
	other := keyValue[:len(keyValue)-1] + "0"
	for _, c := range []struct {
		name   string
		doc    doc
		step   catalog.Step
		signs  []catalog.Sign
		edit   func(*rig)
		want   Kind
		needed string
	}{
		{name: "missing", step: click(), want: Missing},
		{name: "never there", doc: doc{loading: 1 << 30, things: []*thing{goButton}}, step: click(), want: NoLoad},
		{name: "ambiguous", doc: doc{things: []*thing{goButton, button("go", nil)}}, step: click(), want: Ambiguous},
		{name: "covered", doc: doc{things: []*thing{covered}}, step: click(), want: Unusable},
		{name: "disabled", doc: doc{things: []*thing{disabled}}, step: click(), want: Unusable},
		{name: "in a frame elsewhere", doc: doc{things: []*thing{framed, local, bot}}, step: click(), want: Missing},
		{name: "nth beyond", doc: doc{things: []*thing{goButton}}, step: click(func(s *catalog.Step) { s.At[0].Nth = 2 }), want: Missing},
		{name: "expected", step: catalog.Step{Pattern: catalog.StepExpect, URL: must(site + "/other")}, want: Missing},
		{name: "forgets", doc: doc{things: []*thing{forgetful}}, step: fillIt, want: Unusable},
		{name: "fields too few", doc: doc{things: []*thing{three, three, three}}, step: fillIt, want: Unusable},
		{name: "no field", doc: doc{things: []*thing{{Element: Element{Tag: "div", Label: "F"}}}}, step: fillIt, want: Missing},
		{name: "off host", step: click(), edit: func(g *rig) { g.page.goTo("https://evil.example/") }, want: OffHost},
		{name: "other scheme", step: click(), edit: func(g *rig) { g.page.goTo("http://svc.example/") }, want: OffHost},
		{name: "other port", step: click(), edit: func(g *rig) { g.page.goTo("https://svc.example:8443/") }, want: OffHost},
		{name: "below a host", step: click(), edit: func(g *rig) { g.page.goTo("https://x.svc.example/") }, want: OffHost},
		{name: "blocked", step: click(), edit: func(g *rig) { g.page.fault["look"] = ErrBlocked }, want: OffHost},
		{name: "opens elsewhere", step: catalog.Step{Pattern: catalog.StepOpen, URL: must("https://evil.example/")}, want: OffHost},
		{name: "does not load", step: catalog.Step{Pattern: catalog.StepOpen, URL: must(site)}, edit: func(g *rig) { g.page.fault["open"] = ErrLoad }, want: NoLoad},
		{name: "gone", step: click(), edit: func(g *rig) { g.page.fault["look"] = fmt.Errorf("x: %w", ErrGone) }, want: Browser},
		{name: "server error", doc: doc{status: 503, things: []*thing{goButton}}, step: click(), want: NoLoad},
		{name: "status limited", doc: doc{status: 429, things: []*thing{goButton}}, step: click(), want: Limited},
		{name: "no mail", step: catalog.Step{Pattern: catalog.StepMail, Accept: []string{"link"}}, want: NoMail},
		{name: "no key", doc: doc{things: []*thing{shows("nothing")}}, step: extract, want: NoKey},
		{name: "masked", doc: doc{things: []*thing{shows("sk-canary-0123••••cdef")}}, step: extract, edit: func(g *rig) { g.CheckKey = func([]byte) error { return nil } }, want: NoKey},
		{name: "masked by dots", doc: doc{things: []*thing{shows("sk-canary-0123...cdef")}}, step: extract, edit: func(g *rig) { g.CheckKey = func([]byte) error { return nil } }, want: NoKey},
		{name: "two keys", doc: doc{things: []*thing{shows(keyValue), shows(other)}}, step: extract, want: Ambiguous},
		{name: "no place for a key", step: extract, want: Missing},
		{name: "key in a frame", doc: doc{things: []*thing{{Element: Element{URL: "https://evil.example/"}, css: []string{"code"}, value: keyValue}}}, step: extract, want: Missing},
		{name: "exists", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansExists), want: Exists},
		{name: "no account", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansNoAccount), want: NoAccount},
		{name: "limited", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansRateLimited), want: Limited},
		{name: "closed", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansClosed), want: Closed},
		{name: "wrong", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansWrong), want: Wrong},
		{name: "unheard of", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign("else"), want: Closed},
		{name: "captcha", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansCaptcha), want: BotCheck, needed: "captcha"},
		{name: "phone", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansPhone), want: NeedHuman, needed: "phone"},
		{name: "card", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansCard), want: NeedHuman, needed: "card"},
		{name: "terms", doc: doc{things: []*thing{goButton, oh}}, step: click(), signs: sign(catalog.MeansTerms), want: NeedHuman, needed: "terms"},
		{name: "bot check", doc: doc{things: []*thing{goButton}, frames: []string{"https://challenges.cloudflare.com/cdn-cgi/x"}}, step: click(), want: BotCheck, needed: "captcha"},
		{name: "bot check with 503", doc: doc{status: 503, frames: []string{"https://geo.captcha-delivery.com/captcha/"}}, step: click(), want: BotCheck, needed: "captcha"},
		{name: "bot check in the page", doc: doc{things: []*thing{goButton, {css: []string{"#px-captcha"}}}}, step: click(), want: BotCheck, needed: "captcha"},
		{name: "bot check while mail is awaited", doc: doc{frames: []string{"https://newassets.hcaptcha.com/x"}}, step: catalog.Step{Pattern: catalog.StepMail, Accept: []string{"link"}},
			edit: func(g *rig) {
				g.Run.Mail = func(ctx context.Context, _ []string, _ time.Duration) (Mail, error) {
					<-ctx.Done()
					return Mail{}, ctx.Err()
				}
			}, want: BotCheck, needed: "captcha"},
		{name: "person", step: catalog.Step{Pattern: catalog.StepHuman, Need: "card", Until: loc(catalog.Locator{Text: "Paid"})}, want: NeedHuman, needed: "card"},
		{name: "google", doc: doc{things: []*thing{goButton}}, step: catalog.Step{Pattern: catalog.StepGoogle, At: click().At}, want: NeedHuman, needed: "google-account"},
		{name: "begin says no", doc: doc{things: []*thing{goButton}}, step: click(), edit: func(g *rig) { g.Begin = func(context.Context, Event) error { return errors.New("full") } }, want: Stopped},
		{name: "end says no", doc: doc{things: []*thing{goButton}}, step: click(), edit: func(g *rig) { g.End = func(context.Context, Event) error { return errors.New("full") } }, want: Stopped},
		{name: "no such pattern", step: catalog.Step{Pattern: "pray"}, want: Stopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			goButton.done = nil
			forgetful.value, three.value = "", ""
			g := newRig(t, map[string]func() *doc{site + "/": func() *doc { d := c.doc; return &d }}, c.step).at("/")
			g.Recipe.Signs = c.signs
			if c.edit != nil {
				c.edit(g)
			}
			key, err := g.Stage(t.Context(), StageRegister)
			var f *Failure
			if !errors.As(err, &f) || f.Kind != c.want || f.Need.What != c.needed || !key.IsZero() {
				t.Fatalf("%+v, need %+v", err, f)
			}
			if g.shots != 1 || f.Stage != StageRegister || f.Step != "step-0" {
				t.Errorf("%d shots of %+v", g.shots, f)
			}
			if len(g.page.acts) > 0 && c.want != Unusable && c.name != "end says no" {
				t.Errorf("done all the same: %q", g.page.acts)
			}
			silent(t, err, g.events)
			if c.needed == "phone" && f.Need != (Need{What: "phone", Step: "step-0", Note: "the note", Host: "svc.example"}) {
				t.Errorf("need: %+v", f.Need)
			}
		})
	}
}

// silent checks that nothing of what is secret is in errors and events.
func silent(t *testing.T, err error, events []Event) {
	t.Helper()
	b, jsonErr := json.Marshal(events)
	if jsonErr != nil {
		t.Error(jsonErr)
	}
	f, _ := json.Marshal(err)
	all := fmt.Sprintf("%v %+v %#v %s %s %+v %#v", err, err, err, b, f, events, events)
	var fail *Failure
	for e := err; e != nil; e = errors.Unwrap(e) {
		all += fmt.Sprintf(" %+v", e)
	}
	if errors.As(err, &fail) {
		all += fmt.Sprintf(" %+v", *fail)
	}
	for _, s := range []string{password, address, code, keyValue, "sk-canary", "tok-canary"} {
		if strings.Contains(all, s) {
			t.Errorf("%s is in what is shown: %s", s, all)
		}
	}
}

func TestAStoppedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := newRig(t, nil, click()).at("/")
	looks := 0
	g.Sleep = func(context.Context, time.Duration) error {
		if looks++; looks == 3 {
			cancel()
		}
		return ctx.Err()
	}
	ended := false
	g.End = func(ctx context.Context, e Event) error { ended = ctx.Err() == nil && e.Err != nil; return nil }
	_, err := g.Stage(ctx, StageLogin)
	var f *Failure
	if !errors.As(err, &f) || f.Kind != Stopped || !errors.Is(err, context.Canceled) || !ended {
		t.Errorf("%v, end recorded: %t", err, ended)
	}
}

func TestAKeyStageEndsWithAKey(t *testing.T) {
	g := newRig(t, map[string]func() *doc{site + "/": pageOf(func() *thing { return button("Go", nil) })}, click()).at("/")
	var f *Failure
	if _, err := g.Stage(t.Context(), StageKey); !errors.As(err, &f) || f.Kind != NoKey {
		t.Errorf("%v", err)
	}
	if _, err := g.at("/").Stage(t.Context(), StageLogin); err != nil {
		t.Error(err)
	}
}
