package canary

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"

	"github.com/litentry/agentkeys/internal/testsrv"
)

const key = "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"

func gz(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func br(b []byte) []byte {
	var out bytes.Buffer
	z := brotli.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// TestFinds: a search that finds nothing anywhere would make every other test
// here worthless.
func TestFinds(t *testing.T) {
	s := New("another-secret-of-which-nobody-speaks-at-all-0123456789", key)
	forms := []string{
		"raw", "json", "json-mixed", "url", "url-lower", "url-mixed", "html", "hex", "hex-upper", "base64", "base64-off1",
		"base64-off2", "base64-lines", "base64url", "base64-basic", "base64-bearer", "utf16",
	}
	for _, form := range forms {
		text := []byte("before " + testsrv.Form(form, key) + " after")
		packed := map[string][]byte{
			"plain": text, "gzip": gz(text), "brotli": br(text), "gzip in gzip": gz(gz(text)), "gzip in brotli": br(gz(text)),
			"gzip in the middle":  append([]byte("HTTP/1.1 200 OK\r\n\r\n"), gz(text)...),
			"gzip without an end": gz(text)[:len(gz(text))-9],
		}
		for how, data := range packed {
			found := s.In(data)
			if len(found) == 0 {
				t.Errorf("%s, %s: nothing found", form, how)
			}
			for _, f := range found {
				if !strings.HasPrefix(f, "secret 1, ") {
					t.Errorf("%s, %s: %s", form, how, f)
				}
			}
		}
	}
	for n := Fragment; n+head <= len(key); n++ {
		for at := head; at+n <= len(key); at += 7 {
			if len(s.In([]byte("…"+key[at:at+n]+"…"))) == 0 {
				t.Errorf("bytes %d to %d: nothing found", at, at+n)
			}
		}
	}
	for _, innocent := range []string{"", "sk-or-v1-agentkeys.3f9a", key[:head+Fragment-1], strings.Repeat("x", 4096), fmt.Sprintf("%x", key[:head+Fragment-1])} {
		if found := s.In([]byte(innocent)); len(found) > 0 {
			t.Errorf("%q: %q", innocent, found)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/clean", "nothing")
	s := New(key)
	if found, files, err := s.Files(dir); len(found) != 0 || files != 1 || err != nil {
		t.Errorf("%q %d %v", found, files, err)
	}
	write("a/dirty", string(gz([]byte(key))))
	write("named-"+key, "")
	found, files, err := s.Files(dir)
	text := strings.Join(found, "\n")
	if files != 3 || err != nil || !strings.Contains(text, "dirty: secret 0") || !strings.Contains(text, "the name ") {
		t.Errorf("%q %d %v", found, files, err)
	}
}
