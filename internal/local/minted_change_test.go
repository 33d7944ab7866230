package local

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// projectWorld has a management key for one project of OpenAI, and an agent
// that is lent a key of it.
func projectWorld(t *testing.T) (*world, *manage.Server) {
	t.Helper()
	api, err := manage.Start(manage.Options{Shape: "openai"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	w, vendor := newWorld(t), newService(t)
	w.reach("openai", vendor, "/v1")
	e, err := w.cat.entry(serviceOf(t, "openai"))
	if err != nil {
		t.Fatal(err)
	}
	at, ca := api.BaseURL(), e.Owner.CAPEM+string(api.CAPEM())
	change := ServiceChange{
		CAPEM: &ca, MintURL: &at, MintParameters: map[string]string{"project": manage.Scope}, Force: true,
		AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(api.Addr())},
	}
	if _, err := w.SetService(t.Context(), serviceOf(t, "openai"), change); err != nil {
		t.Fatal(err)
	}
	if _, err := w.StoreManagement(t.Context(), serviceOf(t, "openai"), secret.FromString(api.Management()), false); err != nil {
		t.Fatal(err)
	}
	w.agent("coder")
	w.lend("coder", "openai", book.Terms{})
	return w, api
}

// TestMintedPlace: of a key that was made in another project, this project says
// that there is none. It is not taken for deleted, and nobody changes the
// project unasked while it is alive.
func TestMintedPlace(t *testing.T) {
	w, api := projectWorld(t)
	ctx, svc := t.Context(), serviceOf(t, "openai")
	other := ServiceChange{MintParameters: map[string]string{"project": "scope-2"}}
	if _, err := w.SetService(ctx, svc, other); !errors.Is(err, ErrKeysAlive) {
		t.Errorf("another project: %v", err)
	}
	other.Force = true
	if _, err := w.SetService(ctx, svc, other); err != nil {
		t.Fatal(err)
	}
	if err := w.Revoke(ctx, agentOf(t, "coder"), svc); err != nil {
		t.Fatal(err)
	}
	w.due()
	if left := w.mintedKeys(); len(left) != 1 || left[0].Error == "" || len(api.Live()) != 1 {
		t.Fatalf("%+v, %d alive", left, len(api.Live()))
	}
	other.MintParameters["project"] = manage.Scope
	if _, err := w.SetService(ctx, svc, other); err != nil {
		t.Fatal(err)
	}
	if w.due(); len(w.mintedKeys()) != 0 || len(api.Live()) != 0 {
		t.Errorf("%+v, %d alive", w.mintedKeys(), len(api.Live()))
	}
}

// TestMintedFederation: where tokens are exchanged no made key stays alive or is
// sealed; afterwards each grant has one of its own again, and none the master's.
func TestMintedFederation(t *testing.T) {
	w, api := projectWorld(t)
	ctx, svc := t.Context(), serviceOf(t, "openai")
	a, _ := w.Host.dir.Agent(agentOf(t, "coder"))
	if _, err := w.Store(ctx, svc, secret.FromString("sk-obviously-fake-key"), StoreOptions{AnyForm: true, NoVerify: true}); err != nil {
		t.Fatal(err)
	}
	e, err := w.cat.entry(svc)
	if err != nil {
		t.Fatal(err)
	}
	under, err := w.makeKey(ctx, e, a.Label, mint.Want{})
	if err != nil {
		t.Fatal(err)
	}
	w.federationOf("openai", &catalog.Exchange{Audience: "https://a.example", Parameters: map[string]string{
		"identity_provider_id": "i", "service_account_id": "s",
	}})
	w.change.Lock()
	err = w.followFederation(ctx, svc, true)
	w.change.Unlock()
	under.done()
	if err != nil {
		t.Fatal(err)
	}
	// Keys under way when it was set.
	g := w.Host.dir.Grant(a.Label, svc)
	if turn, err := w.turnGrant(ctx, e, g); err != nil || turn.ID != "" {
		t.Errorf("%+v %v", turn, err)
	}
	w.reap(ctx)
	w.due()
	if has, err := w.hasCopy(ctx, a.Wallet, svc); err != nil || has || len(api.Live()) != 0 || len(w.mintedKeys()) != 0 {
		t.Errorf("a copy: %t %v; %d alive, %+v", has, err, len(api.Live()), w.mintedKeys())
	}
	if _, err := w.SetFederation(ctx, svc, nil, false); err != nil {
		t.Fatal(err)
	}
	if live := api.Live(); len(live) != 1 || w.copyOf(a.Wallet, "openai") == "sk-obviously-fake-key" || w.grantInfo(g).Minted == nil {
		t.Errorf("%+v, %+v", live, w.grantInfo(g).Minted)
	}
}

// TestMintedTogether: of two keys made for one grant at once the one that is
// sealed last stays, whichever was made first.
func TestMintedTogether(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	ctx, svc := t.Context(), serviceOf(t, "openrouter")
	e, err := w.cat.entry(svc)
	if err != nil {
		t.Fatal(err)
	}
	g := w.lend("coder", "openrouter", book.Terms{})
	a, _ := w.Host.dir.Agent(g.Agent)
	n, err := w.makeKey(ctx, e, a.Label, mint.Want{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.RotateKey(ctx, svc); err != nil {
		t.Fatal(err)
	}
	if w.store("openrouter", routerKey(1)); w.isMinted(ctx, w.Host.dir.Grant(a.Label, svc)) == false {
		t.Error("its key is taken for a copy")
	}
	if err := w.seal(ctx, a, svc, n.rec); err != nil {
		t.Fatal(err)
	}
	n.settle(g.ID)
	n.done()
	w.reap(ctx)
	w.due()
	if live := u.Live(); len(live) != 1 || live[0].Name != n.name {
		t.Errorf("%+v, and sealed is %s", live, n.name)
	}
}

// TestMintedUnsettled: a key that nobody uses does not keep a copy from being
// renewed.
func TestMintedUnsettled(t *testing.T) {
	w, _ := mintWorld(t, manage.Options{})
	ctx, svc := t.Context(), serviceOf(t, "openrouter")
	w.store("openrouter", routerKey(1))
	if err := w.RemoveManagement(ctx, svc, true); err != nil {
		t.Fatal(err)
	}
	g := w.lend("coder", "openrouter", book.Terms{})
	if err := w.minted.put(MintedKey{Name: "agentkeys-coder-1", ID: "x", Service: svc, Agent: g.Agent, State: MintedLive, Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w.minted.hold("agentkeys-coder-1")
	if res := w.store("openrouter", routerKey(1)); len(res.Agents) != 1 {
		t.Errorf("renewed for %v", res.Agents)
	}
	if w.isMinted(ctx, w.Host.dir.Grant(g.Agent, svc)) {
		t.Error("a copy is taken for a key of its own")
	}
}

// TestMintedClock: what a clock that was ahead has put off is due when it is set
// back.
func TestMintedClock(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	w.lend("coder", "openrouter", book.Terms{})
	k := w.mintedKeys()[0]
	year := time.Now().AddDate(1, 0, 0)
	w.dirWithout(t, k.Agent)
	if err := w.minted.update(k.Name, func(k *MintedKey) { k.State, k.NotBefore, k.Next = MintedDeleting, year, year }); err != nil {
		t.Fatal(err)
	}
	if w.reap(t.Context()); len(u.Live()) != 0 {
		t.Error("it waits for a year")
	}
	now := time.Now()
	for put, want := range map[time.Duration]bool{-time.Second: false, time.Minute: true, time.Hour: true, 2 * time.Hour: false} {
		if ahead(now, now.Add(put), time.Hour) != want {
			t.Errorf("%s", put)
		}
	}
}

// TestMintedNameless: a management key of another account does not make a key be
// forgotten of which only the name is known.
func TestMintedNameless(t *testing.T) {
	w, u := mintWorld(t, manage.Options{})
	ctx, svc := t.Context(), serviceOf(t, "openrouter")
	store := func(force bool) error {
		_, err := w.StoreManagement(ctx, svc, secret.FromString(u.Management()), force)
		return err
	}
	e, err := w.cat.entry(svc)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.makeKey(ctx, e, agentOf(t, "coder"), mint.Want{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.done()
	k, _ := w.minted.get(n.name)
	lose := func(name string) {
		t.Helper()
		k.Name, k.ID, k.State = name, "", MintedMaking
		if err := errors.Join(w.minted.drop(n.name), w.minted.put(k)); err != nil {
			t.Fatal(err)
		}
	}
	lose("agentkeys-coder-elsewhere")
	w.minted.hold("agentkeys-coder-elsewhere")
	if err := store(false); !errors.Is(err, ErrOtherAccount) {
		t.Errorf("of another account: %v", err)
	}
	if err := store(true); err != nil {
		t.Errorf("with consent: %v", err)
	}
	if err := w.minted.drop("agentkeys-coder-elsewhere"); err != nil {
		t.Fatal(err)
	}
	lose(n.name)
	if err := store(false); err != nil {
		t.Errorf("of the same account: %v", err)
	}
}

// TestMintedUnknown: a key of which nothing can be read is not forgotten.
func TestMintedUnknown(t *testing.T) {
	w, _ := mintWorld(t, manage.Options{})
	w.lend("coder", "openrouter", book.Terms{})
	name := w.mintedKeys()[0].Name
	path := filepath.Join(w.paths.Minted(), name+".json")
	for _, text := range []string{"", "{", "{}", `{"name":"another","service":"openrouter","state":"live"}`} {
		w.close()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.reap(t.Context())
		all := w.mintedKeys()
		if len(all) != 1 || all[0].Name != name || all[0].State != MintedUnknown || !strings.Contains(all[0].Error, path) {
			t.Errorf("%q: %+v", text, all)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("%q became %q, %v", text, left, err)
		}
		back, err := json.Marshal(all)
		if err == nil {
			err = json.Unmarshal(back, &all)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func (w *world) dirWithout(t *testing.T, label agentkeys.Agent) {
	t.Helper()
	if _, err := w.Host.dir.RemoveGrant(t.Context(), label, serviceOf(t, "openrouter"), time.Now()); err != nil {
		t.Fatal(err)
	}
}
