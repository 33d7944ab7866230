package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// entryOf is a catalogue entry under an owner's settings.
func entryOf(t testing.TB, name string, s catalog.Settings) *catalog.Entry {
	t.Helper()
	e, err := catalog.Lookup(serviceOf(t, name))
	if err == nil {
		e, err = e.With(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRoutesCompile(t *testing.T) {
	srv, err := testsrv.Start(testsrv.Options{Shape: testsrv.Anthropic})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	set := catalog.Settings{
		BaseURL: srv.URL(), CAPEM: string(srv.CAPEM()), AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(srv.Addr())},
	}
	lookups := 0
	table := NewRoutes(func(s agentkeys.Service) (*catalog.Entry, error) {
		lookups++
		return entryOf(t, s.String(), set), nil
	})
	r, err := table.Route(serviceOf(t, "anthropic"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Service.String() != "anthropic" || r.Base.String() != srv.URL() || r.Constant.Get("Anthropic-Version") == "" {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(r.Place, []inject.Placement{{Header: "X-Api-Key"}}) || !slices.Contains(r.StripHeaders, "X-Api-Key") {
		t.Errorf("%v, strips %v", r.Place, r.StripHeaders)
	}
	// A value of the agent's wins only where the entry says so.
	if slices.Contains(r.StripHeaders, "Anthropic-Version") {
		t.Error("the agent's own Anthropic-Version is stripped")
	}
	if len(r.Policy.Allow) == 0 || len(r.Policy.Shut) == 0 || r.Meter == nil {
		t.Errorf("policy %+v", r.Policy)
	}
	again, err := table.Route(serviceOf(t, "anthropic"))
	if err != nil || again != r || lookups != 1 {
		t.Errorf("%p, then %p, %v, after %d lookups", r, again, err, lookups)
	}

	set.BaseURL = srv.URL() + "/elsewhere"
	table.Forget(serviceOf(t, "openai"))
	if again, _ = table.Route(serviceOf(t, "anthropic")); again != r {
		t.Error("forgot another route than it was told")
	}
	table.Forget(serviceOf(t, "anthropic"))
	again, err = table.Route(serviceOf(t, "anthropic"))
	if err != nil || again.Base.String() != set.BaseURL {
		t.Errorf("%v %v", again.Base, err)
	}
	table.Close()
	if len(table.routes) != 0 {
		t.Error("routes are left after Close")
	}
}

// TestRoutesConstantHeaders: what the entry insists on is not the agent's to
// say.
func TestRoutesConstantHeaders(t *testing.T) {
	e := *entryOf(t, "anthropic", catalog.Settings{})
	e.Headers = []catalog.ConstHeader{{Name: "X-Insisted", Value: "a"}, {Name: "X-Default", Value: "b", IfAbsent: true}}
	r, err := compile(&e)
	if err != nil || !slices.Contains(r.StripHeaders, "X-Insisted") || slices.Contains(r.StripHeaders, "X-Default") {
		t.Errorf("%v %v", r, err)
	}
	e.Headers = []catalog.ConstHeader{{Name: "X-List", Value: "a", Merge: true}}
	if r, err = compile(&e); err != nil || r.Merged.Get("X-List") != "a" || len(r.Constant) != 0 || slices.Contains(r.StripHeaders, "X-List") {
		t.Errorf("%v %v", r, err)
	}
	e.Headers = []catalog.ConstHeader{{Name: "X-Bad", Value: "a\r\nX-Smuggled: b"}}
	if _, err := compile(&e); !errors.Is(err, inject.ErrRoute) {
		t.Errorf("a line break in a header: %v", err)
	}
	e.Headers, e.Owner.CAPEM = nil, "not PEM"
	if _, err := compile(&e); err == nil {
		t.Error("a CA file without a certificate")
	}
	e.Owner.CAPEM, e.Usage.Pricing = "", catalog.PricingUnknown
	if r, err := compile(&e); err != nil || r.Meter != nil {
		t.Errorf("a meter for unknown prices: %v", err)
	}
}

// TestRoutesErrors: what does not compile is not kept, so that mending it
// needs no restart.
func TestRoutesErrors(t *testing.T) {
	broken := errors.New("broken settings")
	var answer error
	table := NewRoutes(func(agentkeys.Service) (*catalog.Entry, error) {
		if answer != nil {
			return nil, answer
		}
		return entryOf(t, "openai", catalog.Settings{}), nil
	})
	answer = fmt.Errorf("%w: nothing like it", catalog.ErrUnknown)
	if _, err := table.Route(serviceOf(t, "openai")); !errors.Is(err, inject.ErrUnknownService) || !errors.Is(err, catalog.ErrUnknown) {
		t.Error(err)
	}
	answer = broken
	if _, err := table.Route(serviceOf(t, "openai")); !errors.Is(err, broken) || errors.Is(err, inject.ErrUnknownService) {
		t.Error(err)
	}
	answer = nil
	if _, err := table.Route(serviceOf(t, "openai")); err != nil {
		t.Error(err)
	}
}

// TestRoutesForgetWhileCompiling: settings that change while a route is being
// compiled are not lost: the route of the old ones must not stay.
func TestRoutesForgetWhileCompiling(t *testing.T) {
	svc := serviceOf(t, "openai")
	var table *Routes
	var set catalog.Settings
	changed := false
	table = NewRoutes(func(agentkeys.Service) (*catalog.Entry, error) {
		e := entryOf(t, "openai", set)
		if !changed {
			changed = true
			set.BaseURL = "https://models.example/v1"
			table.Forget(svc)
		}
		return e, nil
	})
	if _, err := table.Route(svc); err != nil {
		t.Fatal(err)
	}
	r, err := table.Route(svc)
	if err != nil || r.Base.String() != set.BaseURL {
		t.Errorf("%v, %v", r.Base, err)
	}
}

func TestRoutesConcurrently(t *testing.T) {
	svc := serviceOf(t, "openai")
	e := entryOf(t, "openai", catalog.Settings{})
	table := NewRoutes(func(agentkeys.Service) (*catalog.Entry, error) { return e, nil })
	var wg sync.WaitGroup
	got := make([]*inject.Route, 16)
	for i := range got {
		wg.Go(func() { got[i], _ = table.Route(svc) })
	}
	wg.Wait()
	for _, r := range got {
		if r == nil || r != got[0] {
			t.Fatal("several routes for one service at a time")
		}
	}
}

func TestMeter(t *testing.T) {
	priced := func(text string) catalog.Settings {
		p, err := catalog.ParsePrice(text)
		if err != nil {
			t.Fatal(err)
		}
		return catalog.Settings{Prices: map[string]catalog.Price{"claude-*": p}}
	}
	for _, c := range []struct {
		name, service string
		set           catalog.Settings
		docs          []string
		cost          string
		known         bool
	}{
		{"nothing fed", "openrouter", catalog.Settings{}, nil, "$0.00", false},
		{"no usage in it", "openrouter", catalog.Settings{}, []string{`{"choices":[]}`, `not JSON`}, "$0.00", false},
		{"reported", "openrouter", catalog.Settings{}, []string{`{"usage":{"cost":0.000125,"prompt_tokens":5}}`}, "$0.000125", true},
		{"the last event counts", "openrouter", catalog.Settings{}, []string{`{"usage":{"cost":0.1}}`, `{"usage":{"cost":0.25}}`}, "$0.25", true},
		{"tokens without prices", "anthropic", catalog.Settings{}, []string{`{"model":"claude-x","usage":{"input_tokens":10,"output_tokens":20}}`}, "$0.00", false},
		{"tokens with prices", "anthropic", priced("3/15"), []string{`{"model":"claude-x","usage":{"input_tokens":1000,"output_tokens":2000}}`}, "$0.033", true},
		{"another model", "anthropic", priced("3/15"), []string{`{"model":"other","usage":{"input_tokens":1000,"output_tokens":2000}}`}, "$0.00", false},
		{"events are merged", "anthropic", priced("3/15"), []string{
			`{"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":1000,"output_tokens":1}}}`,
			`{"type":"message_delta","usage":{"output_tokens":2000}}`,
		}, "$0.033", true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			m := &meter{entry: entryOf(t, c.service, c.set)}
			for _, d := range c.docs {
				m.Feed([]byte(d))
			}
			cost, known := m.Result()
			if cost.String() != c.cost || known != c.known {
				t.Errorf("%v %v", cost, known)
			}
		})
	}
}
