package catalog

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The bounds of a recipe. They are far above what any page takes, and keep a
// file from making an engine look for hours.
const (
	maxRecipeHosts  = 20
	maxSteps        = 60 // of all stages together
	maxAlternatives = 12
	maxSigns        = 40
	maxUnknown      = 40
	maxNth          = 20
	maxSelector     = 256
	maxLocatorText  = 128
	maxStepName     = 40
	maxStepText     = 128
	maxStepTimeout  = time.Hour
)

// What a step may take unless it says otherwise: a page, a mail, a person.
const (
	pageTimeout  = 30 * time.Second
	mailTimeout  = 10 * time.Minute
	humanTimeout = 30 * time.Minute
)

// recipe reads a key that may be missing, which is nil.
func (d *document) recipe(n *yaml.Node) *Recipe {
	if n == nil {
		return nil
	}
	m := d.mapping(n)
	defer m.done()
	r := &Recipe{
		Live:    d.when(m.take("live")),
		Hosts:   bounded(d, m.take("hosts"), maxRecipeHosts, d.hostName),
		Unknown: boundedOrNone(d, m.take("unknown"), maxUnknown, d.str),
		Account: Account(d.word(m.take("account"), string(AccountPassword), string(AccountMail), string(AccountGoogle), string(AccountNone))),
	}
	names := map[string]bool{}
	stage := func(key string) []Step {
		s := stages[key]
		read := func(n *yaml.Node) Step {
			step := d.step(n, r, s)
			if d.err == nil && names[step.Name] {
				d.fail(n, "two steps of the recipe are named %s", step.Name)
			}
			names[step.Name] = true
			return step
		}
		if s.needed {
			return bounded(d, m.take(key), maxSteps, read)
		}
		return boundedOrNone(d, m.take(key), maxSteps, read)
	}
	r.Register, r.Login, r.Key = stage("register"), stage("login"), stage("key")
	r.Signs = boundedOrNone(d, m.take("signs"), maxSigns, d.sign)
	if d.err == nil {
		r.validate(d, n)
	}
	return r
}

// stageRules is what a stage of a recipe may hold.
type stageRules struct {
	needed bool
	makes  string
	key    bool // steps that read a key or clean
}

var stages = map[string]stageRules{
	"register": {makes: "account"},
	"login":    {},
	"key":      {needed: true, makes: "key", key: true},
}

// patterns maps the key of a step that names its pattern to what else the step
// holds.
var patterns = map[StepPattern]struct {
	at       need
	optional bool // it may be passed over if At does not show
	timeout  time.Duration
}{
	StepOpen:    {never, false, pageTimeout},
	StepFill:    {always, true, pageTimeout},
	StepClick:   {always, true, pageTimeout},
	StepChoose:  {always, true, pageTimeout},
	StepExpect:  {sometimes, true, pageTimeout},
	StepMail:    {sometimes, false, mailTimeout},
	StepGoogle:  {always, true, pageTimeout}, // for its button; a person's time is their own
	StepHuman:   {never, false, humanTimeout},
	StepExtract: {always, false, pageTimeout},
}

// need says whether a key has to be there.
type need uint8

const (
	never need = iota
	sometimes
	always
)

func (d *document) step(n *yaml.Node, r *Recipe, in stageRules) Step {
	m := d.mapping(n)
	defer m.done()
	s := Step{Name: d.stepName(m.take("name"))}
	var main *yaml.Node
	for p := range patterns {
		if v := m.maybe(string(p)); v != nil {
			if main != nil {
				d.fail(n, "a step has one pattern: open, fill, click, choose, expect, mail, google, human or extract")
			}
			s.Pattern, main = p, v
		}
	}
	if main == nil {
		if d.err == nil {
			d.fail(n, "a step has a pattern: open, fill, click, choose, expect, mail, google, human or extract")
		}
		return s
	}
	d.does(&s, main, r)

	rules := patterns[s.Pattern]
	at := m.maybe("at")
	switch {
	case at == nil && (rules.at == always || slices.Contains(s.Accept, "code")):
		d.fail(main, "at says which element is meant, and is missing")
	case at != nil && (rules.at == never || s.Pattern == StepMail && !slices.Contains(s.Accept, "code")):
		d.fail(at, "at has no meaning here")
	}
	s.At = d.locatorsOr(at)
	if s.Pattern == StepExpect {
		if u := m.maybe("url"); u != nil {
			s.URL = d.pageURL(u, r)
		} else if at == nil {
			d.fail(main, "at or url says what is expected, and both are missing")
		}
	}
	if s.Pattern == StepHuman {
		s.Until = d.locators(m.take("until"))
	}
	s.If, s.Unless = d.locatorsOr(m.maybe("if")), d.locatorsOr(m.maybe("unless"))
	if o := m.maybe("optional"); o != nil {
		s.Optional = d.yes(o)
		if s.Optional && (!rules.optional || at == nil) {
			d.fail(o, "such a step cannot be optional; bind it by if or unless")
		}
	}
	if k := m.maybe("makes"); k != nil {
		if s.Makes = d.word(k, "account", "key"); s.Makes != in.makes {
			d.fail(k, "an account is made in register, a key in key, and nothing elsewhere")
		}
	}
	if c := m.maybe("cleans"); c != nil {
		s.Cleans = d.yes(c)
		if s.Cleans && (!in.key || s.Makes != "" || s.Pattern == StepExtract) {
			d.fail(c, "only a step of key cleans, and it neither makes nor reads one")
		}
	}
	if s.Pattern == StepExtract && !in.key {
		d.fail(main, "a key is read in the stage key only")
	}
	s.Timeout = rules.timeout
	if t := m.maybe("timeout"); t != nil {
		s.Timeout = d.timeout(t)
	}
	if g := m.maybe("grade"); g != nil {
		s.Grade = d.grade(g)
	}
	s.Note = d.strOr(m.maybe("note"))
	return s
}

// does reads the value of the key that names a step's pattern.
func (d *document) does(s *Step, n *yaml.Node, r *Recipe) {
	switch s.Pattern {
	case StepOpen:
		s.URL = d.pageURL(n, r)
	case StepFill:
		d.fill(s, n, r)
	case StepClick:
		d.word(n, "button", "link")
	case StepChoose:
		if !is(n, "tick") {
			s.Option = d.only(n, "option", "tick, or a mapping with option,")
		}
	case StepExpect:
		d.word(n, "page")
	case StepMail:
		s.Accept = list(d, n, func(n *yaml.Node) string { return d.word(n, "link", "code") })
		if len(s.Accept) > 2 || len(s.Accept) == 2 && s.Accept[0] == s.Accept[1] {
			d.fail(n, "link or code or both are accepted, each once")
		}
		if r.Account != AccountPassword && r.Account != AccountMail {
			d.fail(n, "no mail comes to us for an account of the kind %s", r.Account)
		}
	case StepGoogle:
		d.word(n, "button")
		if r.Account != AccountGoogle {
			d.fail(n, "one signs in at Google only with an account of the kind google")
		}
	case StepHuman:
		s.Need = d.word(n, "captcha", "card", "google-account", "phone", "support", "terms")
	case StepExtract:
		d.word(n, "key")
	}
}

func (d *document) fill(s *Step, n *yaml.Node, r *Recipe) {
	if n.Kind == yaml.MappingNode {
		s.Value, s.Text = ValueText, d.only(n, "text", "")
		return
	}
	s.Value = Value(d.word(n, string(ValueAddress), string(ValuePassword), string(ValueKeyName)))
	if s.Value == ValuePassword && r.Account != AccountPassword ||
		s.Value == ValueAddress && r.Account != AccountPassword && r.Account != AccountMail {
		d.fail(n, "there is no %s with an account of the kind %s", s.Value, r.Account)
	}
}

// only reads a mapping of one key, whose value is a short text.
func (d *document) only(n *yaml.Node, key, what string) string {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is wanted here", what)
		return ""
	}
	m := d.mapping(n)
	defer m.done()
	return d.short(m.take(key), maxStepText)
}

func (d *document) sign(n *yaml.Node) Sign {
	m := d.mapping(n)
	defer m.done()
	return Sign{
		At: d.locators(m.take("at")),
		Means: Meaning(d.word(m.take("means"), string(MeansExists), string(MeansNoAccount), string(MeansRateLimited),
			string(MeansCaptcha), string(MeansPhone), string(MeansCard), string(MeansTerms), string(MeansClosed), string(MeansWrong))),
		Note: d.strOr(m.maybe("note")),
	}
}

func (d *document) locators(n *yaml.Node) []Locator {
	return bounded(d, n, maxAlternatives, d.locator)
}

func (d *document) locatorsOr(n *yaml.Node) []Locator {
	if n == nil {
		return nil
	}
	return d.locators(n)
}

func (d *document) locator(n *yaml.Node) Locator {
	m := d.mapping(n)
	defer m.done()
	text := func(key string, limit int) string {
		if v := m.maybe(key); v != nil {
			return d.short(v, limit)
		}
		return ""
	}
	l := Locator{
		Role: text("role", 32),
		Name: text("name", maxLocatorText), HasName: text("has_name", maxLocatorText),
		Label: text("label", maxLocatorText),
		Text:  text("text", maxLocatorText), HasText: text("has_text", maxLocatorText),
		CSS: text("css", maxSelector),
	}
	switch {
	case l == Locator{}:
		d.fail(n, "a locator has role, name, has_name, label, text, has_text or css")
	case strings.Trim(l.Role, "abcdefghijklmnopqrstuvwxyz") != "":
		d.fail(n, "a role is one of ARIA's, in small letters")
	case strings.Contains(l.Label+"\n"+l.CSS, KeyMark):
		d.fail(n, "%s has no meaning in a label or a selector", KeyMark)
	case l.Name != "" && l.HasName != "" || l.Text != "" && l.HasText != "":
		d.fail(n, "a whole text and a part of it are not both wanted")
	}
	if v := m.maybe("nth"); v != nil {
		nth, err := strconv.Atoi(d.scalar(v, "!!int", "a number"))
		if err != nil || nth < 1 || nth > maxNth {
			d.fail(v, "a number from 1 to %d is wanted here", maxNth)
		}
		l.Nth = nth
	}
	return l
}

func (d *document) stepName(n *yaml.Node) string {
	s := d.str(n)
	if n != nil && d.err == nil && (len(s) > maxStepName || s[0] == '-' || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "") {
		d.fail(n, "the name of a step has 1 to %d of a-z, 0-9 and -, and does not start with -", maxStepName)
	}
	return s
}

func (d *document) timeout(n *yaml.Node) time.Duration {
	s := d.str(n)
	t, err := time.ParseDuration(s)
	if n != nil && (err != nil || t < time.Second || t > maxStepTimeout) {
		d.fail(n, "a time from 1s to %s is wanted here, such as 90s", "1h")
	}
	return t
}

// short reads a string of one line of at most limit bytes.
func (d *document) short(n *yaml.Node, limit int) string {
	s := d.str(n)
	if n != nil && d.err == nil && len(s) > limit {
		d.fail(n, "at most %d bytes are wanted here", limit)
	}
	return s
}

// pageURL reads the URL of a page that a recipe may lead to.
func (d *document) pageURL(n *yaml.Node, r *Recipe) *url.URL {
	u := d.https(n)
	switch {
	case u == nil || d.err != nil:
	case !slices.Contains(r.Hosts, u.Host):
		d.fail(n, "a page is on a host of the recipe")
	case strings.ContainsAny(u.EscapedPath(), `%\;`) || strings.Contains(u.Path, "//") ||
		slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		d.fail(n, "the path of a page has no escapes, no empty segment, no . and no ..")
	}
	return u
}

// bounded is list with at most limit elements.
func bounded[T any](d *document, n *yaml.Node, limit int, item func(*yaml.Node) T) []T {
	if n != nil && len(n.Content) > limit && n.Kind == yaml.SequenceNode {
		d.fail(n, "a list of at most %d is wanted here", limit)
	}
	return list(d, n, item)
}

func boundedOrNone[T any](d *document, n *yaml.Node, limit int, item func(*yaml.Node) T) []T {
	if is(n, "none") {
		return nil
	}
	return bounded(d, n, limit, item)
}
