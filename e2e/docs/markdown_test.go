package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// document is a Markdown file as far as these tests read it.
type document struct {
	blocks  []block
	prose   []line // all that is in no block and no comment
	anchors map[string]bool
}

type line struct {
	number int
	text   string
}

// block is a fenced block and the comments before it.
type block struct {
	lang       string
	line       int // of its first line
	lines      []string
	directives []directive
}

// directive is a comment <!-- test: text -->.
type directive struct {
	line int
	text string
}

var comment = regexp.MustCompile(`^<!-- test: (.+) -->$`)

func parseMarkdown(text string) (*document, error) {
	doc := &document{anchors: map[string]bool{}}
	var open *block
	var fence string
	var pending []directive
	for i, l := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(l)
		switch {
		case open != nil && trimmed == fence:
			doc.blocks = append(doc.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, l)
		case strings.HasPrefix(trimmed, "```"):
			fence = strings.Repeat("`", len(trimmed)-len(strings.TrimLeft(trimmed, "`")))
			open = &block{lang: strings.TrimLeft(trimmed, "`"), line: i + 2, directives: pending}
			pending = nil
		default:
			if m := comment.FindStringSubmatch(trimmed); m != nil {
				pending = append(pending, directive{i + 1, m[1]})
				continue
			}
			if strings.Contains(l, "<!-- test") {
				return nil, fmt.Errorf("line %d: a malformed test comment", i+1)
			}
			doc.prose = append(doc.prose, line{i + 1, l})
			if strings.HasPrefix(l, "#") {
				doc.addAnchor(strings.TrimLeft(l, "# "))
			}
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block does not end", open.line)
	}
	if len(pending) > 0 {
		return nil, fmt.Errorf("line %d: no block follows the test comment", pending[0].line)
	}
	return doc, nil
}

// paragraphs joins the lines of prose that belong together, so that a link or a
// command may be broken over two. Each has the number of its first line.
func (d *document) paragraphs() (out []line) {
	last := -1
	for _, l := range d.prose {
		switch {
		case strings.TrimSpace(l.text) == "":
		case l.number == last+1:
			out[len(out)-1].text += " " + strings.TrimSpace(l.text)
			last = l.number
		default:
			out = append(out, line{l.number, strings.TrimSpace(l.text)})
			last = l.number
		}
	}
	return out
}

func (d *document) hasSession() bool {
	for _, b := range d.blocks {
		if b.lang == "console" {
			return true
		}
	}
	return false
}

// mentions reports whether text is in a block.
func (d *document) mentions(text string) bool {
	for _, b := range d.blocks {
		if strings.Contains(strings.Join(b.lines, "\n"), text) {
			return true
		}
	}
	return false
}

// addAnchor adds a heading's anchor as forges make it: small letters, digits,
// hyphens and underscores stay, spaces become hyphens, the rest goes, and a
// second one of the same name gets a number.
func (d *document) addAnchor(heading string) {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	name := b.String()
	for n := 1; d.anchors[name]; n++ {
		name = fmt.Sprintf("%s-%d", b.String(), n)
	}
	d.anchors[name] = true
}

// step is a command and what the document says that it prints.
type step struct {
	line    int
	command string
	want    []string
}

func (b *block) steps() ([]step, error) {
	var steps []step
	more := false
	for i, l := range b.lines {
		command, isCommand := strings.CutPrefix(l, "$ ")
		switch {
		case more:
			steps[len(steps)-1].command += "\n" + l
			more = strings.HasSuffix(l, `\`)
		case isCommand:
			steps = append(steps, step{line: b.line + i, command: command})
			more = strings.HasSuffix(l, `\`)
		case len(steps) == 0:
			return nil, fmt.Errorf("a session begins with a command")
		default:
			last := &steps[len(steps)-1]
			last.want = append(last.want, strings.TrimRight(l, " "))
		}
	}
	return steps, nil
}

var (
	// dots is what stands for anything, a full stop beside it included.
	dots = regexp.MustCompile(`(\\\.){3,}`)
	// How wide a column is depends on what is in it.
	spaces = regexp.MustCompile(` +`)
	// Whether a step of a run took long depends on the machine.
	slow = regexp.MustCompile(`(?m)^ .* took [0-9.]+m?s\n`)
)

// compare holds what a command printed to what the document says.
func (s step) compare(out string) error {
	if len(s.want) == 0 {
		return nil
	}
	var re strings.Builder
	re.WriteString(`^`)
	for _, w := range s.want {
		if w == "..." {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		w = spaces.ReplaceAllLiteralString(regexp.QuoteMeta(strings.TrimLeft(w, " ")), ` +`)
		re.WriteString(` *` + dots.ReplaceAllLiteralString(w, `.*`) + ` *\n`)
	}
	re.WriteString(`$`)
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	out = slow.ReplaceAllLiteralString(out, "")
	if !regexp.MustCompile(re.String()).MatchString(out) {
		return fmt.Errorf("prints\n%s\nand not\n%s", out, strings.Join(s.want, "\n"))
	}
	return nil
}

// TestCompare: what a slow machine has to say besides is no difference, and
// anything else is one.
func TestCompare(t *testing.T) {
	s := step{want: []string{"  register 1/2  sign-up", "  register 2/2  address"}}
	for between, same := range map[string]bool{"": true, "  register 1/2    took 1.2s\n": true, "  register 1/2    again\n": false} {
		err := s.compare("  register 1/2    sign-up\n" + between + "  register 2/2    address\n")
		if (err == nil) != same {
			t.Errorf("with %q between: %v", between, err)
		}
	}
}
