package provision

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

// Post is the mail of the wallet.
type Post interface {
	// Address makes an address for one account. ErrNoMail.
	Address(ctx context.Context, s agentkeys.Service) (string, error)
	// Came lists the mails that came to an address so far.
	Came(ctx context.Context, address string) ([]agentkeys.MessageID, error)
	// Wait waits for a mail of the service to that address.
	Wait(ctx context.Context, w MailWait) (recipe.Mail, error)
}

// ErrNoMail: no mail comes in, or too little is known of the service's.
var ErrNoMail = errors.New("no mail of the service can be waited for")

// MailWait says which mail is waited for.
type MailWait struct {
	Service agentkeys.Service
	Address string
	// Known came before the run began: what they bring may be used up.
	Known   []agentkeys.MessageID
	Timeout time.Duration
	Accept  []string // link, code or both
}

// Browser is a browser with a page for one run.
type Browser interface {
	Page() recipe.Page
	// Shot returns a picture of the page as PNG, without what is secret on it.
	Shot(ctx context.Context) ([]byte, error)
	// Reach lets the page go to more hosts, while a person is at work.
	Reach(hosts []string) (restore func())
	Close() error
}

// Signup is the door for which a recipe leads a browser through the service's
// own pages.
type Signup struct {
	Entry *catalog.Entry
	Vault Vault
	Post  Post
	// Terms says whether a review of the service's terms allows it, now.
	Terms func(context.Context) (Opening, error)
	// Ready reports why there can be no browser.
	Ready  func() error
	Launch func(ctx context.Context, r *catalog.Recipe) (Browser, error)
	// Person has a person do something in the window; nil: nobody is there.
	Person func(ctx context.Context, need recipe.Need, look func(context.Context) (bool, error)) error
	// Secret hears of what must not be in a record of the run.
	Secret func(secret.Value)
	Shot   func(recipe.Event, []byte) // nil: no pictures
	// Timing hears of every step that has ended; nil: nobody does.
	Timing func(recipe.Event)
}

// Name implements Door.
func (s *Signup) Name() catalog.Door { return catalog.Signup }

// Look implements Door.
func (s *Signup) Look(ctx context.Context) (Opening, error) {
	fact := s.Entry.Doors[catalog.Signup]
	r := s.Entry.Recipe
	o := Opening{Needs: fact.Needs}
	switch {
	case fact.State == catalog.DoorUnsupported:
		o.Why = "not supported: " + fact.Fact
		return o, nil
	case r == nil:
		o.Why = "there is no recipe for its pages"
		return o, nil
	}
	o.Does = s.does(r)
	terms, err := s.Terms(ctx)
	if err != nil || !terms.Open {
		o.Why, o.Fix = terms.Why, terms.Fix
		return o, err
	}
	if r.Account == catalog.AccountPassword || r.Account == catalog.AccountMail {
		address, err := s.Post.Address(ctx, s.Entry.ID)
		switch {
		case errors.Is(err, ErrNoMail):
			o.Why, o.Fix = err.Error(), "--sender and --link-host name what is not known of its mail; 'agentkeys mail --help' tells of the rest"
			return o, nil
		case err != nil:
			return o, err
		case !s.Entry.Played() && strings.HasSuffix(address, ".localhost"):
			// Reserved for the machine itself (RFC 6761): nobody could answer.
			o.Why = "its mail cannot come here: nobody outside can send to a domain that ends in .localhost"
			o.Fix = "have mail for a domain of yours come in; docs/how-to/receive-mail.md shows how"
			return o, nil
		}
	}
	if err := s.Ready(); err != nil {
		o.Why, o.Fix = err.Error(), "install Chromium, or name it with --browser"
		return o, nil
	}
	o.Open = true
	return o, nil
}

// does says what a recipe will do, a line each.
func (s *Signup) does(r *catalog.Recipe) []string {
	var lines []string
	live := "its pages are played at " + s.Entry.Owner.SiteAddress.String()
	if !s.Entry.Played() {
		live = "run live: " + r.Live
	}
	lines = append(lines, fmt.Sprintf("a browser of its own follows the recipe (%s) on %s", live, hosts(r)))
	switch r.Account {
	case catalog.AccountPassword:
		lines = append(lines, "an account is made with a fresh mail address and a random password, which are in the vault before they are typed")
	case catalog.AccountMail:
		lines = append(lines, "an account is made with a fresh mail address, which is in the vault before it is typed")
	case catalog.AccountGoogle:
		lines = append(lines, "you sign in at Google yourself, in the browser's window")
	}
	for _, u := range r.Unknown {
		lines = append(lines, "not known: "+u)
	}
	return lines
}

func hosts(r *catalog.Recipe) string {
	if len(r.Hosts) > 3 {
		return fmt.Sprintf("%s and %d more", r.Hosts[0], len(r.Hosts)-1)
	}
	text := ""
	for i, h := range r.Hosts {
		if i > 0 {
			text += ", "
		}
		text += h
	}
	return text
}

// Login is what one comes in with at a service's pages, as it is in the drawer.
type Login struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"`
}

// Enter implements Door.
func (s *Signup) Enter(ctx context.Context, j *Journal, tell Tell) (Found, error) {
	r := s.Entry.Recipe
	login, err := s.login(ctx, r, j)
	if err != nil {
		return Found{}, err
	}
	var known []agentkeys.MessageID
	if login.Address != "" {
		if known, err = s.Post.Came(ctx, login.Address); err != nil {
			return Found{}, err
		}
	}
	say(tell, Phase{Name: "browser", Note: "starting"})
	b, err := s.Launch(ctx, r)
	if err != nil {
		return Found{}, err
	}
	defer b.Close()
	run := s.run(r, b, j, login, known, tell)
	if r.Account != catalog.AccountNone {
		if err := s.account(ctx, run, j); err != nil {
			return Found{}, err
		}
	}
	run.Made = j.state.Key != None
	key, err := run.Stage(ctx, recipe.StageKey)
	s.hide(key)
	return Found{Secret: key}, err
}

// account comes in: to the account there may be, or to a new one.
func (s *Signup) account(ctx context.Context, run *recipe.Run, j *Journal) error {
	if j.state.Account != None {
		_, err := run.Stage(ctx, recipe.StageLogin)
		if kind(err) != recipe.NoAccount || j.state.Account == Made {
			return s.came(j, err)
		}
		// The run before was cut before the service had heard of it.
		if err := j.NoAccount(); err != nil {
			return err
		}
	}
	_, err := run.Stage(ctx, recipe.StageRegister)
	if kind(err) == recipe.Exists {
		_, err = run.Stage(ctx, recipe.StageLogin)
	}
	return s.came(j, err)
}

func (s *Signup) came(j *Journal, err error) error {
	if err != nil {
		return err
	}
	return j.HasAccount()
}

func kind(err error) recipe.Kind {
	if f, ok := errors.AsType[*recipe.Failure](err); ok {
		return f.Kind
	}
	return ""
}

// login returns what is in the drawer, or makes it and puts it there.
func (s *Signup) login(ctx context.Context, r *catalog.Recipe, j *Journal) (Login, error) {
	var l Login
	if r.Account != catalog.AccountPassword && r.Account != catalog.AccountMail {
		return l, nil
	}
	v, err := s.Vault.Get(ctx, s.Entry.ID, Account)
	if err == nil {
		defer v.Clear()
		if json.Unmarshal(v.Expose(), &l) != nil || l.Address == "" || r.Account == catalog.AccountPassword && l.Password == "" {
			return Login{}, fmt.Errorf("%w: what is kept of the account at %s is damaged", ErrLogin, s.Entry.Name)
		}
		return l, nil
	}
	switch {
	case !errors.Is(err, ErrEmpty):
		return l, err
	case j.state.Account != None:
		return l, fmt.Errorf("%w: a run has made one at %s", ErrLogin, s.Entry.Name)
	}
	if l.Address, err = s.Post.Address(ctx, s.Entry.ID); err != nil {
		return l, err
	}
	if r.Account == catalog.AccountPassword {
		if l.Password, err = password(); err != nil {
			return l, err
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	kept := secret.New(text)
	defer kept.Clear()
	return l, s.Vault.Put(ctx, s.Entry.ID, Account, kept)
}

func (s *Signup) run(r *catalog.Recipe, b Browser, j *Journal, login Login, known []agentkeys.MessageID, tell Tell) *recipe.Run {
	run := &recipe.Run{
		Recipe: r, Page: b.Page(), CheckKey: s.Entry.CheckKey,
		Value: func(_ context.Context, v catalog.Value) (secret.Value, error) {
			text := map[catalog.Value]string{
				catalog.ValueAddress: login.Address, catalog.ValuePassword: login.Password, catalog.ValueKeyName: j.state.KeyName,
			}[v]
			if text == "" {
				return secret.Value{}, fmt.Errorf("the recipe types a value that there is not: %s", v)
			}
			out := secret.FromString(text)
			if v != catalog.ValueKeyName {
				s.hide(out)
			}
			return out, nil
		},
		Mail: func(ctx context.Context, accept []string, timeout time.Duration) (recipe.Mail, error) {
			say(tell, Phase{Name: "mail", Note: "waiting for it"})
			m, err := s.Post.Wait(ctx, MailWait{
				Service: s.Entry.ID, Address: login.Address, Known: known, Timeout: timeout, Accept: accept,
			})
			s.hide(m.Link)
			s.hide(m.Code)
			if err == nil {
				known = append(known, m.ID) // what it brings counts once
			}
			return m, err
		},
		Human: func(ctx context.Context, need recipe.Need, look func(context.Context) (bool, error)) error {
			if s.Person == nil {
				return recipe.ErrHuman
			}
			if need.What == "google-account" {
				defer b.Reach(googleHosts)()
			}
			return s.Person(ctx, need, look)
		},
		Begin: func(ctx context.Context, e recipe.Event) error {
			say(tell, Phase{Name: string(e.Stage), Note: e.Step, Step: e.Index + 1, Of: e.Total})
			return j.Begin(ctx, e)
		},
		End: func(ctx context.Context, e recipe.Event) error {
			say(tell, Phase{Name: string(e.Stage), Note: e.Step, Step: e.Index + 1, Of: e.Total, Took: e.Took, Ended: true})
			if s.Timing != nil {
				s.Timing(e)
			}
			return j.End(ctx, e)
		},
	}
	if s.Shot != nil {
		run.Shot = func(ctx context.Context, e recipe.Event) {
			if png, err := b.Shot(ctx); err == nil {
				s.Shot(e, png)
			}
		}
	}
	return run
}

// googleHosts are where a person signs in at Google.
var googleHosts = []string{"accounts.google.com", "myaccount.google.com", "accounts.youtube.com"}

func (s *Signup) hide(v secret.Value) {
	if s.Secret != nil && !v.IsZero() {
		s.Secret(v)
	}
}

func say(tell Tell, p Phase) {
	if tell != nil {
		tell(p)
	}
}

// password makes one that any rule for passwords lets pass: 24 characters, of
// each kind at least one; about 145 bits.
func password() (string, error) {
	kinds := []string{"abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "-_.!*"}
	all := slices.Concat([]byte(kinds[0]), []byte(kinds[1]), []byte(kinds[2]), []byte(kinds[3]))
	pick := func(from []byte) (byte, error) {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(from))))
		if err != nil {
			return 0, err
		}
		return from[n.Int64()], nil
	}
	out := make([]byte, 24)
	for {
		var seen [4]bool
		for i := range out {
			c, err := pick(all)
			if err != nil {
				return "", err
			}
			out[i] = c
			for k, kind := range kinds {
				seen[k] = seen[k] || slices.Contains([]byte(kind), c)
			}
		}
		if seen == [4]bool{true, true, true, true} {
			return string(out), nil
		}
	}
}
