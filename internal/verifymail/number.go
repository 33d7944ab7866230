package verifymail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// numbers returns what may be a code of so many digits, in order: digits in one
// piece; in two or three of the same length, apart by one space or hyphen; or
// each by itself, apart by spaces, as they stand in cells of a table. What
// touches a letter, a further digit, or a sign that makes it a colour, a date, a
// time, a price, a phone number or a part of an id is none.
func numbers(text string, digits int) (found []span) {
	for i := 0; i < len(text); {
		if !digit(text[i]) {
			i++
			continue
		}
		to := i
		for to < len(text) && digit(text[to]) {
			to++
		}
		n, ok := span{}, false
		switch size := to - i; {
		case size == digits:
			n, ok = span{from: i, to: to, code: text[i:to]}, true
		case size == 1:
			n, ok = spaced(text, i, digits)
		case size < digits && digits%size == 0 && digits/size <= 3:
			n, ok = grouped(text, i, size, digits)
		}
		if !ok {
			i = to
			continue
		}
		if free(text, n) {
			n.alone = alone(text, n)
			found = append(found, n)
		}
		i = n.to
	}
	return found
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// grouped reads pieces of size digits with the same sign between them.
func grouped(text string, from, size, digits int) (span, bool) {
	code := text[from : from+size]
	at := from + size
	if at == len(text) {
		return span{}, false
	}
	sep := text[at]
	if sep != ' ' && (sep != '-' || size < 3) { // 22-11-26 is a date
		return span{}, false
	}
	for len(code) < digits {
		end := at + 1 + size
		if at >= len(text) || text[at] != sep || end > len(text) || strings.Trim(text[at+1:end], "0123456789") != "" {
			return span{}, false
		}
		code += text[at+1 : end]
		at = end
	}
	return span{from: from, to: at, code: code}, true
}

// maxGap is how many spaces may stand between two single digits, in bytes.
const maxGap = 8

// spaced reads single digits with spaces, cells or line ends between them, or a
// hyphen each.
func spaced(text string, from, digits int) (span, bool) {
	code := []byte{text[from]}
	at := from + 1
	hyphen := at < len(text) && text[at] == '-'
	for len(code) < digits {
		gap := at
		if hyphen {
			if gap < len(text) && text[gap] == '-' {
				gap++
			}
		} else {
			for gap < len(text) && gap-at < maxGap && (text[gap] == ' ' || text[gap] == '\t' || text[gap] == '\n') {
				gap++
			}
		}
		if gap == at || gap >= len(text) || !digit(text[gap]) || gap+1 < len(text) && digit(text[gap+1]) {
			return span{}, false
		}
		code = append(code, text[gap])
		at = gap + 1
	}
	return span{from: from, to: at, code: string(code), spaced: true}, true
}

// free reports whether nothing touches the number that makes it another thing.
func free(text string, n span) bool {
	before, behind := text[:n.from], text[n.to:]
	if n.spaced {
		// One digit more, and it is a row of digits of another length.
		b, h := strings.TrimRight(before, " \t\n"), strings.TrimLeft(behind, " \t\n")
		if b != "" && digit(b[len(b)-1]) && len(before)-len(b) <= maxGap || h != "" && digit(h[0]) && len(behind)-len(h) <= maxGap {
			return false
		}
	}
	if before != "" {
		r, _ := utf8.DecodeLastRuneInString(before)
		if inWord(r) || strings.ContainsRune("#$+-/\\.,&=?@%_~^<", r) {
			return false
		}
		// A time, or a further group, as in +49 123 456.
		if (r == ':' || r == ' ') && len(before) > 1 && digit(before[len(before)-2]) {
			return false
		}
		if currency(before) {
			return false
		}
	}
	if behind != "" {
		r, size := utf8.DecodeRuneInString(behind)
		if inWord(r) || strings.ContainsRune("$-/\\&=@%_~^+", r) {
			return false
		}
		next := ' '
		if len(behind) > size {
			next, _ = utf8.DecodeRuneInString(behind[size:])
		}
		if strings.ContainsRune(" ,:)", r) && next >= '0' && next <= '9' || (r == '.' || r == ',') && inWord(next) {
			return false
		}
		for _, unit := range units {
			if len(behind) >= len(unit) && strings.EqualFold(behind[:len(unit)], unit) {
				return false
			}
		}
	}
	return true
}

var units = []string{" usd", " eur", " gbp", " €", "€", " px", " ms", " minutes", " seconds", " hours", " days", " tokens", " credits"}

// inWord reports whether a rune makes a number beside it a part of a word.
// Scripts that are written without spaces do not: 验证码123456.
func inWord(r rune) bool {
	if r == barrier || unicode.IsNumber(r) || unicode.IsMark(r) {
		return true
	}
	return unicode.IsLetter(r) && !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai)
}

func currency(before string) bool {
	b := strings.TrimRight(before, " ")
	for _, s := range []string{"€", "£", "¥", "₹", "usd", "eur", "gbp"} {
		if len(b) >= len(s) && strings.EqualFold(b[len(b)-len(s):], s) {
			return true
		}
	}
	return strings.HasSuffix(b, "$") || strings.HasSuffix(b, "#") || strings.HasSuffix(b, "№")
}

// alone reports whether nothing but the number stands on its line or in its
// cell.
func alone(text string, n span) bool {
	for i := n.from - 1; i >= 0 && text[i] != '\n' && text[i] != '\t'; i-- {
		if strings.IndexByte(" *_\"'`|", text[i]) < 0 {
			return false
		}
	}
	for i := n.to; i < len(text) && text[i] != '\n' && text[i] != '\t'; i++ {
		if strings.IndexByte(" *_\"'`|.", text[i]) < 0 {
			return false
		}
	}
	return true
}
