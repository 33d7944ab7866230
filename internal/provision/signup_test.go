package provision

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// postbox is mail of a domain.
type postbox struct {
	domain string
	err    error
	came   []agentkeys.MessageID
}

func (p postbox) Address(context.Context, agentkeys.Service) (string, error) {
	return "or-0x0123456789abcdef0123456789abcdef01234567-17953128001234567@" + p.domain, p.err
}
func (p postbox) Came(context.Context, string) ([]agentkeys.MessageID, error) { return p.came, nil }
func (p postbox) Wait(context.Context, MailWait) (recipe.Mail, error) {
	return recipe.Mail{}, errors.New("not waited for")
}

func TestSignupLook(t *testing.T) {
	open := func(context.Context) (Opening, error) { return Opening{Open: true}, nil }
	ready := func() error { return nil }
	for _, c := range []struct {
		name, service string
		change        func(*Signup)
		open          bool
		why           string
	}{
		{"open", "openrouter", func(*Signup) {}, true, ""},
		{"not supported", "x", func(*Signup) {}, false, "not supported"},
		{"no recipe", "cohere", func(*Signup) {}, false, "no recipe"},
		{"terms", "openrouter", func(s *Signup) {
			s.Terms = func(context.Context) (Opening, error) { return Opening{Why: "nobody has read them"}, nil }
		}, false, "nobody has read"},
		{"no mail", "openrouter", func(s *Signup) { s.Post = postbox{err: ErrNoMail} }, false, "mail"},
		{"mail of this machine alone", "openrouter", func(s *Signup) { s.Post = postbox{domain: "agentkeys.localhost"} }, false, ".localhost"},
		{"no mail is needed", "jina", func(s *Signup) { s.Post = postbox{err: ErrNoMail} }, true, ""},
		{"no browser", "openrouter", func(s *Signup) { s.Ready = func() error { return errors.New("no Chromium") } }, false, "no Chromium"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := catalog.Lookup(service(t, c.service))
			if err != nil {
				t.Fatal(err)
			}
			s := &Signup{Entry: e, Post: postbox{domain: "mail.example"}, Terms: open, Ready: ready}
			c.change(s)
			o, err := s.Look(t.Context())
			if err != nil || o.Open != c.open || !strings.Contains(o.Why, c.why) || !c.open && o.Why == "" {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// TestLoginIsKeptFirst: address and password are in the vault before a browser
// is started, and the same ones come back.
func TestLoginIsKeptFirst(t *testing.T) {
	e, err := catalog.Lookup(service(t, "openrouter"))
	if err != nil {
		t.Fatal(err)
	}
	v := &safe{}
	launched := errors.New("launched")
	s := &Signup{Entry: e, Vault: v, Post: postbox{domain: "mail.example"}}
	var first Login
	s.Launch = func(context.Context, *catalog.Recipe) (Browser, error) {
		var kept Login
		if err := json.Unmarshal([]byte(v.drawer[Account]), &kept); err != nil || kept.Address == "" || len(kept.Password) != 24 {
			t.Errorf("kept: %+v, %v", kept, err)
		}
		if first == (Login{}) {
			first = kept
		}
		if kept != first {
			t.Error("another login for the second run")
		}
		return nil, launched
	}
	for range 2 {
		if _, err := s.Enter(t.Context(), &Journal{}, nil); !errors.Is(err, launched) {
			t.Fatal(err)
		}
	}
	// What cannot be kept is not typed anywhere.
	full := errors.New("the disk is full")
	s.Vault = &safe{cut: "put account"}
	s.Launch = func(context.Context, *catalog.Recipe) (Browser, error) {
		t.Error("a browser was started")
		return nil, full
	}
	if _, err := s.Enter(t.Context(), &Journal{}, nil); !errors.Is(err, errCut) {
		t.Error(err)
	}
	// An account without its login is not made twice.
	s.Vault = &safe{}
	if _, err := s.Enter(t.Context(), &Journal{state: State{Account: Made}}, nil); !errors.Is(err, ErrLogin) {
		t.Error(err)
	}
	v.drawer[Account] = "damaged"
	s.Vault = v
	if _, err := s.Enter(t.Context(), &Journal{}, nil); !errors.Is(err, ErrLogin) || !strings.Contains(err.Error(), "is damaged") {
		t.Error(err)
	}
}

// mails come one by one, and what was asked for is kept.
type mails struct {
	postbox
	next  []recipe.Mail
	waits []MailWait
}

func (m *mails) Wait(_ context.Context, w MailWait) (recipe.Mail, error) {
	w.Known = slices.Clone(w.Known)
	m.waits = append(m.waits, w)
	if len(m.next) == 0 {
		return recipe.Mail{}, errors.New("none came")
	}
	out := m.next[0]
	m.next = m.next[1:]
	return out, nil
}

// TestMailCountsOnce: neither what came before a run nor what it has been given
// is given to it again.
func TestMailCountsOnce(t *testing.T) {
	e, err := catalog.Lookup(service(t, "openrouter"))
	if err != nil {
		t.Fatal(err)
	}
	id := func(s string) agentkeys.MessageID { return agentkeys.Must(agentkeys.ParseMessageID(s)) }
	post := &mails{next: []recipe.Mail{{ID: id("one")}, {ID: id("two")}}}
	s := &Signup{Entry: e, Post: post}
	run := s.run(e.Recipe, window{}, &Journal{}, Login{Address: "a@mail.example"}, []agentkeys.MessageID{id("before")}, nil)
	for range 3 {
		_, _ = run.Mail(t.Context(), []string{"link"}, time.Minute)
	}
	want := [][]agentkeys.MessageID{{id("before")}, {id("before"), id("one")}, {id("before"), id("one"), id("two")}}
	for i, w := range post.waits {
		if !slices.Equal(w.Known, want[i]) {
			t.Errorf("wait %d knows %v, want %v", i, w.Known, want[i])
		}
	}
}

// window is a browser that nobody looks at.
type window struct{ Browser }

func (window) Page() recipe.Page { return nil }
