package grant_test

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
)

// badPaths are spellings that two parsers could read as two paths.
func badPaths() []string {
	bad := []string{
		"", "a", "a/b", "*", "http://host/a", "?", ".", "..",
		"//", "//a", "/a//b", "/a//", "///",
		"/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/../a", "/./a", "/a/../..",
		`/a\b`, `/\`, `/..\`, `/a\..\b`, "/a;b", "/a;", "/;/", "/..;/a", "/a/..;x/b", "/a?b", "/a?", "/a#b", "/#",
		"/a b", "/ ", "/a\tb", "/a\rb", "/a\nb", "/a\r\nHost: x", "/a\x00", "/\x00", "/a\x0b", "/a\x1f", "/a\x7f",
		"/á", "/a\u0301", "/ａ", "/a\u200b", "/\u2215a", "/a\u2024", "/\xff", "/\xc0\xae", "/a\u00a0",
		"/%", "/%zz", "/a%", "/%u0061", "/{id}", "/a|b", `/"`, "/<a>", "/^", "/`",
		"/" + strings.Repeat("a", 2048),
	}
	for b := range 256 {
		bad = append(bad, fmt.Sprintf("/a%%%02xb", b), fmt.Sprintf("/%%%02X", b))
	}
	return bad
}

func TestParsePath(t *testing.T) {
	for _, p := range badPaths() {
		if got, err := grant.ParsePath(p); !errors.Is(err, grant.ErrPath) || got != "" {
			t.Errorf("%q is accepted as %q: %v", p, got, err)
		}
	}
	for _, p := range []string{
		"/", "/a", "/a/", "/a/b", "/v1/chat/completions", "/models/gpt-4.1", "/m/gemini-2.0:streamGenerateContent", "/...", "/.a",
		"/a.", "/..a", "/a..", "/~user", "/@me", "/a,b", "/a=b", "/a&b", "/a+b", "/a(b)'!$*[0]", "/_-.~", "/" + strings.Repeat("a", 2047),
	} {
		if got, err := grant.ParsePath(p); got != p || err != nil {
			t.Errorf("%q becomes %q: %v", p, got, err)
		}
	}
}

// TestHostilePathsAreDenied: not even a rule for everything, nor an unsafe
// one, lets a path through that has a second reading.
func TestHostilePathsAreDenied(t *testing.T) {
	g := lend("g", func(g *grant.Grant) { g.Unsafe = rules("* /**") })
	d := newDesk()
	for _, p := range badPaths() {
		r := d.request()
		r.Path = p
		permit, err := d.Use(ctx, bot, alice, or, g, anything, r)
		if got := code(t, permit, err); got != grant.CodePathDenied {
			t.Errorf("%q: %q", p, got)
		}
	}
	for _, m := range []string{"", "get", "Get", "DELETE ", "GET\n", "G-T", "M1", "GÉT", "*", "GET|POST", strings.Repeat("X", 17)} {
		r := d.request()
		r.Method = m
		permit, err := d.Use(ctx, bot, alice, or, g, anything, r)
		if got := code(t, permit, err); got != grant.CodePathDenied {
			t.Errorf("method %q: %q", m, got)
		}
	}
}

// FuzzParsePath holds every accepted path against readers that clean, decode
// and resolve.
func FuzzParsePath(f *testing.F) {
	for _, p := range badPaths() {
		f.Add(p)
	}
	f.Add("/v1/a:b/")
	f.Fuzz(func(t *testing.T, p string) {
		got, err := grant.ParsePath(p)
		if err != nil {
			if !errors.Is(err, grant.ErrPath) || got != "" {
				t.Fatalf("%q: %q, %v", p, got, err)
			}
			return
		}
		if got != p || len(p) > 2048 {
			t.Fatalf("%q becomes %q", p, got)
		}
		clean := path.Clean(p)
		if strings.HasSuffix(p, "/") && p != "/" {
			clean += "/"
		}
		if clean != p {
			t.Fatalf("%q is cleaned to %q", p, clean)
		}
		if dec, err := url.PathUnescape(p); err != nil || dec != p {
			t.Fatalf("%q decodes to %q, %v", p, dec, err)
		}
		u, err := url.ParseRequestURI("https://host" + p)
		if err != nil || u.Path != p || u.EscapedPath() != p || u.Host != "host" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q as a URL: %+v, %v", p, u, err)
		}
		if abs := (&url.URL{Scheme: "https", Host: "host", Path: "/base/"}).ResolveReference(&url.URL{Path: p}); abs.Path != p {
			t.Fatalf("%q resolves to %q", p, abs.Path)
		}
	})
}
