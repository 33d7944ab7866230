package canary

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"html"
	"io"
	"iter"
	"regexp"
	"strconv"

	"github.com/andybalholm/brotli"
)

var (
	percent   = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	backslash = regexp.MustCompile(`\\(?:u00|x)[0-9A-Fa-f]{2}`)
)

// views are ways to read data that a reader takes without thinking.
func views(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if !yield("", data) {
			return
		}
		last := func(b []byte) []byte { // the two digits at the end of an escape
			n, _ := strconv.ParseUint(string(b[len(b)-2:]), 16, 8)
			return []byte{byte(n)}
		}
		if bytes.IndexByte(data, '%') >= 0 && !yield(", percent-decoded", percent.ReplaceAllFunc(data, last)) {
			return
		}
		if bytes.IndexByte(data, '\\') >= 0 && !yield(", JSON-decoded", backslash.ReplaceAllFunc(data, last)) {
			return
		}
		if bytes.IndexByte(data, '&') >= 0 && !yield(", HTML-decoded", []byte(html.UnescapeString(string(data)))) {
			return
		}
		if bytes.ContainsAny(data, " \t\r\n") {
			yield(", without white space", bytes.Map(func(r rune) rune {
				switch r {
				case ' ', '\t', '\r', '\n':
					return -1
				}
				return r
			}, data))
		}
	}
}

const (
	maxUnpacked = 64 << 20
	maxTries    = 2000 // of finding the beginning of something packed
)

// unpacked are what data decodes to, wholly or from some byte on. The end of a
// packed text may be missing.
func unpacked(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		read := func(name string, r io.Reader, err error) bool {
			if err != nil {
				return true
			}
			text, _ := io.ReadAll(io.LimitReader(r, maxUnpacked))
			return len(text) == 0 || yield(name, text)
		}
		for at := range each(data, "\x1f\x8b\x08") {
			z, err := gzip.NewReader(bytes.NewReader(data[at:]))
			if !read(", from gzip", z, err) {
				return
			}
		}
		for at := range each(data, "\x78") {
			z, err := zlib.NewReader(bytes.NewReader(data[at:]))
			if !read(", from zlib", z, err) {
				return
			}
		}
		if len(data) > 0 && len(data) < 1<<20 {
			_ = read(", from deflate", flate.NewReader(bytes.NewReader(data)), nil) &&
				read(", from brotli", brotli.NewReader(bytes.NewReader(data)), nil)
		}
	}
}

func each(data []byte, mark string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at, n := 0, 0; n < maxTries; n++ {
			i := bytes.Index(data[at:], []byte(mark))
			if i < 0 || !yield(at+i) {
				return
			}
			at += i + 1
		}
	}
}
