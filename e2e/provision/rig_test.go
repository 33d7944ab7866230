// Package provision_test leads a real browser by the recipes of the catalogue
// through the services as package sites plays them. The mail takes a short way
// here: from the site into a box in this process.
//
// Laws that it tries:
//   - A recipe ends with a key of the service that is live, and of this run's
//     name.
//   - A run that was cut comes in again: there is one account, and one live key
//     of that name.
//   - A bot check, a phone or a card is a person's business: nothing of ours
//     touches it.
//   - The browser visits the recipe's hosts, and nothing else but frames.
package provision_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// played is a service that is played, and what its site is asked for.
type played struct {
	id   string
	opts sites.Options
	// account and key are the requests that make one, see Site.Hold.
	account, key string
	// person does what a person is wanted for, once; nil: bot checks and phones.
	person func(t *testing.T, s *sites.Site, need recipe.Need)
}

const (
	keyName  = "agentkeys-e2e-1"
	password = "A-pass.word-of-the-tests.2"
)

// rig is a site and who leads a browser through it.
type rig struct {
	t       *testing.T
	entry   *catalog.Entry
	site    *sites.Site
	box     *box
	played  played
	address string
	// accept, if set, is all that is taken from a mail: link or code.
	accept string
	alone  bool // nobody is there to help
	needs  []string
	steps  []string // that ended well
}

func newRig(t *testing.T, p played) *rig {
	t.Helper()
	e, err := catalog.Lookup(agentkeys.Must(agentkeys.ParseService(p.id)))
	if err != nil {
		t.Fatal(err)
	}
	if e.Recipe == nil {
		t.Fatalf("there is no recipe for %s", p.id)
	}
	b := &box{came: make(chan struct{}, 64)}
	opts := p.opts
	opts.Service = p.id
	if opts.Post == nil {
		opts.Post = b.post
	}
	s, err := sites.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &rig{t: t, entry: e, site: s, box: b, played: p, address: "ak-7f3k2q@agentkeys.localhost"}
}

// begin starts a browser of its own, as each run does, and returns a run with
// it.
func (r *rig) begin(made bool, change ...func(*chrome.Options)) (*recipe.Run, *chrome.Browser) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	opts := chrome.Options{Hosts: r.entry.Recipe.Hosts, Site: r.site.Addr(), CAPEM: r.site.CAPEM(), Dir: filepath.Join(r.t.TempDir(), "browser")}
	for _, c := range change {
		c(&opts)
	}
	b, err := chrome.Launch(ctx, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = b.Close() })
	r.needs, r.steps = nil, nil
	r.box.skip()
	return &recipe.Run{
		Recipe: r.entry.Recipe, Page: b.Page(), CheckKey: r.entry.CheckKey, Made: made,
		Value: r.value, Mail: r.mail, Human: r.human,
		Begin: func(context.Context, recipe.Event) error { return nil },
		End: func(_ context.Context, e recipe.Event) error {
			if e.Err == nil {
				r.steps = append(r.steps, e.Step)
			}
			return nil
		},
	}, b
}

func (r *rig) value(_ context.Context, v catalog.Value) (secret.Value, error) {
	switch v {
	case catalog.ValueAddress:
		return secret.FromString(r.address), nil
	case catalog.ValuePassword:
		return secret.FromString(password), nil
	case catalog.ValueKeyName:
		return secret.FromString(keyName), nil
	}
	return secret.Value{}, errors.New("there is no such value")
}

func (r *rig) mail(ctx context.Context, accept []string, timeout time.Duration) (recipe.Mail, error) {
	link, code, err := r.box.wait(ctx, r.address, timeout)
	m := recipe.Mail{}
	if r.accept != "code" && link != "" && slices.Contains(accept, "link") {
		m.Link = secret.FromString(link)
	}
	if r.accept != "link" && code != "" && slices.Contains(accept, "code") {
		m.Code = secret.FromString(code)
	}
	return m, err
}

// human helps until the page says that it is done.
func (r *rig) human(ctx context.Context, need recipe.Need, look func(context.Context) (bool, error)) error {
	r.needs = append(r.needs, need.What)
	if r.alone {
		return recipe.ErrHuman
	}
	for {
		if r.played.person != nil {
			r.played.person(r.t, r.site, need)
		}
		switch need.What {
		case "captcha":
			r.site.Solve()
		case "phone":
			r.site.AnswerPhone()
		}
		done, err := look(ctx)
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stage does a stage, which has to end well.
func (r *rig) stage(run *recipe.Run, s recipe.Stage) secret.Value {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 90*time.Second)
	defer cancel()
	key, err := run.Stage(ctx, s)
	if err != nil {
		r.t.Fatalf("%v\nsteps: %v\nneeds: %v\nvisits: %v", err, r.steps, r.needs, tail(r.site.Visits()))
	}
	return key
}

func tail(list []sites.Visit) []sites.Visit { return list[max(0, len(list)-12):] }

// checkKey demands that a key is what its site gave out under this run's name,
// and the only one there is.
func (r *rig) checkKey(key secret.Value, accounts int) {
	r.t.Helper()
	label := r.site.KeyLabel(string(key.Expose()))
	live := 0
	for _, k := range r.site.Keys() {
		switch {
		case !k.Live:
		case k.ID != label:
			r.t.Errorf("another key is live: %+v", k)
		case k.Name != keyName && r.entry.Recipe.Account != catalog.AccountNone:
			r.t.Errorf("the key's name is %q", k.Name)
		default:
			live++
		}
	}
	if label == "" || live != 1 {
		r.t.Errorf("the key that was read is not live; %d keys are", live)
	}
	if n := len(r.site.Accounts()); n != accounts {
		r.t.Errorf("%d accounts, want %d: %+v", n, accounts, r.site.Accounts())
	}
}

// checkVisits demands that the browser came to no other host than the recipe's,
// but for frames of bot checks.
func (r *rig) checkVisits() {
	r.t.Helper()
	for _, v := range r.site.Visits() {
		_, bot := recipe.BotCheckIn([]string{"https://" + v.Host + "/"})
		if !bot && !slices.Contains(r.entry.Recipe.Hosts, v.Host) {
			r.t.Errorf("a visit to %s%s", v.Host, v.Path)
		}
	}
	if n := r.site.Robots(); n != 0 {
		r.t.Errorf("the bot check was clicked %d times", n)
	}
}

// box takes the letters of a site.
type box struct {
	mu      sync.Mutex
	letters []sites.Letter
	read    int
	came    chan struct{}
}

func (b *box) post(_ context.Context, l sites.Letter) error {
	b.mu.Lock()
	b.letters = append(b.letters, l)
	b.mu.Unlock()
	select {
	case b.came <- struct{}{}:
	default:
	}
	return nil
}

var (
	letterLink = regexp.MustCompile(`https://[^\s<>"]+`)
	letterCode = regexp.MustCompile(`\b\d{6}\b`)
)

// skip passes over what has come: a run reads no mail from before it began.
func (b *box) skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = len(b.letters)
}

// rewind has all that was sent come once more.
func (b *box) rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = 0
}

// wait returns what the next letter to an address holds.
func (b *box) wait(ctx context.Context, address string, timeout time.Duration) (link, code string, err error) {
	late := time.After(timeout)
	for {
		b.mu.Lock()
		for b.read < len(b.letters) {
			l := b.letters[b.read]
			b.read++
			if strings.EqualFold(l.To, address) {
				b.mu.Unlock()
				return letterLink.FindString(l.Text), letterCode.FindString(letterLink.ReplaceAllString(l.Text, "")), nil
			}
		}
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return "", "", ctx.Err()
		case <-late:
			return "", "", errors.New("no mail came")
		case <-b.came:
		}
	}
}
