package keyfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

func matcher(t testing.TB) *Matcher {
	t.Helper()
	all, err := catalog.All()
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMatcher(all)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func TestMatch(t *testing.T) {
	m := matcher(t)
	router, some := routerKey(), randomText(alnum, 32)
	for name, c := range map[string]struct {
		item Item
		text string
		want string // kind service
	}{
		"by its form":               {Item{Name: "WHATEVER"}, router, "key openrouter"},
		"by both":                   {Item{Name: "OPENROUTER_API_KEY"}, router, "key openrouter"},
		"the form wins":             {Item{Name: "OPENAI_API_KEY"}, router, "key openrouter"},
		"by its variable":           {Item{Name: "MISTRAL_API_KEY"}, some, "key mistral"},
		"by the second variable":    {Item{Name: "BRAVE_SEARCH_API_KEY"}, some, "key brave-search"},
		"in JSON":                   {Item{Name: "env.MISTRAL_API_KEY"}, some, "key mistral"},
		"in JSON, parted":           {Item{Name: "mistral.api_key"}, some, "key mistral"},
		"in JSON, another spelling": {Item{Name: "mistralApiKey"}, some, "key mistral"},
		"another variable":          {Item{Name: "STRIPE_KEY"}, some, "other "},
		"another form than known":   {Item{Name: "GROQ_API_KEY"}, some, "other "},
		"an example":                {Item{Name: "MISTRAL_API_KEY"}, "your-api-key-goes-here", "other "},
		"an expansion":              {Item{Name: "MISTRAL_API_KEY"}, "${OTHER_API_KEY}", "other "},
		"all x":                     {Item{Name: "OPENROUTER_API_KEY"}, "sk-or-v1-" + strings.Repeat("0", 64), "other "},
		"short":                     {Item{Name: "MISTRAL_API_KEY"}, "abc", "other "},
		"with blanks":               {Item{Name: "MISTRAL_API_KEY"}, "abc def ghi jkl", "other "},
		"a placeholder":             {Item{Name: "OPENROUTER_API_KEY"}, "sk-or-v1-agentkeys.abcdef", "placeholder "},
		"an admin key":              {Item{Name: "KEY"}, "sk-ant-" + "admin01-" + some, "management anthropic"},
		"an admin variable":         {Item{Name: "OPENAI_ADMIN_KEY"}, some, "management openai"},
		"a management variable":     {Item{Name: "XAI_MANAGEMENT_KEY"}, some, "management xai"},
		"a password":                {Item{Name: "Mistral / password", Host: "console.mistral.ai", Kept: true}, some, "other "},
		"a kept key, by its form":   {Item{Name: "x / password", Kept: true}, router, "key openrouter"},
		"a kept key, by its site":   {Item{Name: "x / API key", Host: "console.mistral.ai", Kept: true}, some, "key mistral"},
		"a kept key, by its title":  {Item{Name: "Mistral API token / password", Kept: true}, some, "key mistral"},
		"a look-alike site":         {Item{Name: "thing / API key", Host: "mistral.ai.example.com", Kept: true}, some, "other "},
		"a title, not kept":         {Item{Name: "Mistral token"}, some, "other "},
	} {
		c.item.Value = secret.FromString(c.text)
		got := m.Match(c.item)
		if text := fmt.Sprintf("%s %s", got.Kind, got.Service); text != c.want || got.Why == "" {
			t.Errorf("%s: %s (%s), want %s", name, text, got.Why, c.want)
		}
		if strings.Contains(got.Why, c.text) {
			t.Errorf("%s: the reason has the value in it", name)
		}
	}
}

func TestMask(t *testing.T) {
	all, _ := catalog.All()
	key := routerKey()
	for _, e := range all {
		shown := Mask(e, []byte(key))
		if prefix := strings.TrimSuffix(shown, "… (73)"); prefix != "" && prefix != e.Key.Placeholder || e.ID.String() == "openrouter" && prefix != "sk-or-v1-" {
			t.Errorf("%s: %s", e.ID, shown)
		}
	}
	if got := Mask(nil, []byte(key)); got != "… (73)" {
		t.Error(got)
	}
}
