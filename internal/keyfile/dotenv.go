package keyfile

import (
	"bytes"
	"fmt"
	"strings"
)

// span is where an assignment stands in a file, in bytes: from its first
// character, which may be the e of export, and the value with its quotes.
type span struct{ start, value, end int }

// dotenv reads lines NAME=VALUE. The value may stand in single quotes or
// backquotes, as it is, or in double quotes, with \n \r \t \" \\ and \$; each
// may go over several lines. Otherwise it ends at a blank before #, or with
// the line. Nothing is expanded: $OTHER stays what it is.
func (l *list) dotenv(data []byte) error {
	p := &lines{data: data, line: 1}
	if bytes.HasPrefix(data, bom) {
		p.at = len(bom)
	}
	for p.at < len(data) {
		p.blanks()
		if p.end() {
			continue
		}
		if p.peek() == '#' {
			p.rest()
			continue
		}
		if err := l.assignment(p); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrFormat, p.line, err)
		}
	}
	return nil
}

type fault string

func (f fault) Error() string { return string(f) }

const (
	notAssigned = fault("it is not NAME=VALUE")
	openQuote   = fault("a quote is not closed")
	afterQuote  = fault("something stands behind a closing quote")
)

func (l *list) assignment(p *lines) error {
	it := Item{Line: p.line, span: span{start: p.at}}
	name := p.name()
	if name == "export" {
		p.blanks()
		name = p.name()
		if name != "" && p.atEnd() {
			p.rest()
			return nil // of a variable that was set before
		}
	}
	p.blanks()
	if name == "" || p.peek() != '=' {
		return notAssigned
	}
	p.at++
	p.blanks()
	it.Name, it.span.value = name, p.at
	var value []byte
	switch q := p.peek(); q {
	case '"', '\'', '`':
		var ok bool
		if value, ok = p.quoted(q); !ok {
			return openQuote
		}
		it.span.end = p.at
		gap := p.blanks()
		if !p.atEnd() && (p.peek() != '#' || gap == 0) {
			clear(value)
			return afterQuote
		}
		p.rest()
	default:
		value = p.bare()
		it.span.end = it.span.value + len(value)
	}
	err := l.add(it, value)
	clear(value)
	return err
}

// lines goes through a file.
type lines struct {
	data []byte
	at   int
	line int
}

// peek is the next byte, 0 at the end.
func (p *lines) peek() byte {
	if p.at >= len(p.data) {
		return 0
	}
	return p.data[p.at]
}

func (p *lines) blanks() (n int) {
	for p.at < len(p.data) && (p.data[p.at] == ' ' || p.data[p.at] == '\t') {
		p.at++
		n++
	}
	return n
}

func (p *lines) atEnd() bool {
	return p.at >= len(p.data) || p.data[p.at] == '\n' || p.data[p.at] == '\r'
}

// end goes over the end of a line, if there is one here.
func (p *lines) end() bool {
	switch {
	case p.at >= len(p.data):
		return true
	case p.data[p.at] == '\n':
		p.line++
	case p.data[p.at] != '\r':
		return false
	}
	p.at++
	return true
}

func (p *lines) rest() {
	for !p.atEnd() {
		p.at++
	}
}

func (p *lines) name() string {
	from := p.at
	for p.at < len(p.data) {
		c := p.data[p.at]
		if !(c == '_' || c == '-' || c == '.' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || p.at > from && '0' <= c && c <= '9') {
			break
		}
		p.at++
	}
	return string(p.data[from:p.at])
}

// quoted reads from a quote to its twin. The result is a copy.
func (p *lines) quoted(q byte) ([]byte, bool) {
	p.at++
	out := make([]byte, 0, 128)
	for ; p.at < len(p.data); p.at++ {
		c := p.data[p.at]
		switch {
		case c == q:
			p.at++
			return out, true
		case c == '\\' && q == '"' && p.at+1 < len(p.data) && strings.IndexByte(`nrt"\$`, p.data[p.at+1]) >= 0:
			p.at++
			c = p.data[p.at]
			switch c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			}
		case c == '\n':
			p.line++
		}
		out = append(out, c)
	}
	clear(out)
	return nil, false
}

// bare reads to a blank before #, or to the end of the line. The result is a
// copy, without the blanks at its end.
func (p *lines) bare() []byte {
	from := p.at
	to := from
	if p.peek() == '#' {
		p.rest()
		return nil
	}
	for ; !p.atEnd(); p.at++ {
		c := p.data[p.at]
		blank := c == ' ' || c == '\t'
		if c == '#' && p.at > to {
			break
		}
		if !blank {
			to = p.at + 1
		}
	}
	p.rest()
	return append([]byte(nil), p.data[from:to]...)
}
