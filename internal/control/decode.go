package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// decode reads a JSON body, strictly: what encoding/json lets pass, keys in
// another case and keys that stand twice, is refused as well, so that nobody on
// the way reads another request than this one.
func decode(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return errors.Join(ErrRequest, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errors.Join(ErrRequest, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return ErrRequest
	}
	if !exact(json.NewDecoder(bytes.NewReader(data)), "") {
		return ErrRequest
	}
	return nil
}

// free are the keys whose objects have keys of the caller's own, such as the
// names of models. All others are those of struct fields.
var free = map[string]bool{"prices": true}

// exact reports whether the next value, which stands under a key, has each key
// once and as it is written in this package. The JSON is known to be valid.
func exact(dec *json.Decoder, under string) bool {
	tok, err := dec.Token()
	if err != nil {
		return false
	}
	switch tok {
	case json.Delim('['):
		for dec.More() {
			if !exact(dec, under) {
				return false
			}
		}
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			tok, err := dec.Token()
			key, ok := tok.(string)
			if err != nil || !ok || seen[key] || !free[under] && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
				return false
			}
			seen[key] = true
			if !exact(dec, key) {
				return false
			}
		}
	default:
		return true
	}
	_, err = dec.Token() // the end of it
	return err == nil
}
