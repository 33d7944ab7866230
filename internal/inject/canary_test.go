package inject

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
)

var canaryForms = encodings(canary)

// findCanary searches b, and what b decompresses to, for the canary in every
// form, and says in which it was found.
func findCanary(b []byte) string {
	for name, form := range canaryForms {
		if bytes.Contains(b, []byte(form)) {
			return name
		}
	}
	if i := bytes.Index(b, []byte{0x1f, 0x8b}); i >= 0 {
		if z, err := gzip.NewReader(bytes.NewReader(b[i:])); err == nil {
			out, _ := io.ReadAll(io.LimitReader(z, 1<<20))
			if name := findCanary(out); name != "" {
				return "gzip of " + name
			}
		}
	}
	if len(b) == 0 || len(b) > 1<<16 || b[0] == 'H' || b[0] == '{' || b[0] == '<' {
		return "" // text
	}
	if out, _ := io.ReadAll(io.LimitReader(brotli.NewReader(bytes.NewReader(b)), 1<<20)); len(out) > 0 {
		for name, form := range canaryForms {
			if bytes.Contains(out, []byte(form)) {
				return "brotli of " + name
			}
		}
	}
	return ""
}

// noCanary searches everything that the agent got.
func noCanary(t testing.TB, res *http.Response, body []byte) {
	t.Helper()
	var head bytes.Buffer
	head.WriteString(res.Status + "\n")
	_ = res.Header.Write(&head)
	_ = res.Trailer.Write(&head)
	for where, b := range map[string][]byte{"head": head.Bytes(), "body": body, "names": []byte(strings.ToLower(head.String()))} {
		if name := findCanary(b); name != "" {
			t.Errorf("the %s has the secret as %s: %.300q", where, name, b)
		}
	}
}

// A search that finds nothing proves nothing unless it finds what is there.
func TestFindCanary(t *testing.T) {
	for name, form := range encodings(canary) {
		if findCanary([]byte("x"+form+"y")) == "" {
			t.Errorf("%s is not found", name)
		}
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(canary))
	_ = z.Close()
	if findCanary(append([]byte("head"), b.Bytes()...)) == "" {
		t.Error("gzip is not searched")
	}
	b.Reset()
	bw := brotli.NewWriter(&b)
	_, _ = bw.Write([]byte(canary))
	_ = bw.Close()
	if findCanary(b.Bytes()) == "" {
		t.Error("brotli is not searched")
	}
	if findCanary([]byte(canary[1:]+canary[:5])) != "" {
		t.Error("found what is not there")
	}
}
