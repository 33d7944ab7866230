package inject

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

// secrets of every sort that services give out, and some that nobody should.
var secrets = []string{
	"sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"jina_4c8Xq9bA7ZsLw0pTtY2uVh3kNm5rQe6d",
	"AIzaSyA-1b_2C3d4E5f6G7h8I9j0K1l2M3n4O5p",
	"a+b/c=d&e<f>g\"h'i\\j%k;l m~n`o{p|q}r^s",
	"user:p@ss/w0rd==",
	"abababababababab",
	"aaaaaaaab",
	"%25%25%25%25",
	"12345678",
	"ab\\ab\\ab\\",
	"ends in &",
	"*~!^|@:,()[]{}?$.",
	strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 60) + "x",
}

// encodings are what others make of a secret: independent of forms.go.
func encodings(s string) map[string]string {
	marshal := func(esc bool) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(esc)
		if err := e.Encode(s); err != nil {
			panic(err)
		}
		return b.String()[1 : b.Len()-2] // without quotes and line break
	}
	all := func(format string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, format, s[i])
		}
		return b.String()
	}
	m := map[string]string{
		"raw": s, "query": url.QueryEscape(s), "path": url.PathEscape(s), "userinfo": url.UserPassword("", s).String()[1:],
		"query-lower": lowerEscapes(url.QueryEscape(s)),
		"json":        marshal(false), "json-html": marshal(true), "json-slash": strings.ReplaceAll(marshal(false), "/", `\/`),
		"html": html.EscapeString(s), "hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))),
		"percent": all("%%%02x"), "PERCENT": all("%%%02X"), "u": all(`\u%04x`), "U": all(`\u%04X`), "x": all(`\x%02x`),
		"entity": all("&#x%x;"), "ENTITY": all("&#x%X;"), "decimal": all("&#%d;"),
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for k := range 3 {
			e := enc.EncodeToString([]byte("ab"[:k] + s + "z"))
			from, to := (8*k+5)/6, 8*(k+len(s))/6
			m[fmt.Sprintf("base64-%p-%d", enc, k)] = e[from:to]
		}
	}
	return m
}

func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:], bytes.ToLower(b[i:i+3]))
		}
	}
	return string(b)
}

// whole redacts a text in one piece.
func whole(x *redactor, s string) string {
	b := []byte(s)
	if ready, _ := x.redact(b, true); ready != len(b) {
		panic("not all of the last piece is ready")
	}
	return string(b)
}

// pieces redacts a text cut at the given places, as body.go does.
func pieces(x *redactor, s string, cuts ...int) string {
	var out, held []byte
	prev := 0
	for _, c := range append(cuts, len(s)) {
		held = append(held, s[prev:c]...)
		prev = c
		ready, _ := x.redact(held, c == len(s) && prev == c)
		out = append(out, held[:ready]...)
		held = append([]byte(nil), held[ready:]...)
	}
	ready, _ := x.redact(held, true)
	return string(append(out, held[:ready]...))
}

func TestEveryFormIsRedacted(t *testing.T) {
	for _, s := range secrets {
		if err := checkSecret([]byte(s)); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		x := newRedactor([]byte(s))
		for name, form := range encodings(s) {
			for _, around := range [][2]string{{"", ""}, {"key=", "&a=b"}, {`{"k":"`, `"}`}, {form[:len(form)/2], form[len(form)/2:]}, {form, form}} {
				text := around[0] + form + around[1]
				got := whole(x, text)
				if len(got) != len(text) {
					t.Errorf("%.20q as %s: %d bytes became %d", s, name, len(text), len(got))
				}
				if strings.Contains(got, form) {
					t.Errorf("%.20q as %s survives in %.60q", s, name, got)
				}
				if !strings.Contains(got, strings.Repeat(string(x.fill), 8)) {
					t.Errorf("%.20q as %s: nothing was overwritten in %.60q", s, name, got)
				}
			}
		}
	}
}

// Encoders disagree about the few special bytes of base64, and every choice of
// them is found.
func TestEveryChoiceOfEscapesIsFound(t *testing.T) {
	s := "QWxhZGRpbjpv+GVuIHNl/2FtZQ=="
	x := newRedactor([]byte(s))
	for mask := range 8 {
		for _, lower := range []bool{false, true} {
			form := s
			for i, c := range []string{"+", "/", "="} {
				if mask>>i&1 == 1 {
					form = strings.ReplaceAll(form, c, url.QueryEscape(c))
				}
			}
			if lower {
				form = lowerEscapes(form)
			}
			if got := whole(x, "k="+form+"&"); got != "k="+strings.Repeat(string(x.fill), len(form))+"&" {
				t.Errorf("%q survives: %q", form, got)
			}
		}
	}
}

func TestHarmlessTextIsLeftAlone(t *testing.T) {
	for _, s := range secrets {
		x := newRedactor([]byte(s))
		for name, form := range encodings(s) {
			for _, text := range []string{form[1:], form[:len(form)-1], form[:len(form)-1] + "\x00", "\x00" + form[1:]} {
				// Another form may stand in what is left, as in a+b, aa+b.
				if strings.Contains(text, s) || x.window > len(text) {
					continue
				}
				hit := false
				for _, f := range x.forms {
					hit = hit || strings.Contains(text, string(f))
				}
				if got := whole(x, text); !hit && got != text {
					t.Errorf("%.20q as %s: %q became %q", s, name, text, got)
				}
			}
		}
	}
}

// Any cut of a text gives the same result, and nothing is held back that
// cannot become a form.
func TestSplitInvariance(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range secrets {
		x := newRedactor([]byte(s))
		for name, form := range encodings(s) {
			text := "data: {\"a\":\"" + form[:len(form)/3] + form + form[len(form)/2:] + form + "\"}\n\n"
			want := whole(x, text)
			for c := 0; c <= len(text); c += 1 + len(text)/500 {
				if got := pieces(x, text, c); got != want {
					t.Fatalf("%.20q as %s cut at %d: %q, want %q", s, name, c, got, want)
				}
			}
			every := make([]int, len(text))
			for i := range every {
				every[i] = i
			}
			if len(text) < 2000 {
				if got := pieces(x, text, every...); got != want {
					t.Fatalf("%.20q as %s in single bytes: %q, want %q", s, name, got, want)
				}
			}
			for range 20 {
				var cuts []int
				for c := 0; c < len(text); c += 1 + rng.IntN(2*len(form)) {
					cuts = append(cuts, c)
				}
				if got := pieces(x, text, cuts...); got != want {
					t.Fatalf("%.20q as %s cut at %v: %q, want %q", s, name, cuts, got, want)
				}
			}
		}
	}
}

func TestOnlyPrefixesAreHeldBack(t *testing.T) {
	x := newRedactor([]byte(secrets[0]))
	for text, held := range map[string]int{
		"": 0, "data: {}\n\n": 0, "data: sk-or-v1-\n\n": 0, "sk-or": 5, "sk-or-v1-0123": 13, "sk-ox": 0, "risks": 1, "task": 2, "desk\n": 0, "sk sk-": 3,
		"\\u0073\\u006b": 12, "%73%6": 5, secrets[0]: 0, secrets[0] + "s": 1, secrets[0][:72]: 72, "x" + secrets[0][:72]: 72,
		strings.Repeat("x", 5000) + "736b2d6f": 8,
	} {
		b := []byte(text)
		if ready, _ := x.redact(b, false); len(b)-ready != held {
			t.Errorf("%.40q: %d bytes held back, want %d", text, len(b)-ready, held)
		}
	}
}

func TestCheckSecret(t *testing.T) {
	for s, ok := range map[string]bool{
		"12345678": true, "1234567": false, "": false, strings.Repeat("a", maxSecret): true, strings.Repeat("a", maxSecret+1): false,
		"abcdefgh\r\nX-Evil: 1": false, "abcdefgh\n": false, "abcd\x00efgh": false, "abcdefgh\x7f": false, "abcdéfgh": false, "abcd\tefgh": false,
		" abcdefgh": false, "abcdefgh ": false, "abcd efgh": true,
	} {
		err := checkSecret([]byte(s))
		if (err == nil) != ok {
			t.Errorf("checkSecret(%.20q) = %v, want ok %v", s, err, ok)
		}
		if err != nil && len(s) > 3 && strings.Contains(err.Error(), s[:4]) {
			t.Errorf("checkSecret(%.20q) quotes the secret: %v", s, err)
		}
	}
}

func TestLongestForm(t *testing.T) {
	x := newRedactor(bytes.Repeat([]byte("/&"), maxSecret/2))
	if n := len(x.forms[len(x.forms)-1]); n > longestForm || n > 32768-4096 {
		t.Fatalf("a form of %d bytes", n)
	}
}

func TestClear(t *testing.T) {
	x := newRedactor([]byte(secrets[0]))
	x.clear()
	for _, f := range x.forms {
		if len(bytes.Trim(f, "\x00")) > 0 {
			t.Fatalf("left after clear: %q", f)
		}
	}
}

func FuzzRedactor(f *testing.F) {
	for i, s := range secrets {
		f.Add(s, "x", uint64(i))
		f.Add(s, s[:4]+"%41&amp;", uint64(i))
	}
	f.Fuzz(func(t *testing.T, s, noise string, seed uint64) {
		if checkSecret([]byte(s)) != nil || len(s) > 200 || len(noise) > 1000 {
			return
		}
		x := newRedactor([]byte(s))
		rng := rand.New(rand.NewPCG(seed, 0))
		var b strings.Builder
		list := encodings(s)
		names := []string{"raw", "query", "json", "html", "hex", "percent", "u", "entity"}
		for range 1 + rng.IntN(8) {
			form := list[names[rng.IntN(len(names))]]
			switch rng.IntN(4) {
			case 0:
				b.WriteString(noise)
			case 1:
				b.WriteString(form[:rng.IntN(len(form))])
			case 2:
				b.WriteString(form[rng.IntN(len(form)):])
			}
			b.WriteString(form)
		}
		text := b.String()
		want := whole(x, text)
		if len(want) != len(text) {
			t.Fatalf("%d bytes became %d", len(text), len(want))
		}
		if x.class[x.fill]&inForm == 0 {
			for name, form := range list {
				if strings.Contains(want, form) {
					t.Fatalf("%q survives as %s in %q", s, name, want)
				}
			}
		}
		var cuts []int
		for c := 0; c < len(text); c += 1 + rng.IntN(1+rng.IntN(2*len(s))) {
			cuts = append(cuts, c)
		}
		if got := pieces(x, text, cuts...); got != want {
			t.Fatalf("cut at %v: %q, want %q", cuts, got, want)
		}
	})
}
