package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	code = regexp.MustCompile("`[^`]*`")
	link = regexp.MustCompile(`!?\[([^\]]*)\]\(([^)\s]+)\)`)
)

// links returns the links of a document: text, target and where.
func (d *document) links() (out [][2]string, lines []int) {
	for _, l := range d.paragraphs() {
		for _, m := range link.FindAllStringSubmatch(l.text, -1) {
			out, lines = append(out, [2]string{m[1], m[2]}), append(lines, l.number)
		}
	}
	return out, lines
}

// TestLinks looks whether every file and every heading is there that a
// document leads to.
func TestLinks(t *testing.T) {
	docs := documents(t)
	checked := 0
	for name, doc := range docs {
		links, lines := doc.links()
		for i, l := range links {
			target, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			checked++
			file := name
			if target != "" {
				file = path.Join(path.Dir(filepath.ToSlash(name)), target)
			}
			if _, err := os.Stat(filepath.Join(repo, file)); err != nil {
				t.Errorf("%s:%d: %s is not there", name, lines[i], l[1])
				continue
			}
			if anchor == "" {
				continue
			}
			to := docs[filepath.FromSlash(file)]
			if to == nil || !to.anchors[anchor] {
				t.Errorf("%s:%d: %s has no heading #%s", name, lines[i], file, anchor)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were found", checked)
	}
}

// TestEveryDocumentIsLinked finds what no reader would.
func TestEveryDocumentIsLinked(t *testing.T) {
	docs := documents(t)
	linked := map[string]bool{"README.md": true}
	for name, doc := range docs {
		links, _ := doc.links()
		for _, l := range links {
			target, _, _ := strings.Cut(l[1], "#")
			linked[path.Join(path.Dir(filepath.ToSlash(name)), target)] = true
		}
	}
	for name := range docs {
		if strings.HasPrefix(name, "docs"+string(filepath.Separator)) && !linked[filepath.ToSlash(name)] {
			t.Errorf("nothing leads to %s", name)
		}
	}
}

// TestNamedTestsExist: a guarantee is worth its test. A link whose text is the
// name of a test leads to a file that has it.
func TestNamedTestsExist(t *testing.T) {
	isTest := regexp.MustCompile("^`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`$")
	named := 0
	for name, doc := range documents(t) {
		links, lines := doc.links()
		for i, l := range links {
			file, _, _ := strings.Cut(l[1], "#")
			m := isTest.FindStringSubmatch(l[0])
			if strings.HasSuffix(file, "_test.go") && m == nil {
				t.Errorf("%s:%d: the link to %s does not name a test", name, lines[i], file)
			}
			if m == nil {
				continue
			}
			named++
			text, err := os.ReadFile(filepath.Join(repo, filepath.Dir(name), file))
			if err != nil {
				t.Errorf("%s:%d: %v", name, lines[i], err)
			} else if !strings.Contains(string(text), "\nfunc "+m[1]+"(") {
				t.Errorf("%s:%d: %s has no %s", name, lines[i], file, m[1])
			}
		}
		// A name without a link would go stale unseen.
		if name != filepath.Join("docs", "security.md") {
			continue
		}
		for _, l := range doc.paragraphs() {
			rest := link.ReplaceAllString(l.text, "")
			for _, c := range code.FindAllString(rest, -1) {
				if isTest.MatchString(c) {
					t.Errorf("%s:%d: %s is named and not linked", name, l.number, c)
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d tests are named", named)
	}
}
