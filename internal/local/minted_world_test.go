package local

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// upstream is OpenRouter: its management API, and the API on which its keys
// work.
type upstream struct {
	*manage.Server
	chat *testsrv.Server
	gate chan struct{} // streams wait for it at their second piece
}

func newUpstream(t *testing.T, o manage.Options) *upstream {
	t.Helper()
	o.Shape = "openrouter"
	api, err := manage.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	gate := make(chan struct{})
	chat, err := testsrv.Start(testsrv.Options{
		Gate: func(ctx context.Context, k int) error {
			if k == 1 {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return ctx.Err()
		},
		Shape: testsrv.OpenRouter, Keyring: api.Keyring, Charge: api.Charge, Keys: map[string]string{"imported": routerKey(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chat.Close() })
	return &upstream{api, chat, gate}
}

// reachMint has OpenRouter and its management API reached at u.
func (w *world) reachMint(u *upstream) {
	w.t.Helper()
	base, api := u.chat.BaseURL(), u.BaseURL()
	ca := string(u.CAPEM()) + string(u.chat.CAPEM())
	_, err := w.SetService(w.t.Context(), serviceOf(w.t, "openrouter"), ServiceChange{
		BaseURL: &base, CAPEM: &ca, MintURL: &api, Force: true,
		AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(u.Addr()), netip.MustParseAddrPort(u.chat.Addr())},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// manages stores u's management key.
func (w *world) manages(u *upstream) {
	w.t.Helper()
	if _, err := w.StoreManagement(w.t.Context(), serviceOf(w.t, "openrouter"), secret.FromString(u.Management()), false); err != nil {
		w.t.Fatal(err)
	}
}

// mintWorld has a management key and an agent, and no other key.
func mintWorld(t *testing.T, o manage.Options) (*world, *upstream) {
	t.Helper()
	u, w := newUpstream(t, o), newWorld(t)
	w.reachMint(u)
	w.manages(u)
	w.agent("coder")
	return w, u
}

// says has an agent ask the model something.
func (w *world) says(label string) (status int, body string) {
	w.t.Helper()
	s, err := w.StartSession(w.t.Context(), agentOf(w.t, label), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return saysWith(w.t.Context(), w.Host, s.Token)
}

func saysWith(ctx context.Context, h *Host, token string) (status int, body string) {
	resp, err := ask(ctx, h, token, `{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func ask(ctx context.Context, h *Host, token, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+h.addr.String()+"/openrouter/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer sk-or-v1-"+book.TokenMark+token)
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultTransport.RoundTrip(req)
}

// usedKey is the label of the key that was used last.
func (u *upstream) usedKey() string {
	all := u.chat.Requests()
	return all[len(all)-1].Key
}

// due has what is put off done now.
func (w *world) due() {
	w.t.Helper()
	for _, k := range w.minted.where(func(MintedKey) bool { return true }) {
		_ = w.minted.update(k.Name, func(k *MintedKey) { k.Next, k.NotBefore = time.Time{}, time.Time{} })
	}
	w.minted.mu.Lock()
	w.minted.looked, w.minted.later = time.Time{}, map[string]time.Time{}
	w.minted.mu.Unlock()
	w.reap(w.t.Context())
}

func (w *world) mintedKeys() []MintedKey {
	w.t.Helper()
	all, err := w.Minted(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) revoke(label string) error {
	return w.Revoke(w.t.Context(), agentOf(w.t, label), serviceOf(w.t, "openrouter"))
}

func usd(n int64, per grant.Window) *grant.Budget {
	return &grant.Budget{Limit: grant.Money(n) * grant.USD, Per: per}
}

// ids are the ids of the keys that are good at the service, in order.
func (u *upstream) ids() []string {
	var out []string
	for _, k := range u.Live() {
		out = append(out, k.ID)
	}
	slices.Sort(out)
	return out
}
