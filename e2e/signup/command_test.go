package signup_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// plan is the answer of --plan --json.
type plan struct {
	Take  string
	Doors []struct {
		Door, Why, Fix string
		Open           bool
	}
}

func (p plan) door(name string) (open bool, why, fix string) {
	for _, d := range p.Doors {
		if d.Door == name {
			return d.Open, d.Why, d.Fix
		}
	}
	return false, "no such door", ""
}

func planned(t *testing.T, h *rig.Home, service string) (p plan) {
	t.Helper()
	if err := json.Unmarshal([]byte(h.OK("provision", service, "--plan", "--json")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// problem is what a command that failed says with --json.
func problem(t *testing.T, r rig.Result, exit int) (code, fix string) {
	t.Helper()
	var out struct {
		Error struct{ Code, Problem, Fix string }
	}
	if err := json.Unmarshal([]byte(r.Stderr), &out); err != nil || r.Code != exit {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return out.Error.Code, out.Error.Fix
}

// TestShut: what cannot be done here says why, and how it could be; nothing is
// contacted for it.
func TestShut(t *testing.T) {
	t.Parallel()
	h := rig.New(t)
	h.Up()
	for _, service := range []string{"x", "instagram", "openrouter", "groq", "gemini"} {
		p := planned(t, h, service)
		if p.Take != "" {
			t.Errorf("%s: it would take %s", service, p.Take)
		}
		for _, d := range p.Doors {
			if d.Open || d.Why == "" {
				t.Errorf("%s: door %s: %+v", service, d.Door, d)
			}
		}
		text := h.OK("provision", service, "--plan")
		if strings.Count(text, " shut: ") != 5 || !strings.Contains(text, "Nothing would be done.") {
			t.Errorf("%s:\n%s", service, text)
		}
		if code, _ := problem(t, h.Run("", "provision", service, "--json"), 5); code != "no-door" {
			t.Errorf("%s: %s", service, code)
		}
		if code, fix := problem(t, h.Run("", "provision", service, "--json", "--door", "import"), 5); code != "no-door" || !strings.Contains(fix, "agentkeys store "+service) {
			t.Errorf("%s: import: %s, %s", service, code, fix)
		}
	}
	for _, service := range []string{"x", "instagram"} {
		if _, why, _ := planned(t, h, service).door("signup"); !strings.Contains(why, "no recipe") && !strings.Contains(why, "not supported") {
			t.Errorf("%s: signup: %q", service, why)
		}
	}
	// Nobody has read its terms.
	if code, fix := problem(t, h.Run("", "provision", "openrouter", "--json", "--door", "signup"), 5); code != "no-door" || !strings.Contains(fix, "agentkeys terms review openrouter") {
		t.Errorf("live: %s, %s", code, fix)
	}
	if left, _ := filepath.Glob(filepath.Join(h.Paths.Provision(), "*.json")); len(left) > 0 {
		t.Errorf("journals: %v", left)
	}

	for _, c := range []struct {
		args []string
		exit int
		code string
	}{
		{[]string{"provision", "--resume"}, 4, "nothing-to-resume"},
		{[]string{"provision", "openrouter", "--resume"}, 4, "nothing-to-resume"},
		{[]string{"provision"}, 2, "usage"},
		{[]string{"provision", "openrouter", "--door", "window"}, 2, "usage"},
		{[]string{"provision", "openrouter", "--headed", "--attach", "http://127.0.0.1:1"}, 2, "usage"},
		{[]string{"provision", "openrouter", "--plan", "--force"}, 2, "usage"},
		{[]string{"provision", "no-such-service"}, 4, ""},
		{[]string{"provision", "No Such"}, 2, ""},
	} {
		code, _ := problem(t, h.Run("", append(c.args, "--json")...), c.exit)
		if c.code != "" && code != c.code {
			t.Errorf("%q: %s", c.args, code)
		}
	}
	h.Down()
	if code, _ := problem(t, h.Run("", "provision", "openrouter", "--json"), 3); code != "down" {
		t.Errorf("without the background process: %s", code)
	}
}

// TestNoBrowser: where no Chromium is, the door is shut and says what to do.
func TestNoBrowser(t *testing.T) {
	t.Parallel()
	w := start(t, sites.Options{Service: "jina"})
	w.home.Env = append(w.home.Env, "PATH="+t.TempDir())
	o := w.provision("--json")
	if o.code != 5 || !strings.Contains(o.failure.Error.Fix, "Chromium") && !strings.Contains(o.failure.Error.Problem, "Chromium") {
		t.Error(o)
	}
	if o := w.provision("--json", "--browser", filepath.Join(t.TempDir(), "none")); o.code != 2 || len(w.site.Visits()) > 0 {
		t.Error(o)
	}
	// What is no browser is said to be none, and ends.
	if o := w.provision("--json", "--browser", "/bin/true"); o.code != 1 || len(w.site.Visits()) > 0 {
		t.Error(o)
	}
}

// TestInterrupted: Ctrl-C ends the run, the browser with it, and what was begun
// goes on later. A second run at the same time is told to wait.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := start(t, sites.Options{Service: "openrouter"})
	held := w.site.Hold("POST /v1/client/sign_ups", false) // no mail comes, and the run waits for it
	r := w.begin()
	select {
	case <-held.Arrived():
	case <-r.ended:
		t.Fatal(r.end())
	}
	if o := w.provision("--json"); o.code != 6 || o.failure.Error.Code != "busy" {
		t.Errorf("a second run: %v", o)
	}
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	first := r.end()
	if first.code != 130 {
		t.Errorf("interrupted: %v", first)
	}
	held.Release()
	w.browserless("interrupted")
	if left := w.profiles(); len(left) > 0 {
		t.Errorf("profiles are left: %v", left)
	}
	w.quiet()
	text := w.home.OK("provision", "openrouter", "--plan")
	if !strings.Contains(text, "a run by signup did not end: stopped at register") {
		t.Errorf("the plan says\n%s", text)
	}
	// Every run that did not end goes on without being named.
	resumed := w.command("provision", "--resume", "--json").end()
	if resumed.code != 0 || !resumed.answer.Resumed {
		t.Fatal(resumed)
	}
	w.settled("an interruption")

	// Another key is one more: the one before is still its owner's to delete.
	forced := w.provision("--json", "--force")
	if forced.code != 0 || forced.answer.Existing || len(w.site.Keys()) != 2 || len(w.site.Accounts()) != 1 {
		t.Errorf("forced: %v\n%v %v", forced, w.site.Keys(), w.site.Accounts())
	}
	for _, k := range w.site.Keys() {
		if !k.Live {
			t.Errorf("%s counts no more", k.ID)
		}
	}
	w.clean(first, resumed, forced)
}

// secretish finds what a letter holds that nobody else may know.
var secretish = regexp.MustCompile(`token=([\w-]{20,})|#([\w-]{20,}):|\b(\d{6})\b`)

const ofLetter = "a link's token or a code"

// clean demands that neither what runs said nor anything below the home holds a
// key, a password, or a link or code of a mail.
func (w *world) clean(said ...outcome) {
	w.t.Helper()
	secrets := map[string]string{}
	w.mu.Lock()
	for k := range w.keys {
		secrets[k] = "a key"
	}
	for _, l := range w.mails {
		for _, m := range secretish.FindAllStringSubmatch(l.Text, -1) {
			for _, s := range m[1:] {
				if s != "" {
					secrets[s] = ofLetter
				}
			}
		}
	}
	w.mu.Unlock()
	if text := w.password(); text != "" {
		secrets[text] = "the password"
	}
	if len(secrets) == 0 {
		w.t.Error("there is nothing to look for")
	}
	look := func(where, text string) {
		for s, what := range secrets {
			if what == ofLetter && strings.Contains(where, "/mail/bots/") {
				continue // the letter itself, as it came
			}
			// Six digits stand in many a longer number.
			if strings.Contains(text, s) && (len(s) > 6 || regexp.MustCompile(`\b`+s+`\b`).MatchString(text)) {
				w.t.Errorf("%s holds %s", where, what)
			}
		}
	}
	for _, o := range said {
		look("the output", o.stderr)
		look("the output", string(o.stdout))
	}
	err := filepath.WalkDir(filepath.Dir(w.home.Dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // what goes away while it is looked at
		}
		if data, err := os.ReadFile(path); err == nil {
			look(path, string(data))
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// password is what the run made up for the account, "" if there is none.
func (w *world) password() string {
	svc, err := agentkeys.ParseService(w.service)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := w.home.Client().Drawer(w.t.Context(), svc, local.DrawerAccount)
	if err != nil {
		return ""
	}
	defer v.Clear()
	var login struct{ Password string }
	if err := json.Unmarshal(v.Expose(), &login); err != nil {
		w.t.Fatal(err)
	}
	return login.Password
}
