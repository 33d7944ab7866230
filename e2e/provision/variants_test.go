package provision_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// everybody are all services that are played.
var everybody = []string{"openrouter", "anthropic", "groq", "brave-search", "jina", "gemini"}

// google is where the person of these tests signs in.
const google = "accounts.google.com"

// deeds are what a person of these tests does; all else is left undone.
var deeds = map[string]sites.Deed{"card": sites.DeedCard, "google-account": sites.DeedGoogle, "terms": sites.DeedTerms}

// brief is what a step may take here: pages are on this machine.
const brief = 12 * time.Second

// TestHostilePages leads a run through pages that are changed in hostile ways.
// A few of them in each run of the tests; AGENTKEYS_HOSTILE is all, or a part of
// service/change. All of one service take ten minutes on two cores:
//
//	AGENTKEYS_HOSTILE=groq/ go test -run 'TestHostile(Pages|Mails)' -timeout 30m ./e2e/provision
//
// When this was written, 580 pairs of a service and a change had ended as
// they should: all pages of Groq, half of OpenRouter's, some of the others', and
// all mails.
func TestHostilePages(t *testing.T) {
	asked := os.Getenv("AGENTKEYS_HOSTILE")
	one := make(chan struct{}, 2)
	for i, c := range sites.Changes() {
		for j, id := range everybody {
			name := id + "/" + string(c.Name)
			switch {
			case !c.InPages() || !c.Fits(id):
				continue
			case asked == "" && (i%40 != 4 || i/40%len(everybody) != j):
				continue
			case asked != "" && asked != "all" && !strings.Contains(name, asked):
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				one <- struct{}{}
				defer func() { <-one }()
				hostile(t, id, c)
			})
		}
	}
}

// hostile leads one run, and demands that it ends as it should, that nobody else
// hears of it, and that nothing that it knows is in what it says.
func hostile(t *testing.T, id string, c sites.Change) {
	r := newRig(t, played{id: id, opts: sites.Options{Variant: c.Name}})
	entry := *r.entry
	entry.Recipe = shortened(entry.Recipe)
	r.entry = &entry
	var rec *har.Recorder
	if crc32.ChecksumIEEE([]byte(t.Name()))%4 == 0 { // what is recorded takes another way through the browser
		rec = har.NewRecorder(har.Options{Key: func(b []byte) bool { return entry.CheckKey(b) == nil }})
		rec.Hide(secret.FromString(password))
		rec.Hide(secret.FromString(r.address))
	}
	dir, logs := t.TempDir(), new(bytes.Buffer)
	run, b := r.begin(false, func(o *chrome.Options) { o.Log, o.Record = slog.New(slog.NewTextHandler(logs, nil)), rec })
	run.Human = r.helper(b)
	run.Mail = func(ctx context.Context, accept []string, timeout time.Duration) (recipe.Mail, error) {
		m, err := r.mail(ctx, accept, timeout)
		if rec != nil {
			rec.Hide(m.Link)
			rec.Hide(m.Code)
		}
		return m, err
	}
	run.Shot = func(ctx context.Context, e recipe.Event) {
		png, err := b.Shot(ctx)
		if err != nil {
			png = []byte(err.Error())
		}
		if err := os.WriteFile(filepath.Join(dir, e.Step+".png"), png, 0o600); err != nil {
			t.Error(err)
		}
	}
	var said []string
	run.End = func(_ context.Context, e recipe.Event) error {
		said = append(said, fmt.Sprintf("%s %v", e.Step, e.Err))
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended, key := r.through(ctx, run)
	r.judge(c, b, ended, said)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	shots, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil || (ended != "" && ended != sites.Refused && len(shots) != 1) {
		t.Errorf("%d pictures of a failure, %v", len(shots), err)
	}
	recorded := new(bytes.Buffer)
	if rec != nil {
		// A page may make a recording that cannot be cleaned: there is none then.
		if n, err := rec.WriteTo(recorded); errors.Is(err, har.ErrLeak) && n == 0 {
			t.Log("there is no recording")
		} else if err != nil {
			t.Error(err)
		}
	}
	for _, canary := range append(canaries(r), key) {
		if canary == "" {
			continue
		}
		for _, text := range append(said, ended) {
			if strings.Contains(text, canary) {
				t.Errorf("what it says holds what it knows: step %q", strings.Fields(text)[0])
			}
		}
		if strings.Contains(logs.String(), canary) {
			t.Error("the browser's log holds what it knows")
		}
		// A code's six digits may be part of anything there.
		if len(canary) > 6 && bytes.Contains(recorded.Bytes(), []byte(canary)) {
			t.Error("the recording holds what it knows")
		}
		for _, shot := range shots {
			if png, err := os.ReadFile(shot); err != nil || len(canary) > 6 && bytes.Contains(png, []byte(canary)) {
				t.Errorf("the picture holds what it knows: %v", err)
			}
		}
	}
}

// judge demands that a run ended as it should, and that nobody else heard of it.
func (r *rig) judge(c sites.Change, b *chrome.Browser, ended string, said []string) {
	t, id := r.t, r.played.id
	t.Helper()
	want := c.Of(id)
	switch {
	case ended == "" && !want.Key:
		t.Errorf("it got its key, and should have stopped with one of %v", want.Stops)
	case ended != "" && !slices.Contains(want.Stops, ended):
		t.Errorf("it stopped with %s, want key %t or one of %v\nsteps: %q\nneeds: %v\nvisits: %v", ended, want.Key, want.Stops, said, r.needs, tail(r.site.Visits()))
	}
	if ended == "" {
		t.Logf("%s: the key", c.What)
	} else {
		t.Logf("%s: %s, after %q", c.What, ended, said[max(0, len(said)-1):])
	}
	told := map[string]bool{}
	for _, v := range r.site.Visits() {
		if told[v.Host] {
			continue
		}
		told[v.Host] = true
		if _, bot := recipe.BotCheckIn([]string{"https://" + v.Host + "/"}); !bot && !slices.Contains(r.entry.Recipe.Hosts, v.Host) && (id != "gemini" || v.Host != google) {
			t.Errorf("a visit to %s%s", v.Host, v.Path)
		}
	}
	for _, h := range b.Contacted() {
		if slices.Contains(want.Never, h) {
			t.Errorf("%s was contacted", h)
		}
	}
	if n := r.site.Robots(); n != 0 {
		t.Errorf("what is a person's was done %d times by a program", n)
	}
	if n := len(r.site.Keys()); n > 1 {
		t.Errorf("%d keys were made", n)
	}
}

// through does all stages, and returns how they ended: "" with a key of the
// site.
func (r *rig) through(ctx context.Context, run *recipe.Run) (ended, key string) {
	stages := []recipe.Stage{recipe.StageRegister, recipe.StageKey}
	if r.entry.Recipe.Account == catalog.AccountNone {
		stages = stages[1:]
	}
	for _, s := range stages {
		secret, err := run.Stage(ctx, s)
		var f *recipe.Failure
		switch {
		case errors.As(err, &f):
			return string(f.Kind), ""
		case err != nil:
			return err.Error(), ""
		case s == recipe.StageKey:
			key = string(secret.Expose())
		}
	}
	if r.site.KeyLabel(key) == "" {
		return sites.Refused, key
	}
	return "", key
}

// helper is a person who gives cards, accepts terms and signs in at Google where
// the recipe says so, and nothing else.
func (r *rig) helper(b *chrome.Browser) func(context.Context, recipe.Need, func(context.Context) (bool, error)) error {
	return func(ctx context.Context, need recipe.Need, look func(context.Context) (bool, error)) error {
		r.needs = append(r.needs, need.What)
		deed, ok := deeds[need.What]
		if !ok {
			return recipe.ErrHuman
		}
		if deed == sites.DeedGoogle {
			defer b.Reach([]string{google})()
		}
		for late := time.After(brief); ; {
			r.site.Act(deed)
			if done, err := look(ctx); err != nil || done {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-late:
				return recipe.ErrHuman
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// shortened is a recipe whose steps take no longer than brief.
func shortened(of *catalog.Recipe) *catalog.Recipe {
	c := *of
	for _, stage := range []*[]catalog.Step{&c.Register, &c.Login, &c.Key} {
		*stage = slices.Clone(*stage)
		for i := range *stage {
			(*stage)[i].Timeout = min((*stage)[i].Timeout, brief)
		}
	}
	return &c
}

// canaries are what a run knows and does not tell.
func canaries(r *rig) []string {
	list := []string{password, r.address}
	r.box.mu.Lock()
	defer r.box.mu.Unlock()
	for _, l := range r.box.letters {
		link := letterLink.FindString(l.Text)
		list = append(list, link, letterCode.FindString(letterLink.ReplaceAllString(l.Text, "")))
	}
	return list
}
