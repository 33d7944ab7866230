package grant_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
)

func TestRuleMatch(t *testing.T) {
	for _, c := range []struct{ rule, yes, no string }{
		{"GET /a", "GET /a|HEAD /a", "POST /a|GET /a/|GET /A|GET /a/b|GET /|GET /aa|get /a|GET a|GET |OPTIONS /a"},
		{"POST /a", "POST /a", "GET /a|HEAD /a"},
		{"HEAD /a", "HEAD /a", "GET /a"},
		{"GET|POST /a", "GET /a|POST /a|HEAD /a", "PUT /a|GET|POST"},
		{"* /a", "GET /a|DELETE /a|PROPFIND /a", "GET /b"},
		{"GET /", "GET /", "GET /a|GET "},
		{"GET /a/", "GET /a/", "GET /a|GET /a/b"},
		{"GET /a/b/c", "GET /a/b/c", "GET /a/b|GET /a/b/c/|GET /a/b/c/d|GET /a//c"},
		{"GET /*", "GET /a|GET /abc", "GET /|GET /a/|GET /a/b"},
		{"GET /*/b", "GET /a/b", "GET //b|GET /b|GET /a/b/c|GET /a/c"},
		{"GET /a*", "GET /a|GET /ab", "GET /ba|GET /a/b|GET /a/"},
		{"GET /*a", "GET /a|GET /ba", "GET /ab"},
		{"GET /a*b", "GET /ab|GET /axb|GET /aab", "GET /a|GET /b|GET /axbc|GET /ax/b"},
		{"GET /a*b*c", "GET /abc|GET /axbyc|GET /abbcc", "GET /acb|GET /ac"},
		{"GET /a*a", "GET /aa|GET /aba", "GET /a"},
		{"GET /m/*:stream", "GET /m/x:stream|GET /m/:stream", "GET /m/x:other|GET /m/a/b:stream"},
		{"GET /**", "GET /|GET /a|GET /a/b/|HEAD /x", "POST /a|GET |GET a"},
		{"GET /a/**", "GET /a|GET /a/|GET /a/b|GET /a/b/c", "GET /|GET /ab|GET /b/a|GET /A/b"},
		{"GET /a*/**", "GET /a|GET /ab/c", "GET /b/a"},
	} {
		r := rules(c.rule)[0]
		for _, s := range strings.Split(c.yes, "|") {
			method, path, _ := strings.Cut(s, " ")
			if !r.Match(method, path) {
				t.Errorf("%q does not match %q", c.rule, s)
			}
		}
		for _, s := range strings.Split(c.no, "|") {
			method, path, _ := strings.Cut(s, " ")
			if r.Match(method, path) {
				t.Errorf("%q matches %q", c.rule, s)
			}
		}
	}
	if (grant.Rule{}).Match("GET", "/") || (grant.Rule{}).Match("", "") {
		t.Error("the zero rule matches")
	}
}

// A rule that shuts does so for every spelling that an upstream may take for
// the same path.
func TestShut(t *testing.T) {
	for _, c := range []struct{ rule, shut, open string }{
		{"GET /keys", "GET /keys|GET /KEYS|GET /Keys/|HEAD /keys/|HEAD /kEYS", "POST /keys|GET /keys/a|GET /key|GET /"},
		{"GET /Keys/", "GET /keys/|GET /keys|GET /KEYS", "GET /keys/a"},
		{"DELETE /keys/*", "DELETE /keys/a|DELETE /keys/A/|DELETE /keys/", "DELETE /keys|DELETE /keys/a/b|GET /keys/a"},
		{"* /keys*/**", "GET /keys|GET /keys/|GET /KEYS2/a/|POST /keysets/x/y", "GET /key|GET /a/keys"},
		{"* /a/*/b", "GET /a/x/b|GET /A/X/B/", "GET /a/b|GET /a/x/c"},
		{"GET /", "GET /|HEAD /", "GET /a|POST /"},
		{"* /**", "GET /|GET /a", ""},
	} {
		pol := grant.Policy{Allow: rules("* /**"), Shut: rules(c.rule)}
		d := newDesk()
		try := func(s string) grant.Code {
			r := d.request()
			r.Method, r.Path, _ = strings.Cut(s, " ")
			p, err := d.Use(ctx, bot, alice, or, lend("g"), pol, r)
			return code(t, p, err)
		}
		for _, s := range strings.Split(c.shut, "|") {
			if got := try(s); got != grant.CodePathShut {
				t.Errorf("shut %q leaves %q open: %q", c.rule, s, got)
			}
		}
		for _, s := range strings.Split(c.open, "|") {
			if got := try(s); s != "" && got != "" {
				t.Errorf("shut %q shuts %q: %q", c.rule, s, got)
			}
		}
	}
}

// reference is the rule language said once more, as a regular expression.
func reference(rule string) *regexp.Regexp {
	methods, path, _ := strings.Cut(rule, " ")
	if methods == "*" {
		methods = "[A-Z]+"
	} else if strings.Contains("|"+methods+"|", "|GET|") {
		methods += "|HEAD"
	}
	rest, deep := strings.CutSuffix(path, "/**")
	var b strings.Builder
	for _, seg := range strings.Split(rest, "/")[1:] {
		b.WriteString("/")
		if seg == "*" {
			b.WriteString("[^/]+")
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(seg), `\*`, "[^/]*"))
	}
	if deep && b.Len() > 0 {
		b.WriteString("(/.*)?")
	} else if deep {
		b.WriteString("/.*")
	}
	return regexp.MustCompile(`\A(` + methods + `) ` + b.String() + `\z`)
}

// Few letters, so that much matches; some of them mean something to regexp.
var (
	ruleText = rapid.Map(rapid.Permutation([]string{"GET", "POST", "DELETE"}), func(ms []string) string {
		return strings.Join(ms[:1+len(ms[0])%3], "|")
	})
	anyMethod = rapid.SampledFrom([]string{"GET", "HEAD", "POST", "DELETE", "PUT"})
	ruleGen   = rapid.Custom(func(t *rapid.T) string {
		methods := rapid.OneOf(ruleText, rapid.Just("*")).Draw(t, "methods")
		segs := rapid.SliceOfN(rapid.StringMatching(`[ab.]{0,2}\*?[abA]{1,2}\*?b?|\*|a`), 0, 3).Draw(t, "segments")
		switch rapid.IntRange(0, 3).Draw(t, "end") {
		case 0:
			segs = append(segs, "**")
		case 1:
			segs = append(segs, "")
		}
		return methods + " /" + strings.Join(segs, "/")
	})
	pathGen = rapid.Custom(func(t *rapid.T) string {
		segs := rapid.SliceOfN(rapid.StringMatching(`[ab.]{0,2}[abA]{1,2}b?|a`), 0, 4).Draw(t, "segments")
		if rapid.Bool().Draw(t, "slash") {
			segs = append(segs, "")
		}
		return "/" + strings.Join(segs, "/")
	})
)

func TestRuleMatchesReference(t *testing.T) {
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		text, method, path := ruleGen.Draw(t, "rule"), anyMethod.Draw(t, "method"), pathGen.Draw(t, "path")
		rule, err := grant.ParseRule(text)
		if err != nil {
			t.Skip(err)
		}
		want := reference(text).MatchString(method + " " + path)
		if got := rule.Match(method, path); got != want {
			t.Fatalf("%q on %s %s: %v, the reference says %v", text, method, path, got, want)
		}
		if want {
			matched++
		}
	})
	if matched < 5 {
		t.Errorf("only %d rules matched: the generators are off", matched)
	}
}

// What shuts covers at least what it would allow, in any letter case and with
// or without the slash at the end.
func TestShutCoversMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, method, path := ruleGen.Draw(t, "rule"), anyMethod.Draw(t, "method"), pathGen.Draw(t, "path")
		rule, err := grant.ParseRule(text)
		if err != nil || !rule.Match(method, path) {
			t.Skip()
		}
		for _, p := range []string{path, strings.ToUpper(path), strings.TrimSuffix(path, "/") + "/", strings.TrimSuffix(path, "/")} {
			if p == "" {
				continue
			}
			_, err := newDesk().Use(ctx, bot, alice, or, lend("g"),
				grant.Policy{Allow: rules("* /**"), Shut: []grant.Rule{rule}},
				grant.Request{ID: "r", Method: method, Path: p, Time: noon})
			den, ok := errors.AsType[*grant.Denial](err)
			if !ok || den.Code != grant.CodePathShut {
				t.Fatalf("%q does not shut %s %s: %v", text, method, p, err)
			}
		}
	})
}

var badRules = []string{
	"", " ", "GET", "/a", "GET a", " /a", "GET  /a", "get /a", "Get /a", "GET, POST /a", "GET| /a", "|GET /a", "GET||POST /a",
	"*|GET /a", "GET|* /a", "** /a", "G*T /a", "GET-X /a", "GET1 /a", "GÉT /a", "GET\t/a", "GET /a b", "GET /a ", " GET /a",
	"GET //", "GET //a", "GET /a//b", "GET /.", "GET /..", "GET /a/../b", "GET /a/./b", "GET /a/..", "GET /%61", "GET /a?b",
	"GET /a#b", "GET /a;b", `GET /a\b`, "GET /a\x00", "GET /a\n", "GET /á", "GET /***", "GET /**/a", "GET /a**", "GET /**a",
	"GET /a**b/c", "GET /{id}", "GET /a|b", "GET /" + strings.Repeat("a", 2048), strings.Repeat("X", 17) + " /a",
	strings.Repeat("GET|", 600) + "GET /a",
}

func TestParseRule(t *testing.T) {
	for _, s := range badRules {
		r, err := grant.ParseRule(s)
		if !errors.Is(err, grant.ErrRule) || r.String() != "" || r.Match("GET", "/a") {
			t.Errorf("%q is accepted as %q: %v", s, r, err)
		}
		if _, err := grant.ParseRules([]string{"GET /a", s}); !errors.Is(err, grant.ErrRule) {
			t.Errorf("a list with %q is accepted: %v", s, err)
		}
	}
	if got := (grant.Rule{}).String(); got != "" {
		t.Errorf("the zero rule prints %q", got)
	}
	var list []grant.Rule
	if err := json.Unmarshal([]byte(`["GET /a","POST|PUT /b/**"]`), &list); err != nil || len(list) != 2 || !list[1].Match("PUT", "/b/c") {
		t.Errorf("%v, %v", list, err)
	}
	if err := json.Unmarshal([]byte(`[""]`), &list); !errors.Is(err, grant.ErrRule) {
		t.Errorf("an empty rule is accepted in JSON: %v", err)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range badRules {
		f.Add(s, "/a")
	}
	for _, s := range []string{"GET /a", "* /**", "GET|POST /a*b/*/", "PUT /m/*:x"} {
		f.Add(s, "/a/b")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		r, err := grant.ParseRule(s)
		if err != nil {
			if !errors.Is(err, grant.ErrRule) {
				t.Fatalf("%v does not wrap ErrRule", err)
			}
			return
		}
		if r.String() != s {
			t.Fatalf("%q prints as %q", s, r)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back grant.Rule
		if err := json.Unmarshal(text, &back); err != nil || back.String() != s {
			t.Fatalf("%q comes back from JSON as %q: %v", s, back, err)
		}
		if _, err := grant.ParsePath(path); err != nil {
			return
		}
		for _, m := range []string{"GET", "HEAD", "POST"} {
			if got, want := r.Match(m, path), reference(s).MatchString(m+" "+path); got != want {
				t.Fatalf("%q on %s %q: %v, the reference says %v", s, m, path, got, want)
			}
		}
	})
}
