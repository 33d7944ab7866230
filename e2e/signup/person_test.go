package signup_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
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

// persons are the services, and ways of theirs, that need a person.
var persons = []struct {
	name string
	site sites.Options
	kind string // of the stop
	// act does what a person does in the window.
	act func(*sites.Site)
}{
	{"card", sites.Options{Service: "brave-search"}, "need-human", func(s *sites.Site) { s.Act(sites.DeedCard) }},
	{"google", sites.Options{Service: "gemini"}, "need-human", func(s *sites.Site) { s.Act(sites.DeedGoogle); s.Act(sites.DeedTerms) }},
	{"bot check", sites.Options{Service: "openrouter", Bot: true}, "bot-check", func(s *sites.Site) { s.Solve() }},
	{"phone", sites.Options{Service: "anthropic", Phone: true}, "need-human", func(s *sites.Site) { s.AnswerPhone() }},
}

// TestPerson: what only a person may do stops the run where nobody is, as often
// as it is tried, and makes nothing twice; with a person at a browser the run
// goes on where it was.
func TestPerson(t *testing.T) {
	for _, p := range persons {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, p.site)
			for range 2 {
				o := w.provision("--json")
				if o.code != 10 || o.failure.Error.Code != "needs-person" || !strings.Contains(o.failure.Error.Problem, p.kind) {
					t.Fatal(o)
				}
				if w.site.Robots() > 0 || len(w.site.Keys()) > 0 || len(w.site.Accounts()) > 1 {
					t.Fatalf("%d clicks by a robot, keys %v, accounts %v", w.site.Robots(), w.site.Keys(), w.site.Accounts())
				}
				if campaign(t) == 0 {
					break
				}
			}
			address := w.theirs()
			done := make(chan struct{})
			go func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(200 * time.Millisecond):
						p.act(w.site)
					}
				}
			}()
			o := w.provision("--json", "--resume", "--attach", address)
			close(done)
			if o.code != 0 || !o.answer.Resumed {
				t.Fatal(o)
			}
			if n := w.site.Robots(); n > 0 {
				t.Errorf("%d clicks by a robot", n)
			}
			w.settled("a person was there")
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
