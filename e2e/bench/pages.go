package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/testsrv"
)

const (
	pageHost  = "pages.example"
	pageParts = 20 // files of the heavy page
)

// pages compares one look at a page of 300 elements with asking the browser for
// its accessibility tree, which has roles and names and little else of what a
// look tells, and the load of a heavy page through guard and proxy with the load
// by a browser that goes straight to the server.
func (b *bench) pages(dir string) error {
	s, err := servePages()
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	ours, err := chrome.Launch(ctx, chrome.Options{Hosts: []string{pageHost}, Site: s.at, CAPEM: s.ca, Dir: dir + "/browser"})
	if err != nil {
		return err
	}
	defer ours.Close()
	tab, stop, err := browse(ctx, dir, s.at.String())
	if err != nil {
		return err
	}
	defer stop()
	page := ours.Page()
	const form, heavy = "https://" + pageHost + "/form", "https://" + pageHost + "/heavy"
	const each = 10
	timed := func(f func() error) (float64, error) {
		began := time.Now()
		for range each {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return float64(time.Since(began).Microseconds()) / 1e3 / each, nil
	}
	if err := errors.Join(page.Open(ctx, form), chromedp.Do(tab, chromedp.Navigate(form))); err != nil {
		return err
	}
	css := []string{"#field-7", "button.main", "input[autocomplete=one-time-code]"}
	var looks, trees []float64
	for range b.rounds {
		o, err := timed(func() error {
			v, err := page.Look(ctx, css)
			if err == nil && len(v.Elements) < 300 {
				err = fmt.Errorf("a look saw %d elements", len(v.Elements))
			}
			return err
		})
		if err != nil {
			return err
		}
		t, err := timed(func() error {
			_, err := chromedp.Call(tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
			return err
		})
		if err != nil {
			return err
		}
		looks, trees = append(looks, o), append(trees, t)
	}
	b.add("page: a look at 300 elements", "ms", "its AX tree", "–", looks, trees)

	var through, straight []float64
	for round := range (b.rounds + 1) * each {
		if round == each { // connections are open by now
			through, straight = nil, nil
		}
		err := s.load(ctx, func() error { return page.Open(ctx, heavy) }, &through)
		if err == nil {
			err = s.load(ctx, func() error { return chromedp.Do(tab, chromedp.Navigate(heavy)) }, &straight)
		}
		if err != nil {
			return err
		}
	}
	var o, t []float64
	for i := range b.rounds {
		o, t = append(o, median(through[i*each:(i+1)*each])), append(t, median(straight[i*each:(i+1)*each]))
	}
	b.add("page: loading 20 files, 640 KB", "ms", "straight", "–", o, t)
	return nil
}

// pageServer serves a page of 300 elements, and a heavy one that tells how long
// it took to load.
type pageServer struct {
	at    netip.AddrPort
	ca    []byte
	http  *http.Server
	loads chan float64
}

func servePages() (*pageServer, error) {
	cert, ca, err := testsrv.NewCertificate([]string{pageHost}, testsrv.CertGood)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &pageServer{at: netip.MustParseAddrPort(l.Addr().String()), ca: ca, loads: make(chan float64, 1)}
	var form, heavy strings.Builder
	form.WriteString("<!doctype html><title>Form</title><body><form>")
	for i := range 100 {
		fmt.Fprintf(&form, `<p><label for="field-%d">Field %d</label> <input id="field-%d" name="f%d"> <button type="button" class="main">Save %d</button></p>`, i, i, i, i, i)
	}
	heavy.WriteString("<!doctype html><title>Heavy</title><body>")
	for i := range pageParts {
		fmt.Fprintf(&heavy, `<script src="/part/%d" defer></script>`, i)
	}
	heavy.WriteString(`<script>addEventListener("load", () => setTimeout(() => fetch("/loaded?ms=" + performance.getEntriesByType("navigation")[0].loadEventStart)))</script>`)
	part := "// " + strings.Repeat("nothing ", 4<<10) // 32 KB
	mux := http.NewServeMux()
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, body)
		}
	}
	mux.HandleFunc("/form", text("text/html; charset=utf-8", form.String()+"</form>"))
	mux.HandleFunc("/heavy", text("text/html; charset=utf-8", heavy.String()))
	mux.HandleFunc("/part/", text("text/javascript", part))
	mux.HandleFunc("/loaded", func(_ http.ResponseWriter, r *http.Request) {
		if ms, err := strconv.ParseFloat(r.URL.Query().Get("ms"), 64); err == nil {
			s.loads <- ms
		}
	})
	s.http = &http.Server{
		Handler: mux, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = s.http.ServeTLS(l, "", "") }()
	return s, nil
}

func (s *pageServer) close() { _ = s.http.Close() }

// load opens the heavy page and keeps what it says of itself, in ms.
func (s *pageServer) load(ctx context.Context, open func() error, into *[]float64) error {
	if err := open(); err != nil {
		return err
	}
	select {
	case ms := <-s.loads:
		*into = append(*into, ms)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
