package provision_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// services are all that are played.
var services = []played{
	{id: "openrouter", account: "POST /v1/client/sign_ups", key: "POST /settings/keys"},
	{id: "anthropic", account: "POST /login", key: "POST /settings/keys"},
	{id: "groq", account: "POST /authenticate", key: "POST /keys"},
}

// accounts is how many accounts a run leaves behind.
func (p played) accounts(r *rig) int {
	if r.entry.Recipe.Account == catalog.AccountNone {
		return 0
	}
	return 1
}

func TestRegister(t *testing.T) {
	for _, p := range services {
		t.Run(p.id, func(t *testing.T) {
			r := newRig(t, p)
			run, _ := r.begin(false)
			r.stage(run, recipe.StageRegister)
			key := r.stage(run, recipe.StageKey)
			r.checkKey(key, p.accounts(r))
			r.checkVisits()
		})
	}
}

func TestRegisterByCode(t *testing.T) {
	for _, p := range services {
		t.Run(p.id, func(t *testing.T) {
			r := newRig(t, p)
			if !takesCode(r.entry.Recipe) {
				t.Skip("no mail of this service has a code")
			}
			r.accept = "code"
			run, _ := r.begin(false)
			r.stage(run, recipe.StageRegister)
			key := r.stage(run, recipe.StageKey)
			r.checkKey(key, p.accounts(r))
			r.checkVisits()
		})
	}
}

func takesCode(r *catalog.Recipe) bool {
	return slices.ContainsFunc(r.Register, func(s catalog.Step) bool { return slices.Contains(s.Accept, "code") })
}

// TestComeInAgain: the run was killed when the site had made the key, and the
// next one finds it by its name, beside one of somebody else's choosing.
func TestComeInAgain(t *testing.T) {
	for _, p := range services {
		t.Run(p.id, func(t *testing.T) {
			r := newRig(t, p)
			run, b := r.begin(false)
			r.stage(run, recipe.StageRegister)
			r.stage(run, recipe.StageKey)
			_ = b.Close()

			run, _ = r.begin(true)
			if len(r.entry.Recipe.Login) > 0 {
				r.stage(run, recipe.StageLogin)
			}
			key := r.stage(run, recipe.StageKey)
			r.checkKey(key, p.accounts(r))
			r.checkVisits()
		})
	}
}

// TestBotCheck: without a person the run stops there, and with one it goes on.
func TestBotCheck(t *testing.T) {
	for _, p := range services {
		t.Run(p.id, func(t *testing.T) {
			p.opts.Bot = true
			r := newRig(t, p)
			r.alone = true
			run, b := r.begin(false)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := run.Stage(ctx, first(r.entry.Recipe))
			var f *recipe.Failure
			if !errors.As(err, &f) || f.Kind != recipe.BotCheck {
				t.Fatalf("a bot check that nobody answers: %v; steps %v", err, r.steps)
			}
			if n := len(r.site.Keys()); n != 0 {
				t.Errorf("%d keys were made", n)
			}
			r.checkVisits()
			_ = b.Close()

			r.alone = false
			run, _ = r.begin(false)
			if p.accounts(r) > 0 {
				r.stage(run, recipe.StageRegister)
			}
			key := r.stage(run, recipe.StageKey)
			r.checkKey(key, p.accounts(r))
			r.checkVisits()
			if !slices.Contains(r.needs, "captcha") {
				t.Errorf("nobody was asked to answer the bot check: %v", r.needs)
			}
		})
	}
}

func first(r *catalog.Recipe) recipe.Stage {
	if len(r.Register) > 0 {
		return recipe.StageRegister
	}
	return recipe.StageKey
}

func TestPhone(t *testing.T) {
	p := played{id: "anthropic", opts: sites.Options{Phone: true}}
	r := newRig(t, p)
	run, _ := r.begin(false)
	r.stage(run, recipe.StageRegister)
	key := r.stage(run, recipe.StageKey)
	r.checkKey(key, 1)
	if !slices.Equal(r.needs, []string{"phone"}) {
		t.Errorf("a person was asked for %v, want the phone", r.needs)
	}
}

func TestKnownAddress(t *testing.T) {
	r := newRig(t, played{id: "openrouter"})
	run, b := r.begin(false)
	r.stage(run, recipe.StageRegister)
	_ = b.Close()
	run, _ = r.begin(false)
	_, err := run.Stage(t.Context(), recipe.StageRegister)
	var f *recipe.Failure
	if !errors.As(err, &f) || f.Kind != recipe.Exists {
		t.Errorf("signing up twice: %v", err)
	}
	r.address = "nobody@agentkeys.localhost"
	run, _ = r.begin(false)
	if _, err = run.Stage(t.Context(), recipe.StageLogin); !errors.As(err, &f) || f.Kind != recipe.NoAccount {
		t.Errorf("signing in without an account: %v", err)
	}
}

// TestCut: a run is gone while its request is under way, before the site did
// anything or when only the answer was missing. The next one ends with one
// account and one key, even where the mail of the first is late and counts no
// more.
func TestCut(t *testing.T) {
	for _, p := range services {
		if p.account == "" && p.key == "" {
			continue
		}
		if os.Getenv("AGENTKEYS_HOSTILE") == "" && p.id != services[0].id {
			continue // package signup kills the whole command at these moments, at all of them
		}
		for _, c := range []struct {
			name, request string
			done          bool
			stage         recipe.Stage
		}{
			{"account unheard", p.account, false, recipe.StageRegister},
			{"account unanswered", p.account, true, recipe.StageRegister},
			{"key unheard", p.key, false, recipe.StageKey},
			{"key unanswered", p.key, true, recipe.StageKey},
		} {
			if c.request == "" {
				continue
			}
			t.Run(p.id+"/"+c.name, func(t *testing.T) {
				r := newRig(t, p)
				run, b := r.begin(false)
				if c.stage == recipe.StageKey && len(r.entry.Recipe.Register) > 0 {
					r.stage(run, recipe.StageRegister)
				}
				held := r.site.Hold(c.request, c.done)
				ctx, cut := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					_, err := run.Stage(ctx, c.stage)
					ended <- err
				}()
				select {
				case <-held.Arrived():
				case err := <-ended:
					t.Fatalf("the stage ended before %s: %v; steps %v", c.request, err, r.steps)
				}
				cut()
				_ = b.Close()
				<-ended // what is held ends with the connection
				key := r.again(c.stage, c.stage == recipe.StageRegister)
				r.checkKey(key, p.accounts(r))
				r.checkVisits()
			})
		}
	}
}

// again goes on as the door does: it comes in to the account that there may be,
// registers if there is none, and makes a key where one of this name is no more.
// late has the mails of runs before come now.
func (r *rig) again(from recipe.Stage, late bool) secret.Value {
	r.t.Helper()
	run, _ := r.begin(from == recipe.StageKey)
	if late {
		r.box.rewind()
	}
	if len(r.entry.Recipe.Login) > 0 {
		_, err := run.Stage(r.t.Context(), recipe.StageLogin)
		var f *recipe.Failure
		switch {
		case err == nil:
		case errors.As(err, &f) && f.Kind == recipe.NoAccount && from == recipe.StageRegister:
			r.stage(run, recipe.StageRegister)
		default:
			r.t.Fatalf("coming in again: %v; steps %v", err, r.steps)
		}
	}
	return r.stage(run, recipe.StageKey)
}
