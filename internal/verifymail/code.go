package verifymail

import (
	"sort"
	"strings"
)

// genericLabels stand beside codes in English mail, where the rules name none.
var genericLabels = []string{"code", "passcode", "otp", "one-time password", "one time password", "one-time pin"}

// otherCodes are words before "code" that make it another one.
var otherCodes = set("postal post zip area dialing dialling country promo promotional promotion discount coupon voucher gift referral invite qr bar dress error status exit source colour color hex product tracking swift sort tax vat reason airport booking reservation backup no")

const (
	// nearBytes is how far a code may stand from its label on one line.
	nearBytes = 60
	// nearLines is how many lines below its label one may stand, on a line of
	// its own; above it, one.
	nearLines = 3
	// nearText bounds all of that, in bytes.
	nearText = 1000
)

// code returns the one code that the texts of a mail agree on.
func (r *rules) code(texts []flow) (string, *Refusal) {
	var found [2]string
	for _, f := range texts {
		side := &found[0]
		if f.html {
			side = &found[1]
		}
		for _, c := range r.codes(f.text) {
			if *side != "" && *side != c {
				return "", refuse(SeveralCodes, "")
			}
			*side = c
		}
	}
	switch {
	case found[0] == "" && found[1] == "":
		return "", refuse(NoCode, "")
	case found[1] == "":
		return found[0], nil
	case found[0] != "" && found[0] != found[1]:
		return "", refuse(Disagreement, "text and HTML have different codes")
	}
	return found[1], nil
}

// span is a part of a text: a label, or digits that may be a code.
type span struct {
	from, to int
	code     string // of a label ""
	alone    bool   // nothing else stands on its line, or in its cell
	spaced   bool   // its digits stand apart
}

// codes returns the codes of a text: what looks like one and is near a label.
func (r *rules) codes(text string) (codes []string) {
	nums := numbers(text, r.digits)
	if len(nums) == 0 {
		return nil
	}
	labels := r.findLabels(text)
	for _, n := range nums {
		if r.labelled(text, n, nums, labels) {
			codes = append(codes, n.code)
		}
	}
	return codes
}

// labelled reports whether a number belongs to one of the labels, which are in
// order.
func (r *rules) labelled(text string, n span, nums, labels []span) bool {
	if n.alone && endsNumbered(lineBefore(text[max(0, n.from-nearText):n.from])) {
		return false // "Order number", and below it the number
	}
	// The last label before, and the first behind.
	i := sort.Search(len(labels), func(i int) bool { return labels[i].from >= n.to })
	if i > 0 && labels[i-1].to <= n.from && n.from-labels[i-1].to <= nearText {
		between := text[labels[i-1].to:n.from]
		if onLine(between, text[n.to:]) || n.alone && linesOf(between) <= nearLines && noCodeIn(between, labels[i-1].to, nums) {
			return true
		}
	}
	if i < len(labels) && labels[i].from-n.to <= nearText {
		between := text[n.to:labels[i].from]
		if isClause(between) || n.alone && linesOf(between) <= 1 {
			return true
		}
	}
	return false
}

// lineBefore returns the last line of s that is not empty.
func lineBefore(s string) string {
	s = strings.TrimRight(s, " \t\n*_|")
	return s[strings.LastIndexAny(s, "\n\t")+1:]
}

// onLine reports whether what stands between a label and a number on one line
// joins them: no end of a sentence, no other number.
func onLine(s, behind string) bool {
	return len(s) <= nearBytes && !strings.ContainsAny(s, "\n0123456789") && !sentenceEnd(s) && !otherMeaning(s, behind)
}

// isClause reports whether s makes a label behind a number speak of it: "123456
// is your verification code".
func isClause(s string) bool {
	if len(s) > nearBytes || strings.ContainsAny(s, "\n0123456789") || sentenceEnd(s) {
		return false
	}
	t := strings.ToLower(strings.TrimLeft(s, " \t\"'*_”’)]"))
	for _, w := range []string{"is ", "- ", "— ", ": ", "as ", "= ", "| "} {
		if strings.HasPrefix(t, w) {
			return true
		}
	}
	return false
}

// otherMeaning reports whether what stands between a label and a number on its
// line gives the number another meaning than the label does.
func otherMeaning(s, behind string) bool {
	if l := strings.ToLower(s); strings.Contains(l, "expire") || strings.Contains(l, "valid for") {
		return true
	}
	// "Code by Example Inc., 94107 San Francisco"
	if strings.Contains(s, ",") && len(behind) > 1 && behind[0] == ' ' && behind[1] >= 'A' && behind[1] <= 'Z' {
		return true
	}
	return endsNumbered(s)
}

// endsNumbered reports whether the last word of s is one that a number follows.
func endsNumbered(s string) bool {
	f := strings.FieldsFunc(asciiLower(s), func(r rune) bool { return (r < 'a' || r > 'z') && r < 0x80 })
	return len(f) > 0 && numbered[f[len(f)-1]]
}

var numbered = set("order invoice ticket case ref reference account acct number no nr phone tel telephone fax call dial mobile suite box room unit floor step version build id port year copyright since until before after on at by usd eur gbp total amount price extension ext")

func sentenceEnd(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] == '.' || s[i] == '!' || s[i] == '?') && (i+1 == len(s) || s[i+1] <= ' ') {
			return true
		}
	}
	return false
}

// linesOf counts the lines of s that are not empty, beyond the one it begins
// on. Cells count as lines.
func linesOf(s string) (n int) {
	full := false
	for i := 0; i < len(s) && n <= nearLines; i++ {
		switch c := s[i]; {
		case c == '\n' || c == '\t':
			if full {
				n++
			}
			full = false
		case c != ' ':
			full = true
		}
	}
	return n
}

// noCodeIn reports whether no other number stands in what begins at from.
func noCodeIn(s string, from int, nums []span) bool {
	i := sort.Search(len(nums), func(i int) bool { return nums[i].from >= from })
	return i == len(nums) || nums[i].from >= from+len(s)
}

// findLabels returns the labels of a text, in order.
func (r *rules) findLabels(text string) (found []span) {
	low := asciiLower(text)
	var first [256]bool
	for _, l := range r.labels {
		first[l[0]] = true
	}
	for i := 0; i < len(low); {
		if !first[low[i]] || i > 0 && asciiWord(low[i]) && asciiWord(low[i-1]) {
			i++
			continue
		}
		n := 0
		for _, l := range r.labels {
			if m := matchPhrase(low[i:], l); m > n {
				n = m
			}
		}
		if n == 0 || r.generic && otherCode(low[:i]) {
			i++
			continue
		}
		found = append(found, span{from: i, to: i + n})
		i += n
	}
	return found
}

func asciiWord(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }

// asciiLower keeps every byte in its place.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// matchPhrase returns how long the phrase at the beginning of s is, 0 without
// one. A space of the phrase is any number of spaces, a line end among them.
func matchPhrase(s, phrase string) int {
	i := 0
	for j := 0; j < len(phrase); j++ {
		if phrase[j] == ' ' {
			k := i
			for k < len(s) && k-i < 8 && (s[k] == ' ' || s[k] == '\n' || s[k] == '\t') {
				k++
			}
			if k == i {
				return 0
			}
			i = k
			continue
		}
		if i == len(s) || s[i] != phrase[j] {
			return 0
		}
		i++
	}
	if i < len(s) && asciiWord(s[i]) && asciiWord(phrase[len(phrase)-1]) {
		return 0
	}
	return i
}

func otherCode(before string) bool {
	before = strings.TrimRight(before[max(0, len(before)-24):], " \n\t-")
	i := len(before)
	for i > 0 && before[i-1] >= 'a' && before[i-1] <= 'z' {
		i--
	}
	return otherCodes[before[i:]]
}
