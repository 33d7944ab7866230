package docs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// exampleDevTools is where documents have a person's browser.
const exampleDevTools = "127.0.0.1:9222"

// person starts a browser as a person has it, who from now on does in it what
// the site wants a person for.
func (s *session) person() error {
	site := s.doors.site
	if site == nil {
		return errors.New("no site is played")
	}
	path, err := chrome.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ak-person-")
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(path, "--headless", "--disable-gpu", "--no-first-run", "--user-data-dir="+dir, "--remote-debugging-port=0",
		"--disable-background-networking", "--lang=en-US", "--host-resolver-rules=MAP * "+site.Addr().String(),
		"--ignore-certificate-errors-spki-list="+strings.Join(pins(site.CAPEM()), ","), "about:blank")
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		// Its sandbox does not start for root.
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	for range 300 {
		// The port, then a path.
		text, _ := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
		if port, _, ok := strings.Cut(string(text), "\n"); ok {
			s.stands[exampleDevTools] = "127.0.0.1:" + port
			go acts(s.t.Context().Done(), site)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the person's browser does not start")
}

// acts does what only a person may, as soon as the site asks for it.
func acts(done <-chan struct{}, site *sites.Site) {
	for {
		select {
		case <-done:
			return
		case <-time.After(200 * time.Millisecond):
			site.Solve()
		}
	}
}

// pins are the digests of the public keys of certificates.
func pins(text []byte) (all []string) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		all = append(all, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return all
}

// page serves a file of the session at a URL, as it is at each moment, for
// `FILE at URL of SERVICE`.
func (s *session) page(text string) error {
	name, rest, ok := strings.Cut(text, " at ")
	address, service, of := strings.Cut(rest, " of ")
	if !ok || !of {
		return errors.New("it is not: page FILE at URL of SERVICE")
	}
	path := filepath.Join(s.dir, name)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(path)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(text)
	}))
	s.t.Cleanup(srv.Close)
	ca := filepath.Join(s.home, service+".pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		return err
	}
	at := srv.Listener.Addr().String()
	s.stands[address] = srv.URL + "/terms"
	return s.must("agentkeys services set " + service + " --base-url " + srv.URL + "/api/v1 --ca " + ca + " --allow-address " + at)
}
