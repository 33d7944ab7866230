package signup_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// campaign is how often what takes long is repeated; 0: as in every run of the
// tests, once.
func campaign(t *testing.T) int {
	text := os.Getenv("AGENTKEYS_SIGNUP_ROUNDS")
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatal("AGENTKEYS_SIGNUP_ROUNDS is a number")
	}
	return n
}

// world is one user, and one service that is played for them.
type world struct {
	t       *testing.T
	service string
	home    *rig.Home
	site    *sites.Site
	flags   []string // of provision, for what is not known of the service
	tmp     string   // where profiles are, if the home lets nobody pass

	// window is the DevTools address of a person's browser, "" where nobody is,
	// and act what the person does there when a run asks them, by the line in
	// which it does. doom is such a line: once it is done the command is killed.
	window string
	act    func(s *sites.Site, turn string) int
	doom   string

	mu   sync.Mutex
	smtp string
	keys map[string]bool // that the API accepted
	// letters were sent, posting are on their way; links and codes that they
	// hold must be nowhere else.
	letters, posting int
	mails            []sites.Letter
}

// hints are the flags for services of whose mail too little is known.
func hints(service string, senders []string) (flags []string) {
	switch service {
	case "groq", "brave-search":
		for _, s := range senders {
			flags = append(flags, "--sender", s)
		}
		host := map[string]string{"groq": "console.groq.com", "brave-search": "api-dashboard.search.brave.com"}[service]
		flags = append(flags, "--link-host", host)
	}
	return flags
}

// passable makes a directory with a short name that anybody may pass through.
func passable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ak-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // Passing through is what it is for.
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, o sites.Options) *world {
	t.Helper()
	w := &world{t: t, service: o.Service, home: rig.New(t), keys: map[string]bool{}, tmp: passable(t)}
	w.home.Env = append(w.home.Env, "TMPDIR="+w.tmp)
	names, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	var post *postman.Postman
	o.Post = func(ctx context.Context, l sites.Letter) error {
		w.mu.Lock()
		w.posting, w.letters, w.mails = w.posting+1, w.letters+1, append(w.mails, l)
		w.mu.Unlock()
		defer func() { w.mu.Lock(); w.posting--; w.mu.Unlock() }()
		return post.Post(ctx, l)
	}
	if w.site, err = sites.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.site.Close() })
	if post, err = postman.New(names, func() string { w.mu.Lock(); defer w.mu.Unlock(); return w.smtp }, w.site.Senders()...); err != nil {
		t.Fatal(err)
	}
	base, ca := w.site.BaseURL(), w.site.CAPEM()
	if base == "" {
		api, err := testsrv.Start(testsrv.Options{Shape: testsrv.Shape(o.Service), Keyring: w.keyring, Extra: w.extra()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.Close() })
		base, ca = api.BaseURL(), append(ca, api.CAPEM()...)
		if o.Service == "anthropic" {
			base = api.URL() // the catalogue's is without /v1
		}
	}
	st := w.home.Up("--mail-resolver", names.Addr())
	w.mu.Lock()
	w.smtp = st.Mail.SMTP
	w.mu.Unlock()
	host := strings.SplitN(strings.TrimPrefix(base, "https://"), "/", 2)[0]
	w.home.OK("services", "set", o.Service, "--base-url", base, "--ca", w.home.File("ca.pem", ca),
		"--allow-address", host, "--site-address", w.site.Addr().String())
	w.flags = hints(o.Service, w.site.Senders())
	return w
}

func (w *world) keyring(key string) string {
	label := w.site.KeyLabel(key)
	if label != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.keys[key] = true
	}
	return label
}

func (w *world) args(more ...string) []string {
	args := append([]string{"provision", w.service}, w.flags...)
	if w.window != "" {
		args = append(args, "--attach", w.window)
	}
	return append(args, more...)
}

func (w *world) svc() agentkeys.Service {
	s, err := agentkeys.ParseService(w.service)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// outcome is how a run ended.
type outcome struct {
	code   int
	stdout []byte
	stderr string
	answer struct {
		Door     string `json:"door"`
		Existing bool   `json:"existing"`
		Resumed  bool   `json:"resumed"`
		Verdict  string `json:"verified"`
	}
	failure struct {
		Error struct{ Code, Problem, Fix string }
	}
}

// provision runs the command to its end.
func (w *world) provision(more ...string) outcome {
	w.t.Helper()
	return w.follow(nil, more...)
}

// extra is what the service's API has besides: nothing but for OpenRouter.
func (w *world) extra() http.Handler {
	if w.service != "openrouter" {
		return nil
	}
	return w.site.ConsentAPI()
}

// follow runs the command, and kills it, and the browser with it, once stop says
// so of a line of its progress.
func (w *world) follow(stop func(line string) bool, more ...string) outcome {
	w.t.Helper()
	r := w.begin(more...)
	for line := range r.lines {
		if stop != nil && stop(line) {
			r.kill()
			stop = nil
		}
	}
	return r.end()
}

// running is a command under way.
type running struct {
	cmd   *exec.Cmd
	lines chan string // of its progress, as they come
	ended chan struct{}
	o     outcome
}

// begin starts the command. Nobody has to read its lines.
func (w *world) begin(more ...string) *running { return w.command(w.args(more...)...) }

func (w *world) command(args ...string) *running {
	w.t.Helper()
	r := &running{cmd: w.home.Command(w.t.Context(), args...), lines: make(chan string, 4096), ended: make(chan struct{})}
	var stdout bytes.Buffer
	r.cmd.Stdout = &stdout
	pipe, err := r.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		defer close(r.lines)
		var text strings.Builder
		in := bufio.NewReader(pipe)
		goesOn := func() {}
		for {
			line, err := in.ReadString('\n')
			text.WriteString(line)
			if line != "" {
				r.lines <- line
			}
			if strings.TrimSpace(line) != "" || err != nil {
				goesOn()
			}
			if strings.HasPrefix(line, yourTurn) && w.act != nil {
				goesOn = w.help(r, strings.TrimRight(line, "\n"))
			}
			if err != nil {
				break
			}
		}
		_ = r.cmd.Wait()
		r.o.code, r.o.stdout, r.o.stderr = r.cmd.ProcessState.ExitCode(), stdout.Bytes(), text.String()
		_ = json.Unmarshal(r.o.stdout, &r.o.answer)
		rows := strings.Split(strings.TrimSpace(r.o.stderr), "\n")
		_ = json.Unmarshal([]byte(rows[len(rows)-1]), &r.o.failure)
	}()
	return r
}

// yourTurn begins the line in which a run asks a person.
const yourTurn = "  Your turn: "

// help has the person do what they are asked, in their time, until the run says
// that it goes on.
func (w *world) help(r *running, turn string) (stop func()) {
	ctx, stop := context.WithCancel(w.t.Context())
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			if n := w.act(w.site, turn); n > 0 && turn == w.doom {
				r.kill()
				return
			}
		}
	}()
	return stop
}

func (r *running) kill() { _ = r.cmd.Process.Kill() }

// end waits for the command's end.
func (r *running) end() outcome {
	<-r.ended
	return r.o
}

// live is how many keys count at the service.
func (w *world) live() (n int) {
	for _, k := range w.site.Keys() {
		if k.Live {
			n++
		}
	}
	return n
}

// settled demands one account, one key that counts, and that very key in the
// vault, whatever had happened before.
func (w *world) settled(after string) {
	w.t.Helper()
	if n := len(w.site.Accounts()); n > 1 || w.service != "jina" && n != 1 {
		w.t.Errorf("%s: %d accounts: %+v", after, n, w.site.Accounts())
	}
	live := w.live()
	// A key that a page shows to whoever comes belongs to nobody, and cannot be
	// taken back: a browser that was killed may have seen one more.
	if live != 1 && w.service != "jina" {
		w.t.Errorf("%s: %d live keys: %+v", after, live, w.site.Keys())
	}
	var check struct {
		Unfinished *json.RawMessage `json:"unfinished"`
		Stored     struct {
			Stored  bool   `json:"stored"`
			Verdict string `json:"verified"`
		} `json:"stored"`
	}
	out := w.home.OK(append(w.args("--plan"), "--json")...)
	if err := json.Unmarshal([]byte(out), &check); err != nil {
		w.t.Fatal(err)
	}
	if check.Unfinished != nil || !check.Stored.Stored {
		w.t.Errorf("%s: the plan says %s", after, out)
	}
	if check.Stored.Verdict != "good" && w.verifies() {
		w.t.Errorf("%s: the key that is stored is %q", after, check.Stored.Verdict)
	}
	if left := w.profiles(); len(left) > 0 {
		w.t.Errorf("%s: profiles are left: %v", after, left)
	}
}

// verifies reports whether the service has a request that checks a key for free.
func (w *world) verifies() bool { return w.service != "brave-search" && w.service != "jina" }

// browserless demands that no browser of this home goes on. One whose command
// was killed ends by itself, in its own time.
func (w *world) browserless(after string) {
	w.t.Helper()
	n := 0
	for range 100 {
		n = 0
		for _, dir := range []string{w.home.Paths.Browser(), w.tmp} {
			out, _ := exec.Command("pgrep", "-f", "--", "--user-data-dir="+dir+"/").Output()
			n += len(bytes.Fields(out))
		}
		if n == 0 {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.t.Errorf("%s: %d processes of a browser go on", after, n)
}

// profiles are those that are left.
func (w *world) profiles() []string {
	here, _ := filepath.Glob(filepath.Join(w.home.Paths.Browser(), "run-*"))
	there, _ := filepath.Glob(filepath.Join(w.tmp, "agentkeys-browser*", "run-*"))
	return append(here, there...)
}

func (o outcome) String() string { return fmt.Sprintf("exit %d\n%s%s", o.code, o.stderr, o.stdout) }
