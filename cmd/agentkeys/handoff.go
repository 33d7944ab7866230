package main

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/brokerclient"
)

// handoff is where the browser brings the code that ends a login: one page on
// loopback, which any other page of the browser can reach as well, and so says
// nothing and takes only what names the login.
type handoff struct {
	port  int
	codes chan string
	srv   *http.Server

	mu    sync.Mutex
	login string // "": not yet known
	taken bool
}

func listenHandoff() (*handoff, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &handoff{port: ln.Addr().(*net.TCPAddr).Port, codes: make(chan string, 1)}
	h.srv = &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = h.srv.Serve(ln) }()
	return h, nil
}

// expect says which login the code must be of.
func (h *handoff) expect(login string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.login = login
}

// close lets the page go out that says it is done.
func (h *handoff) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.srv.Shutdown(ctx) != nil {
		_ = h.srv.Close()
	}
}

var codeForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9A-Za-z]{4}-?[0-9A-Za-z]{4}$`) })

// ServeHTTP takes GET /login?login=…&code=…, once.
func (h *handoff) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	q, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	// A name that resolves to 127.0.0.1 is somebody else's page.
	case r.Host != fmt.Sprintf("127.0.0.1:%d", h.port), r.Header.Get("Origin") != "":
		page(w, http.StatusForbidden, "This is not for that page.")
		return
	// A browser that goes to a page says so; a script or an image cannot.
	case r.Header.Get("Sec-Fetch-Mode") != "" && (r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"):
		page(w, http.StatusForbidden, "This is not for that page.")
		return
	case r.URL.Path != "/login":
		page(w, http.StatusNotFound, "There is nothing here.")
		return
	case r.Method != http.MethodGet:
		header.Set("Allow", "GET")
		page(w, http.StatusMethodNotAllowed, "There is nothing here.")
		return
	case err != nil || len(q) != 2 || len(q["login"]) != 1 || len(q["code"]) != 1 || !codeForm().MatchString(q.Get("code")):
		page(w, http.StatusBadRequest, "This is not the end of a login.")
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.login == "" || subtle.ConstantTimeCompare([]byte(q.Get("login")), []byte(h.login)) != 1 {
		page(w, http.StatusForbidden, "This is the end of another login.")
		return
	}
	if !h.taken {
		h.taken = true
		h.codes <- q.Get("code")
	}
	page(w, http.StatusOK, "You can close this page and go back to the terminal.")
}

func page(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html><meta charset=utf-8><title>agentkeys</title><body style=\"font:1.2em sans-serif;margin:4em\"><p>%s</p>\n", text)
}

// typed gives the lines of standard input, until it ends.
func (a *app) typed(ctx context.Context) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		in := bufio.NewScanner(io.LimitReader(a.stdin, 1<<20))
		for in.Scan() {
			select {
			case out <- strings.TrimSpace(in.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// awaitFile gives what is in a file as soon as something is.
func awaitFile(ctx context.Context, path string) <-chan string {
	out := make(chan string, 1)
	go func() {
		for {
			if data, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(data), "\n") || len(data) >= 132 {
				out <- strings.TrimSpace(string(data))
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return out
}

// checkPage keeps what a broker sends from being more than a page: it is shown,
// and perhaps given to a program.
func checkPage(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%w: the login has no page", brokerclient.ErrAnswer)
	}
	if _, err := brokerclient.ParseOrigin(u.Scheme + "://" + u.Host); err != nil {
		return errors.Join(fmt.Errorf("%w: the page of the login", brokerclient.ErrAnswer), err)
	}
	return nil
}

// openBrowser is best effort: the address has been printed.
func openBrowser(page string) {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	cmd := exec.Command(program, page)
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
