package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// page NAME FILE serves a file, as it is at each moment, at /terms of a server
// with a certificate of its own. It sets $NAME, its URL, and $NAME_addr, and
// writes NAME.pem.
func cmdPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: page NAME FILE")
	}
	path := ts.MkAbs(args[1])
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(path)
		if err != nil || r.URL.Path != "/terms" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(text)
	}))
	ts.Defer(srv.Close)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	ts.Check(os.WriteFile(filepath.Join(scriptOf(ts).work, args[0]+".pem"), cert, 0o600))
	ts.Setenv(args[0], srv.URL)
	ts.Setenv(args[0]+"_addr", srv.Listener.Addr().String())
}

// TestReviewIsText: bytes that are no text would be recorded as other ones.
func TestReviewIsText(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{stdout: io.Discard, stderr: &stderr, getenv: func(string) string { return "" }}
	code := a.main(t.Context(), []string{"terms", "review", "openrouter", "--forbid", "--by", "\xff\xfe", "--note", "n"})
	if code != exitUsage || !strings.Contains(stderr.String(), "UTF-8") {
		t.Errorf("%d: %s", code, stderr.String())
	}
}
