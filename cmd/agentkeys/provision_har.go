package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
)

// recorder records what the browser does, if that was asked for.
func (p *provisioning) recorder() *har.Recorder {
	if p.har == "" {
		return nil
	}
	return har.NewRecorder(har.Options{
		Creator: har.Creator{Name: "agentkeys", Version: version},
		Key:     func(b []byte) bool { return catalog.LooksLikeKey(string(b)) },
	})
}

// saveHAR writes the recording. One that still holds a secret is not written.
func (p *provisioning) saveHAR(r *har.Recorder) error {
	if r == nil {
		return nil
	}
	var text bytes.Buffer
	if _, err := r.WriteTo(&text); err != nil {
		return fmt.Errorf("no recording is kept: %w", err)
	}
	if err := durable.WriteFile(p.har, text.Bytes()); err != nil {
		return fmt.Errorf("no recording is kept: %w", err)
	}
	fmt.Fprintf(p.a.stderr, "  recording       %s\n", p.har)
	return nil
}

// maxHAR is the size of the largest recording that is read, in bytes.
const maxHAR = 64 << 20

// replayed leads a browser through the recipe on recorded pages. The values that
// it types are made up, and what it finds is thrown away.
func (p *provisioning) replayed(ctx context.Context, e *catalog.Entry) error {
	r := e.Recipe
	if r == nil {
		return failWith(exitNotFound, "no-recipe", fmt.Errorf("there is no recipe for the pages of %s", e.Name), "'agentkeys services show "+e.ID.String()+"' says what is known")
	}
	f, err := os.Open(p.replay)
	if err != nil {
		return failWith(exitNotFound, "not-found", fmt.Errorf("no file %s that can be read", p.replay), "record one with --har")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxHAR+1))
	if err == nil && len(data) > maxHAR {
		err = fmt.Errorf("%w: it is larger than %d bytes", har.ErrHAR, maxHAR)
	}
	if err != nil {
		return err
	}
	archive, err := har.Parse(data)
	if err != nil {
		return failWith(exitUsage, "har", err, "record one with --har")
	}
	b, err := chrome.Launch(ctx, chrome.Options{Path: p.browser, Headed: p.headed, Hosts: r.Hosts, Dir: p.paths.Browser(), Replay: archive})
	if err != nil {
		return err
	}
	defer b.Close()
	began := time.Now()
	stages := replayStages(r, archive)
	tell := p.teller()
	run := &recipe.Run{
		Recipe: r, Page: b.Page(), CheckKey: e.CheckKey,
		Value: func(_ context.Context, v catalog.Value) (secret.Value, error) {
			return secret.FromString("obviously-fake-" + string(v) + "@example.test"), nil
		},
		Mail: func(context.Context, []string, time.Duration) (recipe.Mail, error) { return recordedMail(e, archive) },
		Human: func(context.Context, recipe.Need, func(context.Context) (bool, error)) error {
			return recipe.ErrHuman
		},
		Begin: func(_ context.Context, ev recipe.Event) error {
			if tell != nil {
				tell(provision.Phase{Name: string(ev.Stage), Note: ev.Step, Step: ev.Index + 1, Of: ev.Total})
			}
			return nil
		},
		End: func(context.Context, recipe.Event) error { return nil },
	}
	for _, s := range stages {
		v, err := run.Stage(ctx, s)
		v.Clear()
		if err != nil {
			return err
		}
	}
	took := time.Since(began)
	return p.a.print(map[string]any{"service": e.ID, "stages": stages, "milliseconds": took.Milliseconds()}, func() {
		fmt.Fprintf(p.a.stdout, "%s: the recipe goes through on these pages; nothing was contacted or kept\n", e.ID)
	})
}

// replayStages are the stages of which there are pages.
func replayStages(r *catalog.Recipe, a *har.Archive) (stages []recipe.Stage) {
	for _, s := range []struct {
		stage recipe.Stage
		steps []catalog.Step
	}{{recipe.StageRegister, r.Register}, {recipe.StageLogin, r.Login}} {
		if len(s.steps) == 0 || s.steps[0].URL == nil || len(stages) > 0 {
			continue
		}
		if _, ok := a.Match("GET", s.steps[0].URL.String()); ok {
			stages = append(stages, s.stage)
		}
	}
	return append(stages, recipe.StageKey)
}

// recordedMail is the mail of the recording: the link that was opened then, or
// a code, which any page of the recording takes.
func recordedMail(e *catalog.Entry, a *har.Archive) (recipe.Mail, error) {
	rules, _ := e.MailRules()
	for _, entry := range a.Log.Entries {
		rest, ok := strings.CutPrefix(entry.Request.URL, "https://")
		if !ok || entry.Request.Method != "GET" {
			continue
		}
		for _, host := range rules.LinkHosts {
			for _, path := range rules.LinkPaths {
				if strings.HasPrefix(rest, host+path) {
					return recipe.Mail{Link: secret.FromString(entry.Request.URL)}, nil
				}
			}
		}
	}
	if rules.Digits == 0 {
		return recipe.Mail{}, errors.New("the recording has no link of a mail")
	}
	return recipe.Mail{Code: secret.FromString(strings.Repeat("0", rules.Digits))}, nil
}
