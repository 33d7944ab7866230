// Package strictjson reads JSON that somebody else wrote, and refuses what
// encoding/json lets pass though two readers could take it for two things:
// keys that stand twice, keys in another case, unknown keys, and anything
// behind the value.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrJSON is every refusal, with what is wrong.
var ErrJSON = errors.New("malformed JSON")

// maxDepth bounds how deep values may be nested.
const maxDepth = 64

// Unmarshal reads data into v. The keys of every object are fields of v's
// types, as they are written there: in lower case with underscores. Objects
// under the keys named by free are maps, with keys of the writer's own.
func Unmarshal(data []byte, v any, free ...string) error {
	if err := check(data, free, true); err != nil {
		return err
	}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return fmt.Errorf("%w: it is null", ErrJSON) // which leaves v as it was
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %s", ErrJSON, cause(err))
	}
	return nil
}

// Unique reports whether data is one JSON value in which no object has a key
// twice, in whatever case: for formats whose keys are not ours.
func Unique(data []byte) error { return check(data, nil, false) }

func check(data []byte, free []string, lower bool) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("%w: it is not UTF-8", ErrJSON) // RFC 8259, section 8.1
	}
	c := checker{json.NewDecoder(bytes.NewReader(data)), free, lower}
	if err := c.value("", 0); err != nil {
		return fmt.Errorf("%w: %s", ErrJSON, cause(err))
	}
	if _, err := c.dec.Token(); err != io.EOF {
		return fmt.Errorf("%w: something stands behind the value", ErrJSON)
	}
	return nil
}

// cause is what is wrong without the text it is wrong in, which may be secret:
// encoding/json quotes single characters, names of fields and of types only.
func cause(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

type checker struct {
	dec   *json.Decoder
	free  []string
	lower bool
}

// value checks the next value, which stands under a key.
func (c checker) value(under string, depth int) error {
	if depth > maxDepth {
		return errors.New("it is nested too deep")
	}
	tok, err := c.dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
		for c.dec.More() {
			if err := c.value(under, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for c.dec.More() {
			tok, err := c.dec.Token()
			if err != nil {
				return err
			}
			key, _ := tok.(string)
			free := slices.Contains(c.free, under)
			folded := key // those of a map are told apart as they are
			if !free {
				// As encoding/json folds: ſ is s, and the Kelvin sign k.
				folded = strings.ToLower(strings.ToUpper(key))
			}
			if seen[folded] {
				return errors.New("a key stands twice")
			}
			seen[folded] = true
			if c.lower && !free && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				return errors.New("a key is not in lower case")
			}
			if err := c.value(key, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = c.dec.Token() // the end of it
	return err
}
