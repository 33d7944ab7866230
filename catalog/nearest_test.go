package catalog

import (
	"errors"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	for typed, want := range map[string]string{
		"opnrouter":                "openrouter",
		"OpenRouter":               "openrouter",
		"open-router":              "openrouter",
		"claude":                   "anthropic",
		"cluade":                   "anthropic",
		"gpt":                      "openai",
		"brave":                    "brave-search",
		"brave-serach":             "brave-search",
		"hf":                       "huggingface",
		"grok":                     "xai",
		"groq":                     "groq",
		"twitter":                  "x",
		"facebook":                 "meta",
		"elevenlab":                "elevenlabs",
		" gemini ":                 "gemini",
		"zzzzzzzz":                 "",
		"":                         "",
		"q":                        "",
		"hg":                       "",
		strings.Repeat("fake", 10): "",
	} {
		got, ok := Nearest(typed)
		if got.String() != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func TestUnknownSuggestsAndDoesNotEcho(t *testing.T) {
	_, err := Lookup(service("opnrouter"))
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "did you mean openrouter?") {
		t.Error(err)
	}
	_, err = Lookup(service("sk-fakefakefakefakefakefakefakefake"))
	if !errors.Is(err, ErrUnknown) || strings.Contains(err.Error(), "fake") || strings.Contains(err.Error(), "mean") {
		t.Error(err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"opnrouter", "openrouter", 1}} {
		if d := distance(c.a, c.b); d != c.want || distance(c.b, c.a) != c.want {
			t.Errorf("%s, %s: %d, want %d", c.a, c.b, d, c.want)
		}
	}
}
