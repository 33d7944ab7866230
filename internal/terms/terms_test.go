package terms

import (
	"bytes"
	"strings"
	"testing"
)

var filler = strings.Repeat("You may not sign up by a program unless we say so. ", 8)

func page(body string) []byte {
	return []byte("<html><head><title>Terms</title></head><body>" + body + "<p>" + filler + "</p></body></html>")
}

func TestSameText(t *testing.T) {
	want := Digest(page("<h1>Terms &amp; conditions</h1><p>No robots.</p>"))
	if !strings.HasPrefix(want, "sha256:") || len(want) != len("sha256:")+64 {
		t.Fatalf("Digest = %q", want)
	}
	for name, body := range map[string]string{
		"white space":       "<h1>\n\tTerms&nbsp;&amp;  conditions\r\n</h1>\n<p>No   robots.\n</p>",
		"another tag":       `<div class="x" data-nonce="123">Terms & conditions</div><section>No robots.</section>`,
		"a script":          `<script nonce="1">var t = "terms";</script><h1>Terms &amp; conditions</h1><p>No robots.</p>`,
		"a style":           "<style>p { color: red }</style><h1>Terms &amp; conditions</h1><p>No robots.</p>",
		"a comment":         "<!-- build 4711 --><h1>Terms &amp; conditions</h1><p>No robots.</p>",
		"a template":        "<template><p>a<template>b</template>c</p></template><h1>Terms &amp; conditions</h1><p>No robots.</p>",
		"without scripts":   "<noscript>Enable scripts.</noscript><h1>Terms &amp; conditions</h1><p>No robots.</p>",
		"a word in two":     "<h1>Te<b>rm</b>s &amp; conditions</h1><p>No ro<wbr>bots.</p>",
		"entities":          "<h1>&#84;erms &#x26; conditions</h1><p>No robots&period;</p>",
		"script, odd slash": "<script/>hidden</script><h1>Terms &amp; conditions</h1><p>No robots.</p>",
	} {
		if got := Digest(page(body)); got != want {
			t.Errorf("%s: the digest has changed", name)
		}
	}
}

func TestOtherText(t *testing.T) {
	seen := map[string]string{Digest(page("<p>No robots.</p>")): "the first"}
	for name, body := range map[string]string{
		"a word":             "<p>Some robots.</p>",
		"a word more":        "<p>No robots. Ever.</p>",
		"parted":             "<p>No rob<p>ots.</p>",
		"small letters":      "<p>no robots.</p>",
		"in an attribute":    `<p title="No robots."></p>`,
		"after a stray end":  "</script></template><p>No robots. Really.</p>",
		"latin 1":            "<p>No robots \xe9.</p>",
		"latin 1, another":   "<p>No robots \xe8.</p>",
		"a mark of its own":  "<p>No&zwj;robots.</p>",
		"shown, after style": "<style>x</style><p>No robots, shown.</p>",
		"in a field":         "<textarea>No robots, in a field.</textarea>",
	} {
		got := Digest(page(body))
		if other, ok := seen[got]; ok || got == "" {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[got] = name
	}
}

func TestNoDigest(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":        nil,
		"by script":    []byte("<body><div id=root></div><script>" + filler + "</script></body>"),
		"never closed": []byte("<body><script>" + filler),
		"left open":    page("<template>"),
		"odd slash":    page("<p>" + filler + "</p><svg><title/></svg>"),
		"short":        []byte("<p>Not found</p>"),
		"too large":    append([]byte(filler), bytes.Repeat([]byte{'a'}, Max)...),
	} {
		if got := Digest(data); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if Digest(append([]byte(filler), bytes.Repeat([]byte{'a'}, Max-len(filler))...)) == "" {
		t.Error("a page of the largest size has no digest")
	}
}

// A page chooses neither how deep this goes nor how long it takes.
func TestHostile(t *testing.T) {
	for name, unit := range map[string]string{
		"nested": "<div>", "templates": "<template>", "ends": "</template>", "attributes": "<p a=", "entities": "&amp", "open": "<",
	} {
		_ = name
		_ = Digest([]byte(strings.Repeat(unit, Max/len(unit))))
	}
}

func FuzzDigest(f *testing.F) {
	f.Add(page("<p>No robots.</p>"))
	f.Add([]byte("<template><script></template>&#0;<!--"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Digest(data)
		if d != Digest(append(append([]byte{}, " \n"...), data...)) {
			t.Error("white space in front changes the digest")
		}
		if text := visible(data); !bytes.Equal(text, fold(text)) {
			t.Error("the text is not folded")
		}
	})
}
