package docs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// command is one command of the program, with its help.
type command struct {
	path []string // agentkeys, audit, verify
	help string
}

func (c command) name() string { return strings.Join(c.path, " ") }

// commands are all commands of the program.
func commands(t *testing.T) []command {
	t.Helper()
	list, err := askForCommands()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(list)
}

// askForCommands asks the program for its commands, as the shell's completion
// does, once: it takes more than a hundred starts.
var askForCommands = sync.OnceValues(func() (_ []command, err error) {
	ask := func(args ...string) string {
		cmd := exec.Command(filepath.Join(program, "agentkeys"), args...)
		cmd.Env = []string{"HOME=" + program}
		out, failed := cmd.Output()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("agentkeys %v: %w", args, failed))
		}
		return string(out)
	}
	var walk func(path []string) []command
	walk = func(path []string) []command {
		c := command{path, ask(append(slices.Clone(path[1:]), "--help")...)}
		if !strings.Contains(c.help, "Usage:\n  "+c.name()+" ") && !strings.Contains(c.help, "Usage:\n  "+c.name()+"\n") {
			return nil // an argument that the shell offers beside the commands
		}
		list := []command{c}
		if !strings.Contains(c.help, "\n  "+c.name()+" [command]\n") {
			return list
		}
		for l := range strings.Lines(ask(append(append([]string{"__complete"}, path[1:]...), "")...)) {
			name, _, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
			switch {
			case strings.HasPrefix(name, ":"), name == "help":
				continue
			case name == "completion":
				// cobra's own: its parts are the shells there are.
				list = append(list, command{append(slices.Clone(path), name), ask(name, "--help")})
				continue
			}
			list = append(list, walk(append(slices.Clone(path), name))...)
		}
		return list
	}
	list := walk([]string{"agentkeys"})
	return list, err
})

const referenceHead = `# Commands

What ` + "`agentkeys help`" + ` says, command by command. This file is generated: run
` + "`go test ./e2e/docs -run TestCommandReference -update`" + ` after changing a text.

[Exit codes](exit-codes.md) · [Environment](environment.md) · [Files](files.md)
`

// TestCommandReference holds docs/reference/commands.md to the help texts.
func TestCommandReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, c := range commands(t) {
		b.WriteString("\n" + strings.Repeat("#", min(2+max(0, len(c.path)-2), 3)) + " " + c.name() + "\n\n```text\n" + strings.TrimSpace(c.help) + "\n```\n")
	}
	file := filepath.Join(repo, "docs", "reference", "commands.md")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Error("docs/reference/commands.md is not what the program says; run go test ./e2e/docs -run TestCommandReference -update")
	}
}

// TestReadmeNamesEveryCommand keeps the first page complete.
func TestReadmeNamesEveryCommand(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(repo, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(t) {
		if len(c.path) == 2 && !regexp.MustCompile(`\b`+c.path[1]+`\b`).Match(readme) {
			t.Errorf("README.md does not name %s", c.name())
		}
	}
}

// TestNoCommandOutsideSessions: what is not executed goes stale.
func TestNoCommandOutsideSessions(t *testing.T) {
	var names []string
	for _, c := range commands(t) {
		if len(c.path) == 2 {
			names = append(names, c.path[1])
		}
	}
	typed := regexp.MustCompile(`(^|[^\w./-])agentkeys +(` + strings.Join(names, "|") + `)\b`)
	for name, doc := range documents(t) {
		if name == filepath.Join("docs", "reference", "commands.md") {
			continue // generated
		}
		for _, b := range doc.blocks {
			for i, l := range b.lines {
				if b.lang != "console" && (typed.MatchString(l) || strings.HasPrefix(strings.TrimSpace(l), "$ agentkeys")) {
					t.Errorf("%s:%d: a command in a block that is not executed: %s", name, b.line+i, l)
				}
			}
		}
		for _, l := range doc.prose {
			if strings.HasPrefix(l.text, "    ") && typed.MatchString(code.ReplaceAllString(l.text, "")) {
				t.Errorf("%s:%d: a command in a block that is not executed: %s", name, l.number, l.text)
			}
		}
	}
}

// TestCommandsInProse: a command in the middle of a sentence is not executed,
// but it and its flags exist.
func TestCommandsInProse(t *testing.T) {
	all := map[string]command{}
	for _, c := range commands(t) {
		all[c.name()] = c
	}
	checked := 0
	for name, doc := range documents(t) {
		for _, l := range doc.paragraphs() {
			for _, span := range code.FindAllString(l.text, -1) {
				span = strings.Trim(span, "`")
				if span != "agentkeys" && !strings.HasPrefix(span, "agentkeys ") {
					continue
				}
				checked++
				words := strings.Fields(span)
				at := 1
				for at < len(words) && all[strings.Join(words[:at+1], " ")].path != nil {
					at++
				}
				c := all[strings.Join(words[:at], " ")]
				takes := regexp.MustCompile(`Usage:\n  ` + regexp.QuoteMeta(c.name()) + ` \[?[A-Z]`).MatchString(c.help) // an argument of its own
				if !takes && strings.Contains(c.help, " [command]\n") && at < len(words) && !strings.HasPrefix(words[at], "-") && words[at] != "help" {
					t.Errorf("%s:%d: there is no command %q", name, l.number, span)
				}
				for _, w := range words[at:] {
					flag, _, _ := strings.Cut(strings.TrimRight(w, ",.;:"), "=")
					if flag == "--" {
						break // the rest belongs to the program
					}
					if strings.HasPrefix(flag, "-") && !regexp.MustCompile(`(^|[\s,])`+regexp.QuoteMeta(flag)+`\b`).MatchString(c.help) {
						t.Errorf("%s:%d: %s has no flag %s", name, l.number, c.name(), flag)
					}
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d commands were found", checked)
	}
}
