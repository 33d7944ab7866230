package verifymail

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
)

// maxDepth bounds how deep elements stand in each other. Mail of real life,
// with its tables in tables, has a fifth of it.
const maxDepth = 200

// htmlFlow returns the flow of an HTML text.
//
// It reads tokens and keeps its own stack, since a tree as browsers build it
// can have many times the nodes that were written: formatting elements that are
// never closed come back in every paragraph.
func htmlFlow(s string) (flow, *Refusal) {
	p := page{z: html.NewTokenizer(strings.NewReader(s))}
	for !p.over {
		switch p.z.Next() {
		case html.ErrorToken:
			p.over = true
		case html.TextToken:
			p.text(p.z.Text())
		case html.StartTagToken:
			p.start(false)
		case html.SelfClosingTagToken:
			p.start(true)
		case html.EndTagToken:
			name, _ := p.z.TagName()
			p.end(string(name))
		}
		if len(p.stack) > maxDepth {
			return flow{}, refuse(TooComplex, "elements stand too deep in each other")
		}
	}
	p.closeLink()
	f := flow{text: string(p.buf), links: p.links}
	if end := historyAt(f.text); end >= 0 {
		f.text = f.text[:end]
		for i, l := range f.links {
			if l.at >= end {
				f.links = f.links[:i]
				break
			}
		}
	}
	f.findLinks()
	return f, nil
}

type element struct {
	name string
	look
}

type page struct {
	z     *html.Tokenizer
	stack []element
	buf   []byte
	links []anchor
	over  bool

	open bool // a link is
	link anchor
}

func (p *page) look() look {
	if len(p.stack) == 0 {
		return look{}
	}
	return p.stack[len(p.stack)-1].look
}

func (p *page) text(raw []byte) {
	if p.look().hidden() {
		return
	}
	for _, r := range clean(string(raw)) {
		if r == '\n' || r == '\t' {
			r = ' '
		}
		if r == ' ' && (len(p.buf) == 0 || p.buf[len(p.buf)-1] <= ' ') {
			continue
		}
		p.buf = append(p.buf, string(r)...)
	}
}

// breakWith ends a line with \n, or a cell with \t.
func (p *page) breakWith(c byte) {
	if n := len(p.buf); n == 0 || p.buf[n-1] == '\n' || p.buf[n-1] == c {
		return
	}
	p.buf = append(p.buf, c)
}

func (p *page) start(selfClosing bool) {
	raw, more := p.z.TagName()
	name := string(raw)
	l := p.look()
	var href string
	for more {
		var key, val []byte
		key, val, more = p.z.TagAttr() // of several with one name, the first
		k := string(key)
		switch k {
		case "href", "style", "class", "id", "hidden":
		default:
			continue
		}
		switch k {
		case "href":
			href = string(val)
		case "style":
			l = l.styled(string(val))
		case "hidden":
			l.gone = true
		case "class", "id":
			for f := range strings.FieldsSeq(string(val)) {
				l.gone = l.gone || quotes[f]
				p.over = p.over || follows[f]
			}
		}
	}
	if p.over {
		return
	}
	l.gone = l.gone || unseen[name]
	p.implied(name)
	if selfClosing && inForeign(p.stack) {
		return
	}
	switch {
	case name == "br" || name == "hr":
		p.breakWith('\n')
	case blocks[name]:
		p.breakWith('\n')
	case name == "td" || name == "th":
		p.breakWith('\t')
	}
	if name == "a" || name == "area" {
		p.closeLink()
		if href != "" && !l.hidden() {
			p.open, p.link = true, anchor{href: href, at: len(p.buf)}
		}
		if name == "area" {
			p.closeLink()
		}
	}
	if !void[name] {
		p.stack = append(p.stack, element{name, l})
	}
}

// implied closes what a start tag closes without saying so.
func (p *page) implied(name string) {
	top := func(names ...string) bool {
		for _, n := range names {
			if len(p.stack) > 0 && p.stack[len(p.stack)-1].name == n {
				return true
			}
		}
		return false
	}
	switch {
	case name == "li" && top("li"), (name == "dt" || name == "dd") && top("dt", "dd"),
		name == "option" && top("option"), blocks[name] && top("p"):
		p.stack = p.stack[:len(p.stack)-1]
	case name == "td" || name == "th":
		p.closeInTable("td", "th")
	case name == "tr":
		p.closeInTable("tr")
	case name == "tbody" || name == "tfoot" || name == "thead":
		p.closeInTable("tbody", "tfoot", "thead")
	}
}

// closeInTable closes the nearest of some elements of the innermost table.
func (p *page) closeInTable(names ...string) {
	for i := len(p.stack) - 1; i >= 0 && p.stack[i].name != "table"; i-- {
		for _, n := range names {
			if p.stack[i].name == n {
				p.stack = p.stack[:i]
				return
			}
		}
	}
}

func (p *page) end(name string) {
	switch {
	case name == "a":
		p.closeLink()
	case name == "br", blocks[name]:
		p.breakWith('\n')
	case name == "td" || name == "th":
		p.breakWith('\t')
	}
	for i := len(p.stack) - 1; i >= 0; i-- {
		if p.stack[i].name == name {
			p.stack = p.stack[:i]
			return
		}
		if s := p.stack[i].name; (s == "td" || s == "th") && !tables[name] {
			return // nothing in a cell closes what is around its table
		}
	}
}

// closeLink ends the link that is open, and takes URLs out of its text: where
// it leads is its href.
func (p *page) closeLink() {
	if !p.open {
		return
	}
	p.open = false
	seg := p.buf[min(p.link.at, len(p.buf)):]
	if n := min(len(seg), maxURL); n > 0 {
		p.link.shown = strings.TrimSpace(string(seg[:n]))
	}
	p.links = append(p.links, p.link)
	if bytes.Contains(seg, []byte("://")) {
		f := flow{text: string(seg)}
		f.findLinks()
		p.buf = append(p.buf[:p.link.at], f.text...)
	}
}

func inForeign(stack []element) bool {
	for _, e := range stack {
		if e.name == "svg" || e.name == "math" {
			return true
		}
	}
	return false
}

func set(names string) map[string]bool {
	m := map[string]bool{}
	for n := range strings.FieldsSeq(names) {
		m[n] = true
	}
	return m
}

var (
	void   = set("area base br col embed hr img input link meta param source track wbr")
	tables = set("table tr tbody thead tfoot td th body html")
	blocks = set("address article aside blockquote body center dd div dl dt fieldset figure footer form h1 h2 h3 h4 h5 h6 header html li main nav ol p pre section table tbody tfoot thead tr ul")
	unseen = set("audio blockquote canvas datalist iframe math noembed noframes noscript object script select style svg template textarea title video xmp")
	// quotes are classes and ids that mail programs give to what they quote,
	// follows those after which nothing is of the mail itself.
	quotes  = set("gmail_quote gmail_quote_container gmail_extra gmail_attr yahoo_quoted protonmail_quote tutanota_quote zmail_extra moz-forward-container isForwardContent")
	follows = set("OutlookMessageHeader moz-cite-prefix divRplyFwdMsg x_divRplyFwdMsg appendonsend x_appendonsend mail-editor-reference-message-container")
)
