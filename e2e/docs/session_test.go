package docs

import (
	"bytes"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/cloud/rig"
	"github.com/litentry/agentkeys/internal/testsrv/aws"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
)

// errNoTerminal says that there is no pseudo-terminal to be had here.
var errNoTerminal = errors.New("sessions need a pseudo-terminal of Linux")

// patience is how long one command may take. The first build of an SDK takes
// longest; commands of documents about a broker have nothing of that kind.
const patience, patienceApart = 5 * time.Minute, time.Minute

// session is a shell on a terminal, in a home directory of its own.
type session struct {
	t         *testing.T
	err       error
	home, dir string // dir is where the shell starts, and files are written
	tty       *terminal
	commands  *os.File
	mark      string // what the shell prints after each command
	chunks    chan []byte
	secrets   []string          // keys that must not show up
	stands    map[string]string // address in the document → real address
	answers   []answer
	shown     bytes.Buffer   // all that was printed
	world     *rig.World     // of documents about a broker
	mailer    *mailer.Mailer // who sends mail
	aws       *aws.Server    // what plays AWS
	doors     doors          // what plays services' ways to a key
	made      sync.Map       // keys that a service made in this session
	stuck     bool           // a command does not end
}

// answer is what a person types when a prompt shows up.
type answer struct {
	prompt, text string
	hidden       bool
	find         func() (string, error) // where the text comes from; nil: it is text
}

// driver reads commands, each ended by a zero byte, and executes them as if
// they had been typed one after the other.
const driver = `
status() { return "$1"; }
last=0
while IFS= read -r -d '' command <&3; do
	status "$last"
	eval "$command" 3<&-
	last=$?
	printf '%s%d;' "$MARK" "$last"
done`

func newSession(t *testing.T) *session {
	t.Helper()
	// A short path: sockets are in there.
	home, err := os.MkdirTemp("", "ak-")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{
		t: t, home: home, dir: filepath.Join(home, "work"), mark: "\x01" + randomHex(8) + " ",
		chunks: make(chan []byte, 1024), stands: map[string]string{},
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if s.tty, s.err = openTerminal(); s.err != nil {
		return s
	}
	t.Cleanup(s.tty.close)
	passphrase := filepath.Join(home, "passphrase")
	if err := errors.Join(os.Mkdir(s.dir, 0o700), os.WriteFile(passphrase, []byte(randomHex(16)+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.reservePort(filepath.Join(home, ".local", "share", "agentkeys"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.commands = w
	cmd := exec.Command("bash", "--noprofile", "--norc", "-c", driver)
	cmd.Dir = s.dir
	// Nothing of the user who runs the tests: no keychain, no proxy, no key.
	cmd.Env = []string{
		"HOME=" + home, "PATH=" + program + string(os.PathListSeparator) + os.Getenv("PATH"), "TERM=dumb", "TZ=UTC", "LANG=C.UTF-8",
		"AGENTKEYS_PASSPHRASE_FILE=" + passphrase, "MARK=" + s.mark,
	}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+dir)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty.slave, s.tty.slave, s.tty.slave
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.read()
	t.Cleanup(func() {
		down := exec.Command(filepath.Join(program, "agentkeys"), "down")
		down.Env = cmd.Env
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("stopping the background process: %v\n%s", err, out)
		}
		_ = w.Close() // ends the shell
		end := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer end.Stop()
		_ = cmd.Wait()
	})
	return s
}

// reservePort has the process remember a port that nobody else is likely to
// take while it is down: a reader has one process, the tests have many.
func (s *session) reservePort(data string) {
	s.t.Helper()
	port, err := ports.Take(s.t.Cleanup)
	if err := errors.Join(err, os.MkdirAll(data, 0o700), os.WriteFile(filepath.Join(data, "port"), []byte(strconv.Itoa(port)+"\n"), 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) read() {
	for {
		buf := make([]byte, 4096)
		n, err := s.tty.master.Read(buf)
		if n > 0 {
			s.chunks <- buf[:n]
		}
		if err != nil {
			close(s.chunks)
			return
		}
	}
}

// run executes a command and returns what stood on the terminal after it.
func (s *session) run(command string) (out string, code int, err error) {
	if s.stuck {
		return "", 0, errors.New("an earlier command has not ended")
	}
	if _, err := io.WriteString(s.commands, s.asReal(command)+"\x00"); err != nil {
		return "", 0, err
	}
	var got strings.Builder
	limit := time.After(patience)
	if s.world != nil {
		limit = time.After(patienceApart)
	}
	asked := 0 // of got, how much has been searched for prompts
	for {
		select {
		case b, ok := <-s.chunks:
			if !ok {
				return got.String(), 0, errors.New("the shell has ended")
			}
			got.Write(b)
		case <-limit:
			s.stuck = true
			return got.String(), 0, errors.New("it does not end; is it waiting for an answer?")
		}
		text := got.String()
		if before, after, found := strings.Cut(text, s.mark); found && strings.HasSuffix(after, ";") {
			code, err := strconv.Atoi(strings.TrimSuffix(after, ";"))
			text = strings.ReplaceAll(before, "\r\n", "\n")
			s.shown.WriteString(text)
			return text, code, err
		}
		if len(s.answers) == 0 {
			continue
		}
		if i := strings.Index(text[asked:], s.answers[0].prompt); i >= 0 {
			asked += i + len(s.answers[0].prompt)
			if err := s.answer(s.answers[0]); err != nil {
				return text, 0, err
			}
			s.answers = s.answers[1:]
		}
	}
}

// answer types, once the program listens.
func (s *session) answer(a answer) error {
	for end := time.Now().Add(10 * time.Second); a.hidden; time.Sleep(5 * time.Millisecond) {
		echo, err := s.tty.echoes()
		if err != nil {
			return err
		}
		if !echo {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%q shows what is typed", a.prompt)
		}
	}
	if a.find != nil {
		var err error
		if a.text, err = a.find(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(s.tty.master, a.text+"\n")
	return err
}

// willType parses "PROMPT" type [hidden] "TEXT", "PROMPT" open the mailed link
// and "PROMPT" sign NAME.
func (s *session) willType(text string) error {
	var a answer
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return err
	}
	a.prompt, _ = strconv.Unquote(quoted)
	if text[len(quoted):] == " open the mailed link" {
		a.find = s.openLink
		s.answers = append(s.answers, a)
		return nil
	}
	if name, ok := strings.CutPrefix(text[len(quoted):], " sign "); ok {
		a.find = func() (string, error) { return s.sign(filepath.Join(s.dir, name)) }
		s.answers = append(s.answers, a)
		return nil
	}
	rest, ok := strings.CutPrefix(text[len(quoted):], " type ")
	if !ok {
		return errors.New(`it is not: at "PROMPT" type "TEXT"`)
	}
	rest, a.hidden = strings.CutPrefix(rest, "hidden ")
	if a.text, err = strconv.Unquote(rest); err != nil {
		return err
	}
	if a.text == "$KEY" {
		a.text = s.secrets[len(s.secrets)-1]
	}
	s.answers = append(s.answers, a)
	return nil
}

// asReal puts the addresses of stand-ins where the document has others, and
// asDocumented back. Of two that begin alike the longer one counts.
func (s *session) asReal(text string) string {
	return s.replacer(func(documented, real string) (string, string) { return documented, real }).Replace(text)
}

func (s *session) asDocumented(text string) string {
	return s.replacer(func(documented, real string) (string, string) { return real, documented }).Replace(text)
}

func (s *session) replacer(order func(documented, real string) (from, to string)) *strings.Replacer {
	var pairs [][2]string
	for documented, real := range s.stands {
		from, to := order(documented, real)
		pairs = append(pairs, [2]string{from, to})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	var list []string
	for _, p := range pairs {
		list = append(list, p[0], p[1])
	}
	return strings.NewReplacer(list...)
}

// searchForKeys looks at all that the session showed and left.
func (s *session) searchForKeys() {
	s.t.Helper()
	s.made.Range(func(key, _ any) bool {
		s.secrets = append(s.secrets, key.(string))
		return true
	})
	for _, key := range s.secrets {
		if bytes.Contains(s.shown.Bytes(), []byte(key)) {
			s.t.Error("the session shows a key")
		}
	}
	dirs := []string{s.home}
	if s.world != nil {
		dirs = append(dirs, s.world.Dir)
	}
	for _, dir := range dirs {
		s.searchDir(dir)
	}
}

func (s *session) searchDir(dir string) {
	s.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what goes away while it is looked at
		}
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "node_modules") {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, key := range s.secrets {
			if bytes.Contains(data, []byte(key)) {
				s.t.Errorf("%s has a key in it", path)
			}
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = crand.Read(b)
	return hex.EncodeToString(b)
}
