// Package canary searches bytes for a secret, however it is written: raw, URL-,
// hex-, JSON- and HTML-escaped, in base64 at each of three offsets, broken
// over lines, in UTF-16, and inside gzip, deflate and brotli. Only tests
// import it; it depends on the standard library and a brotli decoder.
package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Fragment is the length in bytes of a part of a secret that is found
// wherever it stands by itself.
const Fragment = 20

// head is what a secret may begin with that is not secret: the prefixes of
// vendors' keys are in placeholders and catalogues too.
const head = 16

// Search looks for some secrets.
type Search struct{ needles []needle }

type needle struct {
	name string
	text []byte
	fold bool // letter case does not count, and text is in small letters
}

// New makes a search for secrets, which finds name them by their place in the
// list. All but the first 16 bytes of a secret must be random.
func New(secrets ...string) *Search {
	s := &Search{}
	for i, secret := range secrets {
		if len(secret) < head+Fragment {
			panic("canary: a secret is too short to be told from chance")
		}
		add := func(form string, text []byte, fold bool) {
			s.needles = append(s.needles, needle{fmt.Sprintf("secret %d, %s", i, form), text, fold})
		}
		for at := head; at+Fragment <= len(secret); at++ {
			add("raw", []byte(secret[at:at+Fragment]), false)
		}
		add("hex", []byte(hex.EncodeToString([]byte(secret[head:head+Fragment]))), true)
		add("hex", []byte(hex.EncodeToString([]byte(secret[len(secret)-Fragment:]))), true)
		for off := range 3 {
			// Only the digits that depend on nothing but the secret.
			std := base64.StdEncoding.EncodeToString(append(make([]byte, off), secret...))
			from, to := (8*(off+head)+5)/6, 8*(off+len(secret))/6
			add(fmt.Sprintf("base64 at offset %d", off), []byte(std[from:to]), false)
			url := base64.URLEncoding.EncodeToString(append(make([]byte, off), secret...))
			add(fmt.Sprintf("base64url at offset %d", off), []byte(url[from:to]), false)
		}
		wide := make([]byte, 0, 2*len(secret))
		for _, c := range []byte(secret[head:]) {
			wide = append(wide, c, 0)
		}
		add("UTF-16", wide[:len(wide)-1], false)
	}
	return s
}

// In returns a line for each secret found in data, by form and by how the data
// had to be read.
func (s *Search) In(data []byte) []string {
	var found []string
	s.in(data, "", 0, &found)
	slices.Sort(found)
	return slices.Compact(found)
}

const maxDepth = 4

func (s *Search) in(data []byte, how string, depth int, found *[]string) {
	for name, view := range views(data) {
		s.plain(view, how+name, found)
	}
	if depth == maxDepth {
		return
	}
	for name, text := range unpacked(data) {
		s.in(text, how+name, depth+1, found)
	}
}

func (s *Search) plain(data []byte, how string, found *[]string) {
	var folded []byte
	last := ""
	for _, n := range s.needles {
		if n.name == last {
			continue // one fragment of it is enough
		}
		in := data
		if n.fold {
			if folded == nil {
				folded = bytes.ToLower(data)
			}
			in = folded
		}
		if i := bytes.Index(in, n.text); i >= 0 {
			*found = append(*found, fmt.Sprintf("%s at %d%s", n.name, i, how))
			last = n.name
		}
	}
}

// Files searches the name and the content of every file below dir. What
// disappears meanwhile is passed over; anything else that cannot be read is an
// error, since nothing is known of it. Sockets have no content.
func (s *Search) Files(dir string) (found []string, files int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range s.In([]byte(path)) {
			found = append(found, "the name "+path+": "+f)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		for _, f := range s.In(data) {
			found = append(found, path+": "+f)
		}
		return nil
	})
	return found, files, err
}
