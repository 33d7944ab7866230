package verifymail

import (
	"strconv"
	"strings"
)

// look is how an element is shown, as far as its text may not be seen. Only
// style attributes count: what a style sheet hides is taken for visible, which
// can make a mail that hides another answer be refused, and no more.
type look struct {
	gone      bool // nothing below can be seen
	tiny      bool // font-size: 0, until an element below sets another
	invisible bool // visibility: hidden, likewise
}

func (l look) hidden() bool { return l.gone || l.tiny || l.invisible }

// styled returns the look of an element with this style attribute in an
// element that looks like l.
func (l look) styled(style string) look {
	overflow, flat := false, false
	for decl := range strings.SplitSeq(withoutCSSComments(strings.ToLower(style)), ";") {
		name, value, _ := strings.Cut(decl, ":")
		value, _, _ = strings.Cut(strings.TrimSpace(value), "!")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "display":
			l.gone = l.gone || value == "none"
		case "mso-hide":
			// For Outlook alone; whatever it hides, others show.
		case "visibility":
			l.invisible = value != "visible"
		case "opacity":
			l.gone = l.gone || number(value) < 0.05
		case "font-size":
			// 1px is what hides a text where 0 is not allowed.
			l.tiny = number(value) == 0 || number(value) <= 1 && (strings.HasSuffix(value, "px") || strings.HasSuffix(value, "pt"))
		case "height", "max-height", "width", "max-width":
			flat = flat || number(value) == 0
		case "overflow":
			overflow = value == "hidden"
		case "text-indent", "left", "top", "margin-left":
			l.gone = l.gone || number(value) <= -500
		}
	}
	l.gone = l.gone || overflow && flat
	return l
}

// number returns the number that a value begins with; without one, a large one.
func number(value string) float64 {
	n := 0
	for n < len(value) && n < 16 && (value[n] >= '0' && value[n] <= '9' || value[n] == '.' || value[n] == '-') {
		n++
	}
	f, err := strconv.ParseFloat(value[:n], 64)
	if err != nil {
		return 1e9
	}
	return f
}

func withoutCSSComments(s string) string {
	if !strings.Contains(s, "/*") {
		return s
	}
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(s, "/*")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		if _, s, ok = strings.Cut(after, "*/"); !ok {
			return out.String()
		}
	}
}
