package envelope

import "strings"

// canonical is the plaintext of a small valid record, which each of the
// malformed ones below differs from in one way.
const canonical = `{"expires_at":0,"key_id":"k","kind":"api-key","route":"import","secret":"czNjcmV0","v":1,"verified_at":1767225600}`

func padded(s string) []byte {
	return append([]byte(s), make([]byte, (padUnit-len(s)%padUnit)%padUnit)...)
}

// malformed are authentic plaintexts that are not a record.
func malformed() []struct {
	id        string
	plaintext []byte
} {
	type m = struct {
		id        string
		plaintext []byte
	}
	swap := func(old, new string) []byte {
		if strings.Count(canonical, old) != 1 {
			panic("not in the canonical record once: " + old)
		}
		return padded(strings.Replace(canonical, old, new, 1))
	}
	with := func(at int, c byte) []byte { b := padded(canonical); b[at] = c; return b }
	full := strings.Replace(canonical, `"k"`, `"`+strings.Repeat("k", padUnit-len(canonical)+1)+`"`, 1)
	return []m{
		{"padding/non-zero-first", with(len(canonical), 1)},
		{"padding/non-zero-last", with(padUnit-1, 1)},
		{"padding/space", with(len(canonical), ' ')},
		{"padding/whole-unit-too-much", append(padded(canonical), make([]byte, padUnit)...)},
		{"padding/whole-unit-after-full", append([]byte(full), make([]byte, padUnit)...)},
		{"padding/none", []byte(full + "x")},
		{"padding/not-a-multiple", append(padded(canonical), 0)},
		{"padding/in-front", append(make([]byte, padUnit-len(canonical)), canonical...)},
		{"json/empty", make([]byte, padUnit)},
		{"json/null", padded("null")},
		{"json/array", padded("[" + canonical + "]")},
		{"json/string", padded(`"s"`)},
		{"json/empty-object", padded("{}")},
		{"json/cut", padded(canonical[:len(canonical)-1])},
		{"json/two-objects", padded(canonical + "{}")},
		{"json/two-records", padded(canonical + canonical)},
		{"json/byte-order-mark", padded("\ufeff" + canonical)},
		{"json/leading-space", padded(" " + canonical)},
		{"json/trailing-newline", padded(canonical + "\n")},
		{"json/inner-space", swap(`"v":1`, `"v": 1`)},
		{"json/comment", swap(`"v":1`, `"v":1/**/`)},
		{"json/trailing-comma", swap(`600}`, `600,}`)},
		{"json/single-quotes", swap(`"k"`, `'k'`)},
		{"json/raw-zero", swap(`"k"`, "\"k\x00\"")},
		{"json/raw-newline", swap(`"k"`, "\"k\n\"")},
		{"json/invalid-utf8", swap(`"k"`, "\"\xff\"")},
		{"json/surrogate-utf8", swap(`"k"`, "\"\xed\xa0\x80\"")},
		{"json/overlong-utf8", swap(`"k"`, "\"\xc0\x80\"")},
		{"json/lone-surrogate", swap(`"k"`, `"\ud800"`)},
		{"json/lone-low-surrogate", swap(`"k"`, `"\udc00x"`)},
		{"json/escaped-letter", swap(`"k"`, `"\u006b"`)},
		{"json/escaped-solidus", swap(`"k"`, `"\/"`)},
		{"json/escaped-pair", swap(`"k"`, `"\ud83d\udd11"`)},
		{"json/escaped-line-separator", swap(`"k"`, `"\u2028"`)},
		{"json/long-escape", swap(`"k"`, `"\u000a"`)},
		{"json/capital-escape", swap(`"k"`, `"\u001F"`)},
		{"json/escaped-name", swap(`"kind"`, `"\u006bind"`)},
		{"member/unknown", swap(`"v":1`, `"u":0,"v":1`)},
		{"member/proto", swap(`{"exp`, `{"__proto__":{},"exp`)},
		{"member/duplicate-same", swap(`"v":1`, `"v":1,"v":1`)},
		{"member/duplicate-secret", swap(`"secret":`, `"secret":"b3RoZXI=","secret":`)},
		{"member/case", swap(`"secret"`, `"Secret"`)},
		{"member/case-twin", swap(`"secret":`, `"SECRET":"b3RoZXI=","secret":`)},
		{"member/kelvin-case-twin", swap(`"kind"`, "\"\u212aind\"")},
		{"member/missing-secret", swap(`"secret":"czNjcmV0",`, ``)},
		{"member/missing-key-id", swap(`"key_id":"k",`, ``)},
		{"member/missing-expiry", swap(`"expires_at":0,`, ``)},
		{"member/order", swap(`"secret":"czNjcmV0","v":1`, `"v":1,"secret":"czNjcmV0"`)},
		{"member/null-string", swap(`"k"`, `null`)},
		{"member/null-secret", swap(`"czNjcmV0"`, `null`)},
		{"member/number-for-string", swap(`"k"`, `1`)},
		{"member/string-for-number", swap(`"v":1`, `"v":"1"`)},
		{"member/bool-for-number", swap(`"v":1`, `"v":true`)},
		{"version/zero", swap(`"v":1`, `"v":0`)},
		{"version/two", swap(`"v":1`, `"v":2`)},
		{"version/fraction", swap(`"v":1`, `"v":1.0`)},
		{"version/exponent", swap(`"v":1`, `"v":1e0`)},
		{"secret/empty", swap(`"czNjcmV0"`, `""`)},
		{"secret/unpadded", swap(`"czNjcmV0"`, `"czNjcg"`)},
		{"secret/trailing-bits", swap(`"czNjcmV0"`, `"czNjch=="`)},
		{"secret/url-alphabet", swap(`"czNjcmV0"`, `"-_-_"`)},
		{"secret/newline", swap(`"czNjcmV0"`, `"czNj\ncmV0"`)},
		{"secret/not-base64", swap(`"czNjcmV0"`, `"s3cr*t!!"`)},
		{"secret/octets", swap(`"czNjcmV0"`, `[115,51]`)},
		{"time/negative", swap(`:1767225600`, `:-1`)},
		{"time/minus-zero", swap(`"expires_at":0`, `"expires_at":-0`)},
		{"time/leading-zero", swap(`:1767225600`, `:01767225600`)},
		{"time/fraction", swap(`:1767225600`, `:1767225600.5`)},
		{"time/exponent", swap(`:1767225600`, `:1e9`)},
		{"time/year-10000", swap(`:1767225600`, `:253402300800`)},
		{"time/past-int64", swap(`:1767225600`, `:9223372036854775808`)},
		{"time/past-float64", swap(`:1767225600`, `:1e400`)},
		{"time/text", swap(`:1767225600`, `:"2026-01-01T00:00:00Z"`)},
		{"time/null", swap(`"expires_at":0`, `"expires_at":null`)},
	}
}
