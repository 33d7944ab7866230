package verifymail

import "strings"

// withoutQuotes cuts off what was quoted from an earlier mail, and in plain
// text leaves out lines that begin with >. A code of an earlier run is not
// valid any more, and what somebody quotes need never have been said.
func withoutQuotes(text string, plain bool) string {
	if end := historyAt(text); end >= 0 {
		text = text[:end]
	}
	if !plain || !strings.Contains(text, ">") {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimLeft(line, " "), ">") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// maxIntro is the length of the longest line, in bytes, that can introduce a
// quotation; longer ones are not looked at.
const maxIntro = 300

// historyAt returns where an earlier mail begins, or -1.
func historyAt(text string) int {
	at := 0
	var before [3]string // the lines before, in small letters
	var start [3]int
	for line := range strings.Lines(text) {
		l := ""
		if len(line) <= maxIntro {
			l = strings.ToLower(strings.Trim(line, " \t\r\n*"))
		}
		switch {
		case strings.HasPrefix(l, "-----original message"), strings.HasPrefix(l, "begin forwarded message"),
			strings.HasPrefix(l, "----") && strings.Contains(l, "forwarded message"):
			return at
		case wrote(l) && introduces(l):
			return at
		case wrote(l) && introduces(before[2]):
			return start[2]
		case strings.HasPrefix(l, "to:"):
			// Outlook: From, Sent, To, one below the other.
			for i := 2; i > 0; i-- {
				sent := strings.HasPrefix(before[i], "sent:") || strings.HasPrefix(before[i], "date:")
				if sent && strings.HasPrefix(before[i-1], "from:") {
					return start[i-1]
				}
			}
		}
		if l != "" {
			before = [3]string{before[1], before[2], l}
			start = [3]int{start[1], start[2], at}
		}
		at += len(line)
	}
	return -1
}

func wrote(l string) bool {
	for _, w := range []string{" wrote:", "wrote:", " schrieb:", " a écrit :", " a écrit:", " escribió:", " ha scritto:", " 写道：", " 写道:"} {
		if strings.HasSuffix(l, w) {
			return true
		}
	}
	return false
}

func introduces(l string) bool {
	for _, w := range []string{"on ", "am ", "le ", "el ", "il ", "在 "} {
		if strings.HasPrefix(l, w) {
			return true
		}
	}
	return strings.Contains(l, "@") && wrote(l)
}
