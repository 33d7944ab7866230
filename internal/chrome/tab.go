package chrome

import (
	"context"
	_ "embed"
	"encoding/json"
	"slices"
	"sync"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	jsonv2 "github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/cdproto/webauthn"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// script is what Look and Do run in each frame, in the world that is named so.
//
//go:embed script.js
var script string

// blanker is what Shot runs in each frame, after script.
//
//go:embed shot.js
var blanker string

const world = "agentkeys"

// tab is the one tab, with its frames, and the new windows until they are
// closed. It implements recipe.Page.
type tab struct {
	b     *Browser
	found chan struct{} // closed when the first page is attached to

	mu      sync.Mutex
	id      target.ID
	main    session
	popups  map[target.SessionID]target.ID
	frames  map[cdp.FrameID]*frame
	loading bool
	gone    bool
	blocked error        // for the next call
	check   string       // the bot check that an answer said it is
	checkOf cdp.LoaderID // its document
}

// frame is a frame that is there. Its document lives in a process, and with it
// the session that reaches it.
type frame struct {
	id, parent cdp.FrameID
	children   []cdp.FrameID // in the order in which they came
	s          session
	url        string
	loader     cdp.LoaderID // of its document
	origin     string       // of its document, once it was looked at
	world      string       // the unique name of our world in its document; "": none yet
	context    runtime.ExecutionContextID
	owner      runtime.RemoteObjectID // its element, in the world of its parent
	ownerWorld string                 // of the parent, that owner is of
}

func newTab(b *Browser) *tab {
	return &tab{b: b, found: make(chan struct{}), popups: map[target.SessionID]target.ID{}, frames: map[cdp.FrameID]*frame{}}
}

// keeper keeps new windows from opening in a browser that we did not start.
//
//go:embed attach.js
var keeper string

// pages is the filter for new windows, inner that for frames with a process of
// their own.
var (
	pages = target.Filter{{Type: "page"}}
	inner = target.Filter{{Type: "iframe"}}
)

// open opens the tab, in a context that is not the profile's: its cookies and
// what it visits stay in memory.
func (t *tab) open(ctx context.Context) error {
	made, err := cdp.Call(ctx, t.b.root, target.CreateBrowserContext, target.CreateBrowserContextParams{})
	if err != nil {
		return err
	}
	if _, err := cdp.Call(ctx, t.b.root, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorDeny, EventsEnabled: new(true), BrowserContextID: made.BrowserContextID,
	}); err != nil {
		return err
	}
	page, err := cdp.Call(ctx, t.b.root, target.CreateTarget, target.CreateTargetParams{URL: "about:blank", BrowserContextID: made.BrowserContextID, NewWindow: new(true)})
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.id = page.TargetID
	t.mu.Unlock()
	if _, err := cdp.Call(ctx, t.b.root, target.SetAutoAttach, target.SetAutoAttachParams{
		AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true), Filter: pages,
	}); err != nil {
		return err
	}
	return t.ready(ctx)
}

// guarded waits until the browser has done what prepare said.
func (t *tab) guarded(ctx context.Context) error {
	// Everything that guards the tab was sent before; its answers come first.
	if _, err := cdp.Call(ctx, t.main, page.GetFrameTree, cdp.Empty{}); err != nil {
		return err
	}
	return t.b.conn.settle(ctx)
}

// prepare guards a session before its first request, and lets it go.
func (t *tab) prepare(s session) {
	s.tell(page.Enable.Method, page.EnableParams{})
	s.tell(fetch.Enable.Method, fetch.EnableParams{Patterns: t.patterns(), HandleAuthRequests: new(t.b.proxy != nil)})
	s.tell(network.Enable.Method, network.EnableParams{})
	s.tell(network.SetBypassServiceWorker.Method, network.SetBypassServiceWorkerParams{Bypass: true})
	s.tell(page.SetInterceptFileChooserDialog.Method, page.SetInterceptFileChooserDialogParams{Enabled: true})
	source := script + blanker
	if t.b.process == nil {
		source += keeper
		s.tell(page.AddScriptToEvaluateOnNewDocument.Method, page.AddScriptToEvaluateOnNewDocumentParams{Source: keeper})
	}
	s.tell(page.AddScriptToEvaluateOnNewDocument.Method, page.AddScriptToEvaluateOnNewDocumentParams{Source: source, WorldName: world, RunImmediately: new(true)})
	// Passkeys are of no device that is here. The browser would ask a person for
	// one by a window, which takes the keyboard.
	s.tell(webauthn.Enable.Method, webauthn.EnableParams{EnableUI: new(false)})
	s.tell(runtime.Enable.Method, cdp.Empty{})
	s.tell(dom.Enable.Method, dom.EnableParams{})
	// Kept, the tree makes each computed name cheap.
	s.tell(accessibility.Enable.Method, cdp.Empty{})
	s.tell(inspector.Enable.Method, cdp.Empty{})
	s.tell(target.SetAutoAttach.Method, target.SetAutoAttachParams{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true), Filter: inner})
	s.tell(runtime.RunIfWaitingForDebugger.Method, cdp.Empty{})
}

// event handles what the browser tells.
func (t *tab) event(s session, method string, params jsonv2.Value) {
	switch method {
	case "Target.attachedToTarget":
		if e, ok := decode[target.EventAttachedToTarget](params); ok && e.TargetInfo != nil {
			t.attached(s, session{c: s.c, id: e.SessionID}, e.TargetInfo)
		}
	case "Target.targetCreated":
		if e, ok := decode[target.EventTargetCreated](params); ok && e.TargetInfo != nil && t.b.process == nil {
			t.strayed(e.TargetInfo)
		}
	case "Target.detachedFromTarget":
		if e, ok := decode[target.EventDetachedFromTarget](params); ok {
			t.mu.Lock()
			delete(t.popups, e.SessionID)
			if e.SessionID == t.main.id {
				t.gone = true
			}
			t.mu.Unlock()
		}
	case "Inspector.targetCrashed":
		t.mu.Lock()
		if s.id == t.main.id {
			t.gone = true
		}
		t.mu.Unlock()
	case "Fetch.requestPaused":
		if e, ok := decode[fetch.EventRequestPaused](params); ok {
			t.paused(s, e)
		}
	case "Fetch.authRequired":
		if e, ok := decode[fetch.EventAuthRequired](params); ok {
			t.challenged(s, e)
		}
	case "Network.responseReceived":
		if e, ok := decode[network.EventResponseReceived](params); ok && e.Type == network.ResourceTypeDocument && e.Response != nil {
			t.said(e)
			t.came(s, e)
		}
	case "Browser.downloadWillBegin":
		t.block(recipe.ErrBlocked)
	case "Page.javascriptDialogOpening":
		if e, ok := decode[page.EventJavascriptDialogOpening](params); ok {
			// No to whatever is asked, but a page may be left.
			s.tell(page.HandleJavaScriptDialog.Method, page.HandleJavaScriptDialogParams{Accept: e.Type == page.DialogTypeBeforeunload})
		}
	default:
		t.framed(s, method, params)
	}
}

// attached takes a new target: the tab, a window that a page opened, or a frame.
func (t *tab) attached(from, s session, info *target.Info) {
	switch {
	case info.Type == "iframe":
		t.mu.Lock()
		_, popup := t.popups[from.id]
		if f := t.frames[cdp.FrameID(info.TargetID)]; f != nil && !popup {
			f.s, f.world, f.owner = s, "", ""
		}
		t.mu.Unlock()
		t.prepare(s)
	case info.Type != "page":
		s.tell(runtime.RunIfWaitingForDebugger.Method, cdp.Empty{})
	default:
		t.mu.Lock()
		first := t.main.c == nil && t.id == info.TargetID
		if first {
			t.id, t.main = info.TargetID, s
			t.frames[cdp.FrameID(info.TargetID)] = &frame{id: cdp.FrameID(info.TargetID), s: s, url: "about:blank"}
		} else {
			t.popups[s.id] = info.TargetID
		}
		t.mu.Unlock()
		if first {
			t.prepare(s)
			close(t.found)
			return
		}
		t.opened(s)
	}
}

// framed keeps the frames of the tab.
func (t *tab) framed(s session, method string, params jsonv2.Value) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, popup := t.popups[s.id]; popup {
		return
	}
	switch method {
	case "Page.frameAttached":
		if e, ok := decode[page.EventFrameAttached](params); ok && t.frames[e.FrameID] == nil {
			t.frames[e.FrameID] = &frame{id: e.FrameID, parent: e.ParentFrameID, s: s, url: "about:blank"}
			if p := t.frames[e.ParentFrameID]; p != nil {
				p.children = append(p.children, e.FrameID)
			}
		}
	case "Page.frameDetached":
		if e, ok := decode[page.EventFrameDetached](params); ok && e.Reason != page.FrameDetachedReasonSwap {
			t.drop(e.FrameID)
		}
	case "Page.frameNavigated":
		if e, ok := decode[page.EventFrameNavigated](params); ok && e.Frame != nil {
			t.navigated(s, e.Frame)
		}
	case "Page.navigatedWithinDocument":
		if e, ok := decode[page.EventNavigatedWithinDocument](params); ok {
			if f := t.frames[e.FrameID]; f != nil {
				f.url = e.URL
			}
		}
	case "Page.frameStartedNavigating":
		if e, ok := decode[page.EventFrameStartedNavigating](params); ok && e.FrameID == cdp.FrameID(t.id) {
			switch e.NavigationType {
			case page.FrameStartedNavigatingNavigationTypeSameDocument, page.FrameStartedNavigatingNavigationTypeHistorySameDocument:
			default:
				t.loading = true
			}
		}
	case "Page.frameStoppedLoading":
		if e, ok := decode[page.EventFrameStoppedLoading](params); ok && e.FrameID == cdp.FrameID(t.id) {
			t.loading = false
		}
	case "Runtime.executionContextCreated":
		if e, ok := decode[runtime.EventExecutionContextCreated](params); ok && e.Context != nil && e.Context.Name == world {
			var aux struct {
				FrameID cdp.FrameID `json:"frameId"`
			}
			if json.Unmarshal(e.Context.AuxData, &aux) == nil {
				if f := t.frames[aux.FrameID]; f != nil {
					f.s, f.world, f.context, f.owner, f.origin = s, e.Context.UniqueID, e.Context.ID, "", ""
				}
			}
		}
	case "Runtime.executionContextDestroyed":
		if e, ok := decode[runtime.EventExecutionContextDestroyed](params); ok {
			for _, f := range t.frames {
				if f.world == e.ExecutionContextUniqueID {
					f.world = ""
				}
			}
		}
	case "Runtime.executionContextsCleared":
		for _, f := range t.frames {
			if f.s.id == s.id {
				f.world = ""
			}
		}
	}
}

// navigated notes a frame's new document.
func (t *tab) navigated(s session, e *cdp.Frame) {
	f := t.frames[e.ID]
	if f == nil {
		f = &frame{id: e.ID, parent: e.ParentID, s: s}
		t.frames[e.ID] = f
		if p := t.frames[e.ParentID]; p != nil {
			p.children = append(p.children, e.ID)
		}
	}
	f.url, f.loader = e.URL, e.LoaderID
	if e.UnreachableURL != "" {
		f.url = e.UnreachableURL
	}
	for _, c := range slices.Clone(f.children) {
		t.drop(c)
	}
	if e.ID == cdp.FrameID(t.id) {
		t.loading = false
		t.arrived(f)
	}
}

// drop forgets a frame and what is in it.
func (t *tab) drop(id cdp.FrameID) {
	f := t.frames[id]
	if f == nil {
		return
	}
	for _, c := range slices.Clone(f.children) {
		t.drop(c)
	}
	if p := t.frames[f.parent]; p != nil {
		p.children = slices.DeleteFunc(p.children, func(c cdp.FrameID) bool { return c == id })
	}
	delete(t.frames, id)
}

// block has the next call say why the page was stopped.
func (t *tab) block(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop(why)
}

// stop is block for who holds the lock.
func (t *tab) stop(why error) {
	t.loading = false
	if t.blocked == nil {
		t.blocked = why
	}
}

// state returns what the next call must say, once.
func (t *tab) state(ctx context.Context) error {
	if err := t.b.conn.settle(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return recipe.ErrGone
	}
	err := t.blocked
	t.blocked = nil
	return err
}
