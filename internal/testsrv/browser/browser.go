// Package browser gives tests a real Chromium without a window, driven by
// chromedp.
package browser

import (
	"context"
	"os"
	"os/exec"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// T is what Start needs of testing.TB.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// life bounds a whole browser, and with it a test that hangs in one.
const life = 3 * time.Minute

// Start starts a browser with an empty profile that ends with the test. What it
// returns is a tab of it for the functions of chromedp; further tabs, with
// cookies of their own, are made by Page.
func Start(t T) context.Context {
	t.Helper()
	path := find()
	if path == "" {
		t.Fatalf("there is no Chromium: none of chromium, chromium-browser and google-chrome is in PATH; `make setup` installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		// Chromium has no sandbox for root. The pages it opens here are ours.
		options = append(options, chromedp.NoSandbox)
	}
	within, cancelLife := context.WithTimeout(context.Background(), life)
	allocator, cancelAllocator := chromedp.NewExecAllocator(within, options...)
	ctx, cancel := chromedp.NewContext(allocator)
	// It is closed, and waited for, before its profile is removed.
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAllocator()
		cancelLife()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// Page opens another tab of a browser that Start started, which shares neither
// cookies nor storage nor authenticators with the others.
func Page(t T, browser context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return ctx
}

// Authenticator gives a tab an authenticator like that of a phone or laptop,
// with a person who agrees at once and is verified, or is not.
func Authenticator(t T, page context.Context, verified bool) webauthn.AuthenticatorID {
	t.Helper()
	if _, err := chromedp.Call(page, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatalf("enabling authenticators: %v", err)
	}
	added, err := chromedp.Call(page, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: verified, AutomaticPresenceSimulation: true,
	}})
	if err != nil {
		t.Fatalf("adding an authenticator: %v", err)
	}
	return added.AuthenticatorID
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
