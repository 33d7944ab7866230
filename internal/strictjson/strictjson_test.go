package strictjson_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/strictjson"
)

type inner struct {
	B int `json:"b_1"`
}

type outer struct {
	A      string             `json:"a"`
	In     inner              `json:"in"`
	List   []inner            `json:"list"`
	Prices map[string]float64 `json:"prices"`
}

func TestUnmarshal(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // part of the error; "": none
	}{
		{`{"a":"x","in":{"b_1":1},"list":[{"b_1":2}],"prices":{"GPT-5":1.5}}`, ""},
		{` {} `, ""},
		{`{"a":"x","a":"y"}`, "twice"},
		{`{"a":"x","A":"y"}`, "twice"},
		{`{"A":"x"}`, "lower case"},
		{`{"in":{"B_1":1}}`, "lower case"},
		{`{"list":[{"b_1":1,"b_1":2}]}`, "twice"},
		{`{"prices":{"x":1,"x":2}}`, "twice"},
		{`{"prices":{"x":1,"X":2}}`, ""}, // two models
		{`{"c":1}`, "unknown field"},
		{`{"a":1}`, "cannot unmarshal"},
		{`{"a":"x"} {}`, "behind"},
		{`{"a":"x"}]`, "behind"},
		{`{"a":"x"`, "too early"},
		{``, "too early"},
		{` null `, "null"},
		{`{"a":"x",}`, "invalid character"},
		{strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100), "deep"},
	} {
		var v outer
		err := strictjson.Unmarshal([]byte(c.text), &v, "prices")
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
			continue
		}
		if !errors.Is(err, strictjson.ErrJSON) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestUnique(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"clientDataJSON":"x","Z":{"q":1}}`: true,
		`{"x":1,"X":1}`:                      false,
		`{"x":[{"y":1,"y":2}]}`:              false,
		`{"s":1,"\u017f":2}`:                 false, // encoding/json takes both for one
		`{"k":1,"\u212a":2}`:                 false,
		"{\"x\":\"\xff\"}":                   false, // readers differ about what it is
		"{\"x\":\"\u00e9\"}":                 true,
		`{"x":1}1`:                           false,
		`nul`:                                false,
	} {
		if err := strictjson.Unique([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"a":"x","in":{"b_1":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v outer
		if strictjson.Unmarshal(data, &v) == nil && strictjson.Unique(data) != nil {
			t.Error("read, though a key stands twice")
		}
	})
}
