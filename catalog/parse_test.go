package catalog

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

// example is the file of README.md, the smallest there is.
func example(t testing.TB) string {
	t.Helper()
	md, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(md), "```yaml\n")
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatal("README.md has no example")
	}
	return text
}

func TestExampleOfTheReadmeParses(t *testing.T) {
	e, err := Parse("/home/me/services/example.yaml", []byte(example(t)))
	if err != nil {
		t.Fatal(err)
	}
	if e.ID.String() != "example" || len(e.Allow) == 0 {
		t.Errorf("%+v", e)
	}
}

func TestParseSaysWhere(t *testing.T) {
	text := example(t)
	line := func(start string) string {
		for l := range strings.Lines(text) {
			if strings.HasPrefix(l, start) {
				return strings.TrimSuffix(l, "\n")
			}
		}
		t.Fatalf("no line starts with %s", start)
		return ""
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"unknown key":           {line("name:"), line("name:") + "\ncolour: red", `unknown key "colour"`},
		"a key twice":           {line("name:"), line("name:") + "\nname: Again", `the key "name" stands here twice`},
		"a missing key":         {line("summary:") + "\n", "", `the key "summary" is missing`},
		"a number for a string": {line("name:"), "name: 123", "a string is wanted"},
		"a date for a string":   {line("name:"), "name: 2026-01-01", "a string is wanted"},
		"a list for a string":   {line("name:"), "name: [a]", "a string is wanted"},
		"null":                  {line("name:"), "name:", "a string is wanted"},
		"two lines":             {line("name:"), "name: |\n  a\n  b", "one line"},
		"an anchor":             {line("name:"), "name: &a Example", "a string is wanted"},
		"a tag":                 {line("name:"), "name: !!str 1", "a string is wanted"},
		"a string for a list":   {line("aliases:"), "aliases: x", "a list is wanted"},
		"another id":            {line("id:"), "id: other", "named after the id"},
		"a drawer's id":         {line("id:"), "id: example--account", "no -- in it"},
		"a malformed id":        {line("id:"), "id: Example_1", "service id"},
		"http":                  {line("base_url:"), "base_url: http://api.example.com", "https URL"},
		"a slash at the end":    {line("base_url:"), "base_url: https://api.example.com/v1/", "no / at its end"},
		"a user":                {line("base_url:"), "base_url: https://u:p@api.example.com", "https URL"},
		"a rule without method": {"  - POST /chat/completions", "  - /chat/completions", "malformed path rule"},
		"an open pattern":       {"match: ^ex-[0-9a-f]{32}$", "match: ex-[0-9a-f]{32}", "starts with ^ and ends with $"},
		"a pattern without ^":   {"match: ^ex-[0-9a-f]{32}$", "match: ex-[0-9a-f]{32}$", "starts with ^ and ends with $"},
		"a pattern without $":   {"match: ^ex-[0-9a-f]{32}$", "match: ^ex-[0-9a-f]{32}", "starts with ^ and ends with $"},
		"a half open pattern":   {"match: ^ex-[0-9a-f]{32}$", "match: ^ex-[0-9a-f]{32}|x$", "starts with ^ and ends with $"},
		"a broken pattern":      {"match: ^ex-[0-9a-f]{32}$", "match: ^ex-[$", "missing closing"},
		"a lookahead":           {"match: ^ex-[0-9a-f]{32}$", "match: ^ex-(?=a)$", "invalid or unsupported"},
		"an unknown grade":      {"grade: vendor", "grade: certain", "one of vendor, rules"},
		"a loose pattern":       {"match: ^ex-[0-9a-f]{32}$", "match: ^ex-.*$", "a placeholder passes for a key"},
		"allowed and shut":      {`  - "* /keys/**"`, `  - "* /chat/**"`, "is allowed, and shut by"},
		"no import":             {"  import:\n    state: known", "  import:\n    state: unknown", "can always be imported"},
		"a mail tag":            {line("mail_tag:"), "mail_tag: example", "a mail tag"},
		"a syntax error":        {line("name:"), "name: [", "example.yaml:"},
		"a second document":     {line("live_tested:"), line("live_tested:") + "\n---\nid: x", "a second document"},
		"a status":              {"ok: [200]", "ok: [2000]", "an HTTP status"},
		"a status as a string":  {"ok: [200]", `ok: ["200"]`, "an HTTP status"},
		"an empty list":         {"ok: [200]", "ok: []", "a list is wanted"},
		"a JSON path":           {"at: usage.cost", "at: usage..cost", "a JSON path"},
		"a deep JSON path":      {"at: usage.cost", "at: a.b.c.d.e.f.g.h.i", "a JSON path"},
		"a unit":                {"unit: usd", "unit: eur", "one of usd"},
		"a host header":         {"header: Authorization", "header: Host", "never put there"},
		"a header with a colon": {"header: Authorization", "header: \"A: b\"", "the name of a header"},
		"key and unset":         {"unset: none", "unset: [EXAMPLE_API_KEY]", "both a key and unset"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(text, c.from) == 0 {
				t.Fatalf("the example has no %q", c.from)
			}
			_, err := Parse("example.yaml", []byte(strings.Replace(text, c.from, c.to, 1)))
			if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if !strings.Contains(err.Error(), "example.yaml:") {
				t.Errorf("%v does not say where", err)
			}
		})
	}
	for name, data := range map[string]string{
		"nothing":       "",
		"a comment":     "# nothing\n",
		"a list":        "- a\n",
		"a word":        "unknown\n",
		"too large":     strings.Repeat("#", maxFile+1),
		"an alias bomb": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
		"not text":      "\x00\xff",
	} {
		if _, err := Parse("example.yaml", []byte(data)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A line is only worth something if it is the right one.
func TestParseSaysTheRightLine(t *testing.T) {
	text := example(t)
	before, _, _ := strings.Cut(text, "mail_tag:")
	n := strings.Count(before, "\n") + 1
	_, err := Parse("example.yaml", []byte(strings.Replace(text, "mail_tag: none", "mail_tag: 7", 1)))
	if err == nil || !strings.Contains(err.Error(), "example.yaml:"+strconv.Itoa(n)+": ") {
		t.Errorf("%v, want line %d", err, n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(example(f)))
	f.Add([]byte(withMail(f)))
	f.Add([]byte(withDoors(f)))
	for _, id := range []string{"openrouter", "exa", "instagram"} {
		data, err := os.ReadFile(id + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Parse("example.yaml", data)
		if err != nil {
			if e != nil || !errors.Is(err, ErrFile) {
				t.Fatal(e, err)
			}
			return
		}
		if e.ID.String() != "example" || e.Base.Scheme != "https" || len(e.Inject) == 0 || len(e.Doors) != 5 {
			t.Fatalf("%+v", e)
		}
		e.Usage.FromJSON([]byte(`{"usage":{"cost":1}}`))
		_ = e.CheckKey([]byte("fakefakefake"))
		e.VerifyRequest()
		if r, ok := e.MailRules(); ok && (len(r.Senders) == 0 || len(r.LinkHosts) == 0 && r.Digits == 0) {
			t.Fatalf("%+v", r)
		}
		soundRecipe(t, e.Recipe)
	})
}
