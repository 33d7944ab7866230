package local

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/secret"
)

// TestEnv: an agent's environment has a placeholder and an address for each
// service that it is lent, and takes away whatever holds a key for another.
func TestEnv(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	w.store("openrouter", routerKey(1))
	for _, name := range []string{"anthropic", "groq"} {
		if _, err := w.Store(t.Context(), serviceOf(t, name), secret.FromString("a-key-for-"+name), StoreOptions{NoVerify: true, AnyForm: true}); err != nil {
			t.Fatal(err)
		}
	}
	a := w.agent("coder")
	w.agent("other")
	w.lend("coder", "openrouter", book.Terms{})
	w.lend("coder", "anthropic", book.Terms{})
	w.lend("coder", "groq", book.Terms{Expires: now.Add(time.Second)})
	w.lend("other", "openrouter", book.Terms{})
	now = now.Add(2 * time.Second)

	s, err := w.StartSession(t.Context(), a.Label, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	env, err := w.Env(a.Label, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{}
	for _, v := range env.Set {
		if _, twice := set[v.Name]; twice {
			t.Errorf("%s twice", v.Name)
		}
		set[v.Name] = v.Value
	}
	base := "http://" + w.addr.String()
	for name, want := range map[string]string{
		"AGENTKEYS_AGENT": "coder", "AGENTKEYS_SOCKET": w.paths.AgentSockets() + "/coder.sock",
		"AGENTKEYS_OPENROUTER_URL": base + "/openrouter", "AGENTKEYS_ANTHROPIC_URL": base + "/anthropic", "ANTHROPIC_BASE_URL": base + "/anthropic",
	} {
		if set[name] != want {
			t.Errorf("%s=%q, want %q", name, set[name], want)
		}
	}
	for _, name := range []string{"OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"} {
		if !strings.HasSuffix(set[name], book.TokenMark+s.Token) || catalog.LooksLikeKey(set[name]) {
			t.Errorf("%s=%q", name, set[name])
		}
		if c, ok := (callers{w.book}).CallerByToken(set[name], now); !ok || c.Agent != a.Label || c.Wallet != a.Wallet {
			t.Errorf("%s speaks for %+v", name, c)
		}
	}
	for name := range set {
		if strings.Contains(name, "GROQ") {
			t.Errorf("%s is set, and the grant has expired", name)
		}
		if slices.Contains(env.Unset, name) {
			t.Errorf("%s is set and unset", name)
		}
	}
	for _, name := range []string{"GROQ_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GITHUB_TOKEN"} {
		if !slices.Contains(env.Unset, name) {
			t.Errorf("%s is not unset", name)
		}
	}
	if !slices.IsSorted(env.Unset) {
		t.Error("out of order")
	}
	if got := URLVariable(serviceOf(t, "brave-search")); got != "AGENTKEYS_BRAVE_SEARCH_URL" {
		t.Error(got)
	}
}
