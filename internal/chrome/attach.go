package chrome

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp/remote"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// attach opens a tab in the user's own browser. Its other tabs, its settings
// and its downloads are left alone.
func (b *Browser) attach(ctx context.Context) error {
	if b.opts.Headed || b.opts.Replay != nil {
		return fmt.Errorf("%w: neither a window nor a recording can be had there", ErrAttach)
	}
	address, err := devtools(ctx, b.opts.Attach)
	if err != nil {
		return err
	}
	tr, err := remote.DialContext(ctx, address)
	if err != nil {
		return fmt.Errorf("%w: its DevTools do not answer", ErrAttach)
	}
	b.conn = newConn(tr)
	b.root = session{c: b.conn}
	b.tab = newTab(b)
	b.conn.serve(b.tab.event)
	made, err := cdp.Call(ctx, b.root, target.CreateTarget, target.CreateTargetParams{URL: "about:blank"})
	if err != nil {
		return fmt.Errorf("%w: it opens no tab: %w", ErrAttach, err)
	}
	b.tab.mu.Lock()
	b.tab.id = made.TargetID
	b.tab.mu.Unlock()
	if _, err := cdp.Call(ctx, b.root, target.SetDiscoverTargets, target.SetDiscoverTargetsParams{Discover: true, Filter: pages}); err != nil {
		return fmt.Errorf("%w: %w", ErrAttach, err)
	}
	if _, err := cdp.Call(ctx, b.root, target.AttachToTarget, target.AttachToTargetParams{TargetID: made.TargetID, Flatten: new(true)}); err != nil {
		return fmt.Errorf("%w: %w", ErrAttach, err)
	}
	return b.tab.ready(ctx)
}

// devtools returns the address to speak to, as a browser on this machine tells
// it.
func devtools(ctx context.Context, raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Port() == "" {
		return "", fmt.Errorf("%w: its address is like http://127.0.0.1:9222", ErrAttach)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%w: it must run on this machine, at 127.0.0.1 or ::1", ErrAttach)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.Host+"/json/version", nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAttach, err)
	}
	client := http.Client{
		Transport:     &http.Transport{Proxy: nil, DialContext: new(net.Dialer).DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: nothing answers at %s", ErrAttach, u.Host)
	}
	defer func() { _ = res.Body.Close() }()
	var version struct {
		Address string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&version); err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: what answers at %s is no browser", ErrAttach, u.Host)
	}
	ws, err := url.Parse(version.Address)
	if err != nil || ws.Scheme != "ws" || ws.Host != u.Host {
		return "", fmt.Errorf("%w: it names another address than %s", ErrAttach, u.Host)
	}
	return ws.String(), nil
}

// close closes the tab that was opened in the user's browser, and the windows
// that it had opened.
func (t *tab) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	t.mu.Lock()
	ids := []target.ID{}
	if t.id != "" {
		ids = append(ids, t.id)
	}
	for _, id := range t.popups {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	for _, id := range ids {
		_, _ = cdp.Call(ctx, t.b.root, target.CloseTarget, target.CloseTargetParams{TargetID: id})
	}
}

// ready waits until the tab is found and guarded.
func (t *tab) ready(ctx context.Context) error {
	select {
	case <-t.found:
	case <-t.b.conn.done:
		return recipe.ErrGone
	case <-ctx.Done():
		return ctx.Err()
	}
	return t.guarded(ctx)
}
