// Package pages is what a person sees in a browser when logging in to a broker:
// a few static pages under /login/, whole in themselves.
//
// Laws:
//   - fetching a page does nothing: who prefetches a mailed link consumes nothing
//     of it. The secret of a link is in its fragment, which no server sees; the
//     page's script takes it out of the address bar and the history before
//     anything is drawn, and sends it when a person presses a button
//   - every script and style is a file of the broker's own; nothing is loaded
//     from elsewhere, no text of others becomes markup
//   - a page sends the browser nowhere but to 127.0.0.1
package pages

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed static page.html
var files embed.FS

// The paths of the pages.
const (
	PathMail    = "/login/mail"    // #<login id>.<token>
	PathPasskey = "/login/passkey" // #<login id>
	PathWallet  = "/login/wallet"  // see WalletURL
)

// policy is the Content-Security-Policy of everything here.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

// Pages are the pages of one broker.
type Pages struct {
	host  string
	paths map[string]file
	tmpl  *template.Template
}

// file is one answer, as it is sent.
type file struct {
	contentType string
	body        []byte
}

// New makes the pages of the broker at origin, whose host they show.
func New(origin string) (*Pages, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return nil, errors.New("the broker's origin is not a scheme and a host")
	}
	tmpl, err := template.ParseFS(files, "page.html")
	if err != nil {
		return nil, err
	}
	p := &Pages{host: u.Host, paths: map[string]file{}, tmpl: tmpl}
	for path, name := range map[string]string{PathMail: "mail", PathPasskey: "passkey", PathWallet: "wallet"} {
		body, err := p.render(view{Name: name, Script: name})
		if err != nil {
			return nil, err
		}
		p.paths[path] = file{"text/html; charset=utf-8", body}
	}
	entries, err := files.ReadDir("static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		body, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		contentType := "text/javascript; charset=utf-8"
		if strings.HasSuffix(e.Name(), ".css") {
			contentType = "text/css; charset=utf-8"
		}
		p.paths["/login/static/"+e.Name()] = file{contentType, body}
	}
	return p, nil
}

// view is what a page is made of.
type view struct {
	Host   string
	Name   string // the template of its middle
	Script string // the file under static that moves it, if one does
	Code   string
	Title  string
	Text   string
}

func (p *Pages) render(v view) ([]byte, error) {
	v.Host = p.host
	var b bytes.Buffer
	err := p.tmpl.ExecuteTemplate(&b, "page", v)
	return b.Bytes(), err
}

// ServeHTTP serves GET and HEAD of what is under /login/.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p.paths[r.URL.Path]
	switch {
	case !ok:
		p.say(w, r, http.StatusNotFound, "There is no such page", "Look at the link again: it may have been cut.")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		p.say(w, r, http.StatusMethodNotAllowed, "This page is only for reading", "Open it in a browser.")
	default:
		send(w, r, http.StatusOK, f)
	}
}

// Code shows a code that the person is to type on the device that asked.
func (p *Pages) Code(w http.ResponseWriter, r *http.Request, code string) {
	if len(code) == 8 {
		code = code[:4] + "-" + code[4:]
	}
	p.write(w, r, http.StatusOK, view{Name: "result", Script: "result", Code: code})
}

// Refused says that a login was refused, has ended, or could not be tried.
func (p *Pages) Refused(w http.ResponseWriter, r *http.Request, status int) {
	if status >= 500 || status == http.StatusTooManyRequests {
		p.say(w, r, status, "The broker could not sign you in just now", "Wait a moment, then run agentkeys login again.")
		return
	}
	p.say(w, r, status, "The login was refused, or has ended", "A login works once and for a few minutes. Run agentkeys login again on the device that asked.")
}

func (p *Pages) say(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	p.write(w, r, status, view{Name: "said", Title: title, Text: text})
}

func (p *Pages) write(w http.ResponseWriter, r *http.Request, status int, v view) {
	body, err := p.render(v)
	if err != nil { // a template that a test has rendered
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	send(w, r, status, file{"text/html; charset=utf-8", body})
}

func send(w http.ResponseWriter, r *http.Request, status int, f file) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", fmt.Sprint(len(f.body)))
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers older than frame-ancestors
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.body)
	}
}

// WalletURL is the page at which a wallet of the browser signs an EIP-4361
// message: the message is the fragment, in base64url.
func WalletURL(origin, message string) string {
	return origin + PathWallet + "#" + base64.RawURLEncoding.EncodeToString([]byte(message))
}
