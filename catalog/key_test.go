package catalog

import (
	"bytes"
	"errors"
	"regexp/syntax"
	"strings"
	"testing"
)

// sample builds a string that a pattern matches, out of "fake" wherever the
// pattern lets it. It is built here so that nothing in this file looks like a
// key to a scanner.
func sample(t *testing.T, pattern string) []byte {
	t.Helper()
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	n := 0
	var gen func(*syntax.Regexp)
	gen = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			b.WriteString(string(re.Rune))
		case syntax.OpCharClass:
			b.WriteRune(fakeRune(re.Rune, &n))
		case syntax.OpAnyCharNotNL:
			b.WriteByte("fake"[n%4])
			n++
		case syntax.OpConcat:
			for _, s := range re.Sub {
				gen(s)
			}
		case syntax.OpCapture, syntax.OpAlternate:
			gen(re.Sub[0])
		case syntax.OpStar, syntax.OpQuest:
		case syntax.OpPlus:
			for range 24 {
				gen(re.Sub[0])
			}
		case syntax.OpRepeat:
			for range re.Min {
				gen(re.Sub[0])
			}
		case syntax.OpBeginText, syntax.OpEndText:
		default:
			t.Fatalf("%s: %v", pattern, re.Op)
		}
	}
	gen(re)
	return b.Bytes()
}

// fakeRune takes the next letter of "fake" that a character class has.
func fakeRune(class []rune, n *int) rune {
	for range 4 {
		c := rune("fake"[*n%4])
		*n++
		for i := 0; i+1 < len(class); i += 2 {
			if class[i] <= c && c <= class[i+1] {
				return c
			}
		}
	}
	return class[0]
}

func TestPatternsMatchSamplesAndNoPlaceholders(t *testing.T) {
	es := all(t)
	for _, e := range es {
		for _, p := range append(append([]Pattern{}, e.Key.Patterns.Value...), e.Key.Refuse...) {
			key := sample(t, p.Match)
			if !p.matches(key) {
				t.Errorf("%s: %s does not match its sample", e.ID, p.Match)
			}
			if p.matches(append(key[:len(key):len(key)], '!')) || p.matches(append([]byte("!"), key...)) {
				t.Errorf("%s: %s is not anchored", e.ID, p.Match)
			}
			for _, other := range es {
				for _, token := range []string{"", "fake", strings.Repeat("fake", 12), strings.Repeat("f", 200)} {
					if ph := other.Placeholder(token); p.matches([]byte(ph)) {
						t.Errorf("%s: the placeholder %s of %s passes for a key", e.ID, ph, other.ID)
					}
				}
			}
		}
		if !strings.HasPrefix(e.Placeholder("tok"), e.Key.Placeholder) || !strings.HasSuffix(e.Placeholder("tok"), "tok") {
			t.Errorf("%s: %s", e.ID, e.Placeholder("tok"))
		}
	}
}

// A pattern that matches another service's keys says why.
func TestPatternsAreDisjointOrSayWhyNot(t *testing.T) {
	es := all(t)
	for _, e := range es {
		for _, p := range append(append([]Pattern{}, e.Key.Patterns.Value...), e.Key.Refuse...) {
			key := sample(t, p.Match)
			for _, other := range es {
				if other.ID == e.ID {
					continue
				}
				if q, ok := anyMatches(append(append([]Pattern{}, other.Key.Patterns.Value...), other.Key.Refuse...), key); ok && q.Generic == "" && p.Generic == "" {
					t.Errorf("%s: %s also matches a key of %s", other.ID, q.Match, e.ID)
				}
			}
		}
	}
}

func TestCheckKey(t *testing.T) {
	fake := func(n int) string { return strings.Repeat("fake", n) }
	ant := "sk-" + "ant-"
	or := "sk-" + "or-v1-"
	for name, c := range map[string]struct {
		service, key string
		want         error
		says         string
		looks        string
	}{
		"good":                       {"openrouter", or + strings.Repeat("fade", 16), nil, "", ""},
		"a letter short":             {"openrouter", or + strings.Repeat("fade", 15) + "fad", ErrKeyPattern, "OpenRouter keys look different", ""},
		"another service's":          {"openrouter", ant + "api03-" + fake(23) + "fAA", ErrKeyPattern, "a key of Anthropic", "anthropic"},
		"another service's, unknown": {"exa", ant + "api03-" + fake(23) + "fAA", ErrKeyPattern, "a key of Anthropic", "anthropic"},
		"another's admin key":        {"exa", ant + "admin01-" + fake(23), ErrKeyPattern, "a key of Anthropic", "anthropic"},
		"admin key":                  {"anthropic", ant + "admin01-" + fake(23) + "fAA", ErrKeyRefused, "an admin key", ""},
		"access token":               {"anthropic", ant + "oat01-" + fake(23), ErrKeyRefused, "short-lived", ""},
		"openai admin key":           {"openai", "sk-" + "admin-" + fake(14) + "faT3Blbk" + "FJ" + fake(14) + "fa", ErrKeyRefused, "an admin key", ""},
		"openai project key":         {"openai", "sk-" + "proj-" + fake(14) + "faT3Blbk" + "FJ" + fake(14) + "fa", nil, "", ""},
		"unknown pattern":            {"exa", fake(9), nil, "", ""},
		"other shapes are possible":  {"brave-search", fake(9), nil, "", ""},
		"generic gives no hint":      {"exa", fake(8), nil, "", ""},
		"old gemini":                 {"gemini", "AI" + "za" + fake(8) + "fak", nil, "", ""},
		"refresh token":              {"github", "gh" + "r_" + fake(9), ErrKeyRefused, "a refresh token", ""},
		"empty":                      {"exa", "", ErrKeyPattern, "empty", ""},
		"with a newline":             {"exa", fake(9) + "\n", ErrKeyPattern, "a space", ""},
		"with a space inside":        {"exa", fake(4) + " " + fake(4), ErrKeyPattern, "a space", ""},
		"beyond ASCII":               {"exa", fake(4) + "é", ErrKeyPattern, "beyond ASCII", ""},
		"too long":                   {"exa", fake(5000), ErrKeyPattern, "longer than", ""},
		"a placeholder":              {"exa", lookup(t, "openrouter").Placeholder("tok"), ErrKeyPattern, "a placeholder", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := lookup(t, c.service).CheckKey([]byte(c.key))
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				return
			}
			var ke *KeyError
			if !errors.As(err, &ke) || !strings.Contains(err.Error(), c.says) || ke.Looks.String() != c.looks {
				t.Errorf("%v (looks like %q)", err, ke.Looks)
			}
			if body := strings.TrimLeft(c.key, "sk-"); len(c.key) > 12 && strings.Contains(err.Error(), body[:8]) {
				t.Errorf("the error echoes the key: %v", err)
			}
		})
	}
}

// Every service takes its own samples and refuses its own refused ones.
func TestCheckKeyOnSamples(t *testing.T) {
	for _, e := range all(t) {
		for _, p := range e.Key.Patterns.Value {
			if err := e.CheckKey(sample(t, p.Match)); err != nil {
				t.Errorf("%s: %v", e.ID, err)
			}
		}
		for _, p := range e.Key.Refuse {
			if err := e.CheckKey(sample(t, p.Match)); !errors.Is(err, ErrKeyRefused) {
				t.Errorf("%s: %v", e.ID, err)
			}
		}
	}
}

func TestLooksLikeKey(t *testing.T) {
	for _, e := range all(t) {
		for _, p := range append(append([]Pattern{}, e.Key.Patterns.Value...), e.Key.Refuse...) {
			if got := LooksLikeKey(string(sample(t, p.Match))); got != (p.Generic == "") {
				t.Errorf("%s: a sample of %s looks like a key: %v", e.ID, p.Match, got)
			}
		}
		if LooksLikeKey(e.Placeholder("fakefakefake")) {
			t.Errorf("%s: a placeholder looks like a key", e.ID)
		}
	}
	for _, harmless := range []string{"", "en_US.UTF-8", "/usr/local/bin:/usr/bin", "unix:path=/run/user/1000/bus", strings.Repeat("fake", 8), strings.Repeat("fake", 5000)} {
		if LooksLikeKey(harmless) {
			t.Errorf("%.40q looks like a key", harmless)
		}
	}
}
