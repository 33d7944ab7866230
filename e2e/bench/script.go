package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/chrome"
)

// nobody is who browsers run as where this is root.
const nobody = 65534

// browse starts a browser as a script does that has nothing to guard, which
// finds every host at one address.
func browse(ctx context.Context, dir, at string) (tab context.Context, stop func(), err error) {
	path, err := chrome.Find()
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp(dir, "script-")
	if err != nil {
		return nil, nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WindowSize(1280, 1000),
		chromedp.Flag("host-resolver-rules", "MAP * "+at), chromedp.Flag("ignore-certificate-errors", true))
	if os.Getuid() == 0 {
		// As our runs have it: there is no sandbox for root.
		if err := os.Lchown(profile, nobody, nobody); err != nil {
			return nil, nil, err
		}
		options = append(options, chromedp.Env("HOME="+profile, "TMPDIR="+profile), chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.Dir, cmd.SysProcAttr = profile, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}))
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	tab, cancel := chromedp.NewContext(allocator)
	stop = func() {
		_ = chromedp.Cancel(tab)
		cancel()
		cancelAllocator()
	}
	if err := chromedp.Do(tab); err != nil {
		stop()
		return nil, nil, err
	}
	return tab, stop, nil
}

var scriptLink = regexp.MustCompile(`https://\S+`)

// script is the floor of a sign-up: the same clicks on the same site, written
// by hand for these pages. Its mail comes to it from the site directly, and what
// it reads it keeps nowhere.
func (w *world) script(ctx context.Context, dir string) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w.names++
	before, began := used(), time.Now()
	tab, stop, err := browse(ctx, dir, w.site.Addr().String())
	if err != nil {
		return s, err
	}
	s.start = float64(time.Since(began).Microseconds()) / 1e3
	stopped := false
	end := func() {
		if !stopped {
			stopped = true
			s.cpu = descendants() + used() - before
			stop()
		}
	}
	defer end()
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	fill := func(css, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(css), text)
	}
	click := func(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }
	err = chromedp.Do(tab,
		chromedp.Navigate("https://openrouter.ai/sign-up"), see("#emailAddress-field"),
		fill("#emailAddress-field", fmt.Sprint("script-", w.names, benchHost)), fill("#password-field", "Only-for.measurements.1234"),
		click("#legalAccepted-field"), click(".cl-formButtonPrimary"))
	if err != nil {
		return s, fmt.Errorf("the script: %w", err)
	}
	select {
	case l := <-w.mails:
		err = chromedp.Do(tab, chromedp.Navigate(scriptLink.FindString(l.Text)), see(`a[href="/settings/keys"]`),
			chromedp.Navigate("https://openrouter.ai/settings/keys"), see("[data-open=create]"), click("[data-open=create]"),
			see("#key-name"), fill("#key-name", "agentkeys-bench"), click("#create button.main"), see("dialog[open] code"))
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return s, fmt.Errorf("the script: %w", err)
	}
	key, err := chromedp.Run(tab, chromedp.Text(chromedp.CSS("dialog[open] code")))
	if err == nil && w.site.KeyLabel(key) == "" {
		err = errors.New("the script read no key")
	}
	end()
	s.split[rest] = float64(time.Since(began).Microseconds()) / 1e3
	return s, err
}
