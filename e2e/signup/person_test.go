package signup_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// way is a service as it is played, and what a person does there.
type way struct {
	name string
	site sites.Options
	kind string // of the stop where nobody is; "": nobody is needed
	// act does what a person is asked for in the window, on as many pages as it
	// says.
	act func(s *sites.Site, turn string) int
	// sample is where the tests of every day kill a run that has a person, by the
	// end of a line; "": nowhere.
	sample string
}

// wayOf is the first way of a service that needs a person, or the one that needs
// none.
func wayOf(service string) way {
	for _, y := range persons {
		if y.site.Service == service && !y.site.Bot && !y.site.Phone {
			return y
		}
	}
	return way{site: sites.Options{Service: service}}
}

// begin makes the way's world, with the person at their browser if one is needed.
func (y way) begin(t *testing.T) *world {
	t.Helper()
	w := start(t, y.site)
	if y.act != nil {
		w.attend(y)
	}
	return w
}

// attend has a person be there from now on.
func (w *world) attend(y way) { w.window, w.act = w.theirs(), y.act }

// persons are the services, and ways of theirs, that need a person.
var persons = []way{
	{"card", sites.Options{Service: "brave-search"}, "need-human", func(s *sites.Site, _ string) int { return s.Act(sites.DeedCard) }, " read"},
	{"google", sites.Options{Service: "gemini"}, "need-human", func(s *sites.Site, turn string) int {
		if strings.Contains(turn, "Google") {
			return s.Act(sites.DeedGoogle)
		}
		return s.Act(sites.DeedTerms)
	}, " terms"},
	{"bot check", sites.Options{Service: "openrouter", Bot: true}, "bot-check", func(s *sites.Site, _ string) int { return s.Solve() }, ""},
	{"phone", sites.Options{Service: "anthropic", Phone: true}, "need-human", func(s *sites.Site, _ string) int { return s.AnswerPhone() }, ""},
}

// TestPerson: what only a person may do stops the run where nobody is, as often
// as it is tried, and makes nothing twice; with a person at a browser the run
// goes on where it was, wherever it is killed.
func TestPerson(t *testing.T) {
	for _, y := range persons {
		t.Run(y.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, y.site)
			for range 2 {
				o := w.provision("--json")
				if o.code != 10 || o.failure.Error.Code != "needs-person" || !strings.Contains(o.failure.Error.Problem, y.kind) {
					t.Fatal(o)
				}
				if w.site.Robots() > 0 || len(w.site.Keys()) > 0 || len(w.site.Accounts()) > 1 {
					t.Fatalf("%d clicks by a robot, keys %v, accounts %v", w.site.Robots(), w.site.Keys(), w.site.Accounts())
				}
				if campaign(t) == 0 {
					break
				}
			}
			w.attend(y)
			if campaign(t) == 0 && y.sample != "" {
				o := w.follow(func(line string) bool {
					line = strings.TrimRight(line, "\n")
					return stepLine.MatchString(line) && strings.HasSuffix(line, y.sample)
				})
				if o.code != -1 {
					t.Fatalf("it was not killed: %v", o)
				}
			}
			o := w.provision("--json", "--resume")
			if o.code != 0 || !o.answer.Resumed {
				t.Fatal(o)
			}
			w.settled("a person was there")
			w.rounds()
			w.browserless("with a person at a browser of theirs")
			if n := w.site.Robots(); n > 0 {
				t.Errorf("%d clicks by a robot", n)
			}
			if campaign(t) > 0 {
				y.killedEverywhere(t, y.through(t))
			}
		})
	}
}

// through is a run with a person from its beginning to its end.
func (y way) through(t *testing.T) outcome {
	t.Helper()
	w := y.begin(t)
	o := w.provision()
	if o.code != 0 {
		t.Fatal(o)
	}
	w.settled("a run with a person")
	if n := w.tabs(); n != 1 {
		t.Errorf("%d tabs are in the person's browser, which had one", n)
	}
	return o
}

// TestSignedIn: a person's browser stays signed in, and a run there finds its way
// where the service shows no form to sign in by.
func TestSignedIn(t *testing.T) {
	if campaign(t) == 0 {
		t.Skip("for the campaign: TestPerson has one such service")
	}
	for _, service := range []string{"openrouter", "anthropic", "groq"} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			w := start(t, sites.Options{Service: service})
			w.attend(way{})
			if o := w.provision(); o.code != 0 {
				t.Fatal(o)
			}
			w.settled("the first run")
			w.rounds()
			if n := w.tabs(); n != 1 {
				t.Errorf("%d tabs are in the person's browser, which had one", n)
			}
		})
	}
}

// theirs starts a browser as a person has it, with DevTools at the address that
// is returned. It finds every name at the site.
func (w *world) theirs() string {
	w.t.Helper()
	path, err := chrome.Find()
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ak-person-")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(path, "--headless", "--disable-gpu", "--no-first-run", "--user-data-dir="+dir, "--remote-debugging-port=0",
		"--disable-background-networking", "--enable-blink-features=ComputedAccessibilityInfo", "--lang=en-US",
		"--host-resolver-rules=MAP * "+w.site.Addr().String(), "--ignore-certificate-errors-spki-list="+strings.Join(pins(w.t, w.site.CAPEM()), ","), "about:blank")
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		// Its sandbox does not start for root.
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			w.t.Fatal(err)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	for range 300 {
		// The port, then a path.
		text, _ := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
		if port, _, ok := strings.Cut(string(text), "\n"); ok {
			return "http://127.0.0.1:" + port
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatal("the person's browser does not start")
	return ""
}

// tabs is how many the person's browser has.
func (w *world) tabs() (n int) {
	w.t.Helper()
	res, err := http.Get(w.window + "/json/list")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var list []struct{ Type string }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		w.t.Fatal(err)
	}
	for _, target := range list {
		if target.Type == "page" {
			n++
		}
	}
	return n
}

// pins are the digests of the public keys of certificates.
func pins(t *testing.T, text []byte) (all []string) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		all = append(all, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return all
}
