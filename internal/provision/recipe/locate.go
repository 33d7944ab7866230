package recipe

import (
	"net/url"
	"slices"
	"strings"

	"github.com/litentry/agentkeys/catalog"
)

// finder looks for what locators mean in a view.
type finder struct {
	hosts  []string
	css    map[string]int    // selector → index in Element.CSS
	folded map[string]string // what fold made of texts
	solved map[string]bool   // bot checks that a person has answered, and that stay
}

// ours reports whether the engine may rely on an element, and act on it: it is
// of a document of the recipe's hosts, and of no bot check.
func (f finder) ours(e Element) bool {
	if e.URL == "" {
		return true // the top document, whose host every view is checked for
	}
	_, bot := BotCheckIn([]string{e.URL})
	return !bot && f.onHosts(e.URL)
}

// onHosts reports whether an address is https on one of the recipe's hosts.
func (f finder) onHosts(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "https" && u.Opaque == "" && u.User == nil && slices.Contains(f.hosts, u.Host)
}

// all returns what the first alternative that fits anything fits, of any frame.
func (f finder) all(list []Element, at []catalog.Locator, may func(Element) bool) []Element {
	for _, l := range at {
		var found []Element
		for _, e := range list {
			if may(e) && f.fits(e, l) {
				found = append(found, e)
			}
		}
		if l.Nth > 0 {
			if len(found) < l.Nth {
				continue
			}
			found = found[l.Nth-1 : l.Nth]
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// shows reports whether a view has what locators mean.
func (f finder) shows(v View, at []catalog.Locator) bool {
	return len(f.all(v.Elements, at, f.ours)) > 0
}

// clear reports whether a view has what locators mean, with nothing in its way:
// what a person has to deal with may be drawn over it.
func (f finder) clear(v View, at []catalog.Locator) bool {
	return slices.ContainsFunc(f.all(v.Elements, at, f.ours), func(e Element) bool { return !e.Covered })
}

func (f finder) fits(e Element, l catalog.Locator) bool {
	if l.CSS != "" {
		i, ok := f.css[l.CSS]
		if !ok || !slices.Contains(e.CSS, i) {
			return false
		}
	}
	is := func(want, have string) bool { return want == "" || f.fold(want) == f.fold(have) }
	has := func(want, have string) bool { return want == "" || strings.Contains(f.fold(have), f.fold(want)) }
	return l != (catalog.Locator{Nth: l.Nth}) &&
		is(l.Role, e.Role) && is(l.Name, e.Name) && has(l.HasName, e.Name) &&
		is(l.Label, e.Label) && is(l.Text, e.Text) && has(l.HasText, e.Text)
}

// maxFolded bounds what fold remembers: the texts of some views.
const maxFolded = 8192

// fold is fold, remembered: a view has the same texts as the one before.
func (f finder) fold(s string) string {
	out, ok := f.folded[s]
	if !ok {
		if len(f.folded) >= maxFolded {
			clear(f.folded)
		}
		out = fold(s)
		f.folded[s] = out
	}
	return out
}

// fold makes text comparable: white space folded, case and the invisible marks
// that pages put between words left out.
func fold(s string) string {
	s = strings.Map(func(r rune) rune {
		switch r {
		case '\u00ad', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff':
			return -1
		}
		return r
	}, s)
	return strings.ToLower(strings.Join(strings.Fields(s), " "))
}

// purpose is what an element is wanted for.
type purpose int

const (
	toClick purpose = iota
	toFill
	toChoose
)

// suits reports whether an element is of the kind that one acts on so: a text
// may fit a button as well as the box around it.
func (p purpose) suits(e Element) bool {
	switch p {
	case toFill:
		return isField(e)
	case toChoose:
		return isTicked(e) || e.Tag == "select" || e.Role == "combobox" || e.Role == "listbox"
	}
	switch e.Role {
	case "button", "link", "checkbox", "radio", "switch", "menuitem", "tab", "option":
		return true
	}
	return e.Tag == "button" || e.Tag == "a" || e.Tag == "summary" || e.Tag == "input" && (e.Type == "submit" || e.Type == "button" || e.Type == "image")
}

// isField reports whether one can type into an element.
func isField(e Element) bool {
	switch e.Tag {
	case "textarea":
		return true
	case "input":
		switch e.Type {
		case "", "text", "email", "password", "tel", "number", "search", "url":
			return true
		}
		return false
	}
	return e.Role == "textbox" || e.Role == "searchbox" || e.Role == "spinbutton"
}

// isTicked reports whether an element is ticked rather than filled.
func isTicked(e Element) bool {
	return e.Type == "checkbox" || e.Type == "radio" || e.Role == "checkbox" || e.Role == "radio" || e.Role == "switch"
}

// pick returns the one element that can be acted on, or why there is none:
// Missing, Ambiguous or Unusable. With Unusable and Ambiguous it returns what
// fits all the same.
func (f finder) pick(v View, at []catalog.Locator, p purpose) ([]Element, Kind) {
	found := f.all(v.Elements, at, f.ours)
	if len(found) == 0 {
		return nil, Missing
	}
	found = narrow(found, p.suits)
	if p == toFill && !isField(found[0]) {
		return nil, Missing
	}
	usable := narrow(found, func(e Element) bool { return !e.Disabled && !e.Covered })
	switch {
	case usable[0].Disabled || usable[0].Covered:
		return usable, Unusable
	case len(usable) > 1 && (p != toFill || !split(usable)):
		return usable, Ambiguous
	}
	return usable, ""
}

// narrow keeps what suits, or everything if nothing does.
func narrow(list []Element, suits func(Element) bool) []Element {
	if kept := slices.DeleteFunc(slices.Clone(list), func(e Element) bool { return !suits(e) }); len(kept) > 0 {
		return kept
	}
	return list
}

// split reports whether elements are the one-character fields of one code.
func split(list []Element) bool {
	return len(list) >= 2 && len(list) <= maxSplit && !slices.ContainsFunc(list, func(e Element) bool {
		return !isField(e) || e.MaxLength != 1 || e.URL != list[0].URL
	})
}

// maxSplit is the number of fields that the longest code has, of those that
// have one for each character.
const maxSplit = 10

// row returns the one-character fields that stand next to each other in a view
// and of which first is the first.
func row(v View, first Element) []Element {
	var list []Element
	for _, e := range v.Elements {
		switch {
		case e.ID == first.ID:
			list = append(list, e)
		case len(list) == 0 || !isField(e):
		case e.MaxLength == 1 && e.URL == first.URL && len(list) < maxSplit:
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}
