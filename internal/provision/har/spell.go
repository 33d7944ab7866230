package har

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"

	"github.com/litentry/agentkeys/internal/secret"
)

// minHidden is the length of the shortest value that is looked for everywhere:
// a shorter one would be found in many a word.
const minHidden = 4

// minWord is the length of the shortest word of a link's path that may be a
// token.
const minWord = 16

// parts are the values that are hidden with v: of a link, what is secret in it.
func parts(v secret.Value) (list []secret.Value) {
	if v.Len() >= minHidden {
		list = append(list, v.Clone())
	}
	u, err := url.Parse(string(v.Expose()))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return list
	}
	add := func(s string) {
		if len(s) >= minHidden {
			list = append(list, secret.FromString(s))
		}
	}
	for _, values := range u.Query() {
		for _, value := range values {
			add(value)
		}
	}
	add(u.RawQuery)
	add(u.Fragment)
	for word := range strings.SplitSeq(u.Path, "/") {
		if len(word) >= minWord {
			add(word)
		}
	}
	return list
}

// spellings returns the ways in which a value may stand in a text, in an order
// that is the same for every value.
func spellings(s string) (list []string) {
	add := func(s string) { list = append(list, s) }
	add(s)
	query, path := url.QueryEscape(s), url.PathEscape(s)
	for _, e := range []string{query, path, url.QueryEscape(query), everyByte(s, "%%%02X"), component(s)} {
		add(e)
		add(lowerHex(e))
	}
	add(html.EscapeString(s))
	add(html.EscapeString(inJSON(s, false)))
	add(url.QueryEscape(inJSON(s, false)))
	add(numeric(s, "&#%d;"))
	add(numeric(s, "&#x%x;"))
	add(everyByte(s, "&#%d;"))
	add(everyByte(s, "&#x%x;"))
	add(everyByte(s, "&#x%X;"))
	add(strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;").Replace(s))
	quoted := inJSON(s, true)
	for _, e := range []string{quoted, inJSON(s, false), strings.ReplaceAll(quoted, "/", `\/`), inJSON(quoted, true), inJSON(html.EscapeString(s), false)} {
		add(e)
		add(upperEscape(e))
	}
	add(everyByte(s, `\x%02x`))
	add(everyByte(s, `\u%04x`))
	add(hex.EncodeToString([]byte(s)))
	add(strings.ToUpper(hex.EncodeToString([]byte(s))))
	for offset := range 3 {
		b := append(make([]byte, offset), s...)
		first, last := (offset*8+5)/6, len(b)*8/6
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			core := enc.EncodeToString(b)[first:last]
			add(core)
			add(url.QueryEscape(core))
			add(strings.ReplaceAll(core, "/", `\/`))
		}
	}
	return list
}

// component is encodeURIComponent of scripts.
func component(s string) string {
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(s))
}

func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return string(b)
}

func upperEscape(s string) string {
	b := []byte(s)
	for i := 0; i+5 < len(b); i++ {
		if b[i] == '\\' && b[i+1] == 'u' {
			copy(b[i+2:i+6], strings.ToUpper(string(b[i+2:i+6])))
			i += 5
		}
	}
	return string(b)
}

func everyByte(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

// numeric writes what is neither letter nor digit as references of HTML.
func numeric(s, format string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, format, r)
		}
	}
	return b.String()
}

func inJSON(s string, escapeHTML bool) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(escapeHTML)
	if enc.Encode(s) != nil {
		return s
	}
	out := strings.TrimSuffix(b.String(), "\n")
	return out[1 : len(out)-1]
}
