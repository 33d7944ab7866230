// Package docs holds the documents to what the program does. It has tests and
// nothing else, and may read any file of the repository.
//
// A fenced block marked console is a session on a terminal. Its lines that
// start with "$ " are commands, which bash executes in order; a command line
// that ends in a backslash goes on in the next line. The lines below a command
// are what it prints, where ... alone on a line stands for any lines, and
// inside a line for anything; a command without such lines may print what it
// likes. A command that fails is a defect unless the next one is `echo $?`.
//
// Every document is one session: one shell, one home directory, one process in
// the background. What a reader brings along, and a test has to, stands before
// a block in comments:
//
//	<!-- test: $ COMMAND -->                        a command that is not shown
//	<!-- test: stand-in SHAPE -->                   a server that plays a service, and the settings that lead there
//	<!-- test: stand-in SHAPE at ADDRESS -->        the same, for settings that the document makes itself: ADDRESS
//	                                                stands for the server's own, ca.pem is its certificate
//	<!-- test: file NAME -->                        the block is the content of a file
//	<!-- test: at "PROMPT" type [hidden] "TEXT" --> what a person answers to a prompt
//	<!-- test: at "PROMPT" open the mailed link --> the same, with the code that the page of the link shows
//	<!-- test: at "PROMPT" sign NAME -->            the same, with the signature of the user's wallet under a file
//	<!-- test: node sdk -->, <!-- test: go sdk -->  the official SDKs, installed in the working directory
//	<!-- test: needs COMMAND -->                    skip the next block where COMMAND fails
//	<!-- test: mail of DOMAIN -->                   who sends mail for a domain, signed; the settings to be sent some
//	<!-- test: mailed to NAME -->                   the block is a message that is sent so, to the address in $NAME
//	<!-- test: account -->                          an account at a stand-in for AWS, and the tokens of two wallets in a.jwt and b.jwt
//	<!-- test: records found -->                    SES there has found the records of the domains
//	<!-- test: package FILE -->                     a package for Lambda, another one each time
//	<!-- test: site SERVICE [with a bot check] -->  a service whose pages a browser signs up at, with its mail and its API;
//	                                                the first one of a document has agentkeys up
//	<!-- test: person -->                           somebody who does at the last site, in a browser of their own, what only a
//	                                                person may
//	<!-- test: management of openrouter -->         the API that makes its keys, with the management key in $MANAGEMENT
//	<!-- test: outage begins -->, <!-- test: outage ends -->    of that API
//	<!-- test: free ADDRESS -->                     ADDRESS stands for one that nothing listens at
//	<!-- test: page FILE at URL of SERVICE -->      a web server that shows a file, and the settings that lead there
//	<!-- test: exchange at SERVICE -->              a service that takes tokens of the broker, set up there and at the broker
//
// $KEY is the key that the last stand-in takes. No session may show it, and
// none may leave it in a file.
//
// Documents about a broker run in network and mount namespaces of their own,
// where names are what they say, as root on Linux:
//
//	<!-- test: installation -->  everything that an operator brings along, see installation_test.go
//	<!-- test: broker -->        the same, with a broker that is up
//	<!-- test: unit NAME -->     the block is a unit of systemd's: the session's systemctl runs its ExecStart
//	<!-- test: wallets -->       the wallets that the session has shown so far have their roles in the cloud, and are in $WALLETS
//
// A command of agentkeys in any other block is a defect: nobody would notice
// when it stops working.
package docs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/e2e/cloud/rig"
)

var update = flag.Bool("update", false, "write docs/reference/commands.md anew")

// repo is the root of the repository, program the directory of the freshly
// built binary.
var repo, program string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var err error
	if repo, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return 0, err
	}
	binary, err := rig.Inside()
	if err != nil {
		return 0, err
	}
	if binary != "" {
		program = filepath.Dir(binary)
		return m.Run(), nil
	}
	if program, err = os.MkdirTemp("", "agentkeys-docs-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(program)
	// Linked once for all packages: what go run starts is cached.
	cmd := exec.Command("go", "run", "-exec", "cp", "./cmd/agentkeys", filepath.Join(program, "agentkeys"))
	cmd.Dir = repo
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building agentkeys: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// documents returns every Markdown file, parsed, by its path from the root.
func documents(t *testing.T) map[string]*document {
	t.Helper()
	docs := map[string]*document{}
	err := filepath.WalkDir(repo, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(repo, path)
		if err != nil {
			return err
		}
		doc, err := parseMarkdown(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		docs[name] = doc
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// TestSessions does what the documents tell their readers to do.
func TestSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command of the documents")
	}
	all := documents(t)
	if name := os.Getenv(theDocument); name != "" {
		follow(t, all[name])
		return
	}
	ran := 0
	for name, doc := range all {
		if !doc.hasSession() {
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if doc.needsInstallation() {
				followApart(t, name)
				return
			}
			follow(t, doc)
		})
	}
	if ran < 5 {
		t.Errorf("only %d documents have anything to execute: the convention is not being read", ran)
	}
}

// follow executes one document.
func follow(t *testing.T, doc *document) {
	if _, err := exec.LookPath("curl"); err != nil && doc.mentions("curl ") {
		t.Skip(err)
	}
	s := newSession(t)
	if errors.Is(s.err, errNoTerminal) {
		t.Skip(s.err)
	}
	for i := range doc.blocks {
		b := &doc.blocks[i]
		skip := false
		for _, d := range b.directives {
			if err := s.prepare(d, b, &skip); err != nil {
				t.Fatalf("line %d: %s: %v", d.line, d.text, err)
			}
		}
		if b.lang != "console" || skip {
			continue
		}
		steps, err := b.steps()
		if err != nil {
			t.Fatalf("line %d: %v", b.line, err)
		}
		for k, st := range steps {
			out, code, err := s.run(st.command)
			if err != nil {
				t.Fatalf("line %d: %s: %v\n%s", st.line, st.command, err, out)
			}
			asked := k+1 < len(steps) && steps[k+1].command == "echo $?"
			if code != 0 && !asked {
				t.Fatalf("line %d: %s: exit code %d\n%s", st.line, st.command, code, out)
			}
			if err := st.compare(s.asDocumented(out)); err != nil {
				t.Errorf("line %d: %s: %v", st.line, st.command, err)
			}
		}
	}
	s.searchForKeys()
}

// prepare does what stands in a comment.
func (s *session) prepare(d directive, b *block, skip *bool) error {
	word, rest, _ := strings.Cut(d.text, " ")
	switch word {
	case "$":
		if out, code, err := s.run(rest); err != nil || code != 0 {
			return fmt.Errorf("exit code %d, %v\n%s", code, err, out)
		}
	case "stand-in":
		return s.standIn(rest)
	case "file":
		if b.lang == "console" {
			return errors.New("a session is no file")
		}
		return s.file(rest, b)
	case "at":
		return s.willType(rest)
	case "mail":
		return s.mailService(strings.TrimPrefix(rest, "of "))
	case "mailed":
		return s.mailed(strings.TrimPrefix(rest, "to "), b)
	case "account":
		return s.account()
	case "records":
		return s.found()
	case "package":
		return s.packed(rest)
	case "node", "go":
		return s.installSDK(context.Background(), word)
	case "needs":
		if out, code, err := s.run(rest); err != nil || code != 0 {
			s.t.Logf("line %d: skipped, since %q fails here:\n%s", b.line, rest, out)
			*skip = true
		}
	case "installation", "broker":
		return s.install(word == "broker")
	case "unit":
		return s.unit(rest, b)
	case "wallets":
		return s.wallets()
	case "free":
		return s.free(rest)
	case "site":
		return s.site(rest)
	case "person":
		return s.person()
	case "management":
		return s.managed(strings.TrimPrefix(rest, "of "))
	case "outage":
		return s.outage(rest)
	case "page":
		return s.page(rest)
	case "exchange":
		return s.exchanges(strings.TrimPrefix(rest, "at "))
	default:
		return errors.New("unknown directive")
	}
	return nil
}
