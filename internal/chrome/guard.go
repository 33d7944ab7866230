package chrome

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// patterns says which requests wait for the guard: documents, in each hop of a
// redirect. Sub-resources go by the proxy alone, unless they are recorded or
// replayed.
func (t *tab) patterns() []*fetch.RequestPattern {
	switch {
	case t.b.opts.Replay != nil:
		return []*fetch.RequestPattern{{URLPattern: "*"}}
	case t.b.opts.Record != nil:
		return []*fetch.RequestPattern{{URLPattern: "*"}, {URLPattern: "*", RequestStage: fetch.RequestStageResponse}}
	}
	return []*fetch.RequestPattern{{URLPattern: "*", ResourceType: network.ResourceTypeDocument}}
}

// allowed says whether the tab itself may visit a URL.
func (b *Browser) allowed(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" || u.Opaque != "" || u.User != nil:
		return recipe.ErrBlocked
	case u.Port() != "" && u.Port() != "443" || !b.listed(u.Hostname()):
		return recipe.ErrOffHost
	}
	return nil
}

// paused judges a request for a document before it is sent.
func (t *tab) paused(s session, e fetch.EventRequestPaused) {
	if e.Request == nil {
		return
	}
	if e.ResponseStatusCode != 0 || e.ResponseErrorReason != "" {
		answered(s, t.b.opts.Record, e)
		return
	}
	document := e.ResourceType == network.ResourceTypeDocument
	t.mu.Lock()
	top := document && e.FrameID == cdp.FrameID(t.id)
	popup, isPopup := t.popups[s.id]
	t.mu.Unlock()
	if isPopup {
		s.tell(fetch.FailRequest.Method, fetch.FailRequestParams{RequestID: e.RequestID, ErrorReason: network.ErrorReasonAborted})
		t.follow(popup, e.Request, document)
		return
	}
	var why error
	switch {
	case top:
		why = t.b.allowed(e.Request.URL)
	case document:
		why = t.framable(e.Request)
	}
	switch {
	case why != nil:
	case t.b.opts.Replay != nil:
		replay(s, t.b.opts.Replay, e)
		return
	default:
		if t.b.opts.Record != nil {
			begin(t.b.opts.Record, e)
		}
		s.tell(fetch.ContinueRequest.Method, fetch.ContinueRequestParams{RequestID: e.RequestID})
		return
	}
	// Aborted leaves the document that is there, as if nothing had been asked.
	s.tell(fetch.FailRequest.Method, fetch.FailRequestParams{RequestID: e.RequestID, ErrorReason: network.ErrorReasonAborted})
	t.b.log.Warn("stopped a document", "host", host(e.Request.URL), "top", top)
	t.block(why)
}

// framable says whether a frame may show a document. Bot checks and payment
// forms come from elsewhere; but nothing is sent there in a form, unless by a
// document of that very host.
func (t *tab) framable(r *network.Request) error {
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "https" {
		return recipe.ErrBlocked
	}
	if r.Method == "GET" || t.b.listed(u.Hostname()) {
		return nil
	}
	for name, v := range r.Headers {
		if origin, ok := v.(string); ok && strings.EqualFold(name, "Origin") && host(origin) == u.Hostname() {
			return nil
		}
	}
	return recipe.ErrOffHost
}

// challenged answers our proxy, and nobody else.
func (t *tab) challenged(s session, e fetch.EventAuthRequired) {
	answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
	if c := e.AuthChallenge; c != nil && c.Source == fetch.AuthChallengeSourceProxy && t.b.proxy != nil && strings.HasSuffix(c.Origin, "//"+t.b.proxy.address()) {
		answer = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: proxyUser, Password: t.b.proxy.secret}
	}
	s.tell(fetch.ContinueWithAuth.Method, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: answer})
}

// opened guards a window that a page opened, before its first request. Windows
// are closed; where one was to show a listed host, the tab goes there instead.
func (t *tab) opened(s session) {
	s.tell(page.Enable.Method, page.EnableParams{})
	s.tell(fetch.Enable.Method, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: "*"}}, HandleAuthRequests: new(t.b.proxy != nil)})
	s.tell(network.Enable.Method, network.EnableParams{})
	s.tell(network.SetBypassServiceWorker.Method, network.SetBypassServiceWorkerParams{Bypass: true})
	s.tell(runtime.RunIfWaitingForDebugger.Method, cdp.Empty{})
	// One that its opener fills by itself asks for no document.
	time.AfterFunc(windowTime, func() {
		t.mu.Lock()
		id, open := t.popups[s.id]
		t.mu.Unlock()
		if open {
			t.b.root.tell(target.CloseTarget.Method, target.CloseTargetParams{TargetID: id})
			t.block(recipe.ErrBlocked)
		}
	})
}

// strayed closes a window that our tab opened in a browser that we did not
// start, past what keeps it from that.
func (t *tab) strayed(info *target.Info) {
	t.mu.Lock()
	ours := info.OpenerID != "" && info.OpenerID == t.id
	t.mu.Unlock()
	if ours {
		t.b.root.tell(target.CloseTarget.Method, target.CloseTargetParams{TargetID: info.TargetID})
		t.block(recipe.ErrBlocked)
	}
}

// windowTime is how long a new window may stay without asking for a document.
const windowTime = 3 * time.Second

// follow closes a window, and has the tab go where it was led.
func (t *tab) follow(popup target.ID, r *network.Request, document bool) {
	t.b.root.tell(target.CloseTarget.Method, target.CloseTargetParams{TargetID: popup})
	why := t.b.allowed(r.URL)
	if !document || why == nil && r.Method != "GET" {
		why = recipe.ErrBlocked
	}
	if why != nil {
		t.b.log.Warn("closed a window", "host", host(r.URL))
		t.block(why)
		return
	}
	t.mu.Lock()
	t.loading = true
	main := t.main
	t.mu.Unlock()
	main.tell(page.Navigate.Method, page.NavigateParams{URL: r.URL + r.URLFragment})
}

// arrived is the second guard, for what no request is made for: the tab shows
// a document whose address it must not have. The caller holds the lock.
func (t *tab) arrived(f *frame) {
	if f.url == "about:blank" || f.url == "" {
		return
	}
	if why := t.b.allowed(f.url); why != nil {
		t.stop(why)
		t.main.tell(page.Navigate.Method, page.NavigateParams{URL: "about:blank"})
	}
}

// said notes that the answer for the tab's document is a bot check.
func (t *tab) said(e network.EventResponseReceived) {
	name, ok := recipe.BotCheckSaid(func(name string) string {
		for n, v := range e.Response.Headers {
			if value, ok := v.(string); ok && strings.EqualFold(n, name) {
				return value
			}
		}
		return ""
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if ok && e.FrameID == cdp.FrameID(t.id) {
		t.check, t.checkOf = name, e.LoaderID
	}
}

// came is the guard for a browser that was attached to where a stand-in is: it
// alone may have answered. Our proxy sees to that elsewhere, and is not in that
// browser's way.
func (t *tab) came(s session, e network.EventResponseReceived) {
	site := t.b.opts.Site
	if t.b.process != nil || !site.IsValid() {
		return
	}
	from, err := netip.ParseAddr(strings.Trim(e.Response.RemoteIPAddress, "[]"))
	if err == nil && netip.AddrPortFrom(from, uint16(e.Response.RemotePort)) == site {
		return
	}
	t.b.log.Warn("not the stand-in", "host", host(e.Response.URL))
	t.block(recipe.ErrOffHost)
	s.tell(page.Navigate.Method, page.NavigateParams{URL: "about:blank"})
}

// host returns the host of a URL, which is all of it that may be told.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
