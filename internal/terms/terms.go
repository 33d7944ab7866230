// Package terms owns what of a page of terms a reader has read: the digest of
// its visible text. It knows neither where a page comes from nor what was
// decided on it, and must not depend on a network, on files or on a clock.
package terms

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/net/html"
)

// Max bounds a page, in bytes.
const Max = 4 << 20

// Least is how much visible text a page of terms has, in bytes. One with less
// shows its text by a script, or is not the terms at all, and a change of the
// terms would not change it.
const Least = 200

// unseen are elements whose text no reader sees. Those that the tokenizer
// reads as raw text have no elements in them; a template may.
var unseen = map[string]bool{
	"script": true, "style": true, "template": true, "noscript": true, "title": true,
	"iframe": true, "noembed": true, "noframes": true,
}

// inline are elements that do not part words.
var inline = map[string]bool{
	"a": true, "abbr": true, "b": true, "bdi": true, "bdo": true, "cite": true, "code": true, "em": true, "font": true,
	"i": true, "mark": true, "q": true, "s": true, "small": true, "span": true, "strong": true, "sub": true, "sup": true,
	"u": true, "wbr": true,
}

// Digest returns sha256:hex of the visible text of a page: without tags,
// scripts and styles, with entities decoded and white space folded. It is ""
// for a page above Max, and for one with less text than Least: of neither can
// be told whether it has changed.
func Digest(page []byte) string {
	if len(page) > Max {
		return ""
	}
	text := visible(page)
	if len(text) < Least {
		return ""
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// visible goes through the tokens and builds no tree, whose depth a page could
// choose.
func visible(page []byte) []byte {
	var text bytes.Buffer
	z := html.NewTokenizer(bytes.NewReader(page))
	hidden, depth := "", 0 // the outermost element that is not seen, and how often it is open
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			if hidden != "" {
				// The rest of the page is in an element that is not closed, or that
				// a browser takes to be: nobody can tell what of it is seen.
				return nil
			}
			return fold(text.Bytes())
		case html.TextToken:
			if hidden == "" {
				text.Write(z.Text())
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			tag, _ := z.TagName()
			name := string(tag)
			if !inline[name] {
				text.WriteByte(' ')
			}
			// A browser ignores the slash of <script/>.
			start := kind != html.EndTagToken
			switch {
			case start && hidden == "" && unseen[name]:
				hidden, depth = name, 1
			case start && hidden == name:
				depth++
			case !start && hidden != "" && hidden == name:
				if depth--; depth == 0 {
					hidden = ""
				}
			}
		}
	}
}

// fold leaves bytes that are no UTF-8 as they are: a page in another encoding
// has a digest too.
func fold(text []byte) []byte { return bytes.Join(bytes.Fields(text), []byte{' '}) }
