package cloudpolicy

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, d := range All(testNames, Variables()) {
		f.Add(d.Compact())
	}
	f.Add([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:*"],"Resource":"*","Condition":{"Bool":{"a:b":true,"c:d":[1,"x"]}}}}`))
	f.Add([]byte(`{"Statement":[{"Effect":"Allow","Action":["0:0"]}]}`)) // once printed with an empty Version
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("%v is not ErrSyntax", err)
			}
			return
		}
		once := d.Compact()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%s\n→ %s: %v", b, once, err)
		}
		if twice := again.Compact(); !bytes.Equal(once, twice) {
			t.Fatalf("not canonical:\n%s\n%s", once, twice)
		}
		Lint(Named{Name: "x", Kind: KindOf(d), Document: d})
	})
}

func TestParseRefusals(t *testing.T) {
	stmt := func(s string) string { return `{"Version":"2012-10-17","Statement":[{` + s + `}]}` }
	ok := `"Effect":"Allow","Action":"s3:GetObject","Resource":"*"`
	if _, err := Parse([]byte(stmt(ok))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ doc, says string }{
		"not JSON":            {`{`, "not JSON"},
		"a list":              {`[]`, "is not an object"},
		"no statement":        {`{"Version":"2012-10-17"}`, "/Statement is empty"},
		"empty statement":     {`{"Statement":[]}`, "/Statement is empty"},
		"trailing":            {stmt(ok) + "{}", "goes on after the end"},
		"trailing bytes":      {stmt(ok) + "x", "goes on after the end"},
		"version":             {`{"Version":"2025-01-01","Statement":[{` + ok + `}]}`, "/Version is"},
		"version number":      {`{"Version":1,"Statement":[{` + ok + `}]}`, "/Version is not a string"},
		"lower case":          {`{"statement":[{` + ok + `}]}`, `write "Statement"`},
		"unknown element":     {stmt(ok + `,"Actions":"s3:*"`), "is no element"},
		"repeated element":    {stmt(ok + `,"Effect":"Deny"`), "twice"},
		"repeated, otherwise": {stmt(ok + `,"EFFECT":"Deny"`), "twice"},
		"effect":              {stmt(`"Effect":"allow","Action":"s3:*","Resource":"*"`), `write "Allow" or "Deny"`},
		"no effect":           {stmt(`"Action":"s3:*","Resource":"*"`), "has no Effect"},
		"no action":           {stmt(`"Effect":"Allow","Resource":"*"`), "Action and NotAction"},
		"both actions":        {stmt(ok + `,"NotAction":"s3:*"`), "Action and NotAction"},
		"both resources":      {stmt(ok + `,"NotResource":"*"`), "both Resource and NotResource"},
		"both principals":     {stmt(ok + `,"Principal":"*","NotPrincipal":"*"`), "both Principal"},
		"action, no service":  {stmt(`"Effect":"Allow","Action":"GetObject","Resource":"*"`), "service:Action"},
		"empty list":          {stmt(`"Effect":"Allow","Action":[],"Resource":"*"`), "/Statement/0/Action is an empty list"},
		"number as action":    {stmt(`"Effect":"Allow","Action":7,"Resource":"*"`), "is not a string"},
		"null":                {stmt(`"Effect":"Allow","Action":null,"Resource":"*"`), "is not a string"},
		"principal string":    {stmt(ok + `,"Principal":"arn:aws:iam::1:root"`), `"*" only`},
		"principal empty":     {stmt(ok + `,"Principal":{}`), "names nobody"},
		"principal kind":      {stmt(ok + `,"Principal":{"Aws":"*"}`), `write "AWS"`},
		"condition shape":     {stmt(ok + `,"Condition":{"Bool":"true"}`), "/Statement/0/Condition/Bool is not an object"},
		"condition list":      {stmt(ok + `,"Condition":[]`), "is not an object"},
		"condition empty":     {stmt(ok + `,"Condition":{"Bool":{"a/b":[]}}`), "/Condition/Bool/a~1b is an empty list"},
		"key in two cases":    {stmt(ok + `,"Condition":{"Bool":{"aws:securetransport":"true","aws:SecureTransport":"true"}}`), "twice"},
		"answer of the API":   {`{"Policy":"{}"}`, "--query Policy"},
		"deep":                {strings.Repeat(`{"Statement":`, 20), "nested too deeply"},
		"large":               {strings.Repeat(" ", maxSize+1), "larger than"},
	} {
		_, err := Parse([]byte(c.doc))
		if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
