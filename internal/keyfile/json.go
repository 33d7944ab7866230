package keyfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxDepth = 64

// jsonFormat tells Bitwarden's export from other JSON by the two keys that
// every one of them has.
func jsonFormat(text []byte) Format {
	var b struct {
		Encrypted *bool           `json:"encrypted"`
		Items     json.RawMessage `json:"items"`
	}
	if json.Unmarshal(text, &b) == nil && b.Encrypted != nil && (b.Items != nil || *b.Encrypted) {
		return Bitwarden
	}
	return JSON
}

// json takes every string of a document, under the names that lead to it,
// joined by full stops.
func (l *list) json(data []byte) error {
	w := &walk{dec: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1, list: l}
	w.dec.UseNumber()
	if err := w.value("", 0); err != nil {
		return err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something stands behind the JSON", ErrFormat)
	}
	return nil
}

// errJSON stands in the place of the decoder's own, which quotes its input.
var errJSON = fmt.Errorf("%w: malformed JSON", ErrFormat)

type walk struct {
	dec        *json.Decoder
	data       []byte
	line, seen int // newlines counted so far, and to where
	list       *list
}

func (w *walk) lineNow() int {
	to := int(w.dec.InputOffset())
	w.line += bytes.Count(w.data[w.seen:to], []byte{'\n'})
	w.seen = to
	return w.line
}

func (w *walk) value(name string, depth int) error {
	tok, err := w.dec.Token()
	if err != nil {
		return errJSON
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: it is nested too deeply", ErrFormat)
	}
	switch t := tok.(type) {
	case string:
		b := []byte(t)
		defer clear(b)
		return w.list.add(Item{Name: name, Line: w.lineNow()}, b)
	case json.Delim:
		return w.inside(t, name, depth)
	}
	return nil
}

func (w *walk) inside(open json.Delim, name string, depth int) error {
	keys := map[string]bool{}
	for i := 0; w.dec.More(); i++ {
		under := strconv.Itoa(i)
		if open == '{' {
			tok, err := w.dec.Token()
			key, ok := tok.(string)
			if err != nil || !ok {
				return errJSON
			}
			if keys[key] {
				return fmt.Errorf("%w: line %d: a key stands twice in one object", ErrFormat, w.lineNow())
			}
			keys[key], under = true, key
		}
		if len(under) > maxName {
			under = "(long)"
		}
		if err := w.value(strings.TrimPrefix(name+"."+under, "."), depth+1); err != nil {
			return err
		}
	}
	if _, err := w.dec.Token(); err != nil {
		return errJSON
	}
	return nil
}
