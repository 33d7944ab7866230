package docs

import (
	"go/constant"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// section is what stands below a heading of the second level.
func section(t *testing.T, text, title string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("there is no section %q", title)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// named are the string constants of a file whose names begin so.
func named(t *testing.T, prefix string, path ...string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for name, v := range constants(parse(t, path...)) {
		if strings.HasPrefix(name, prefix) && v.Kind() == constant.String {
			out[constant.StringVal(v)] = true
		}
	}
	if len(out) == 0 {
		t.Fatalf("%v has no constants %s", path, prefix)
	}
	return out
}

// TestAPIReference: every path, problem and event of the broker's API, and of
// the signer's, has its row, and nothing else has.
func TestAPIReference(t *testing.T) {
	doc := read(t, "docs", "reference", "http-api.md")
	var described struct {
		Paths map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "internal", "brokerapi", "openapi.yaml")), &described); err != nil {
		t.Fatal(err)
	}
	paths := named(t, "Path", "internal", "brokerapi", "api.go")
	for p := range described.Paths {
		if !paths[p] {
			t.Errorf("openapi.yaml has %s, and the program not", p)
		}
	}
	if len(paths) < 20 || len(described.Paths) != len(paths) {
		t.Errorf("%d paths, %d of them described", len(paths), len(described.Paths))
	}
	compareNames(t, "paths", firstCells(section(t, doc, "Paths")), paths)
	compareNames(t, "problems", firstCells(section(t, doc, "Problems")), named(t, "Code", "internal", "brokerapi", "api.go"))
	compareNames(t, "events", firstCells(section(t, doc, "The stream")), named(t, "Event", "internal", "brokerapi", "api.go"))
	signer := section(t, doc, "The signer")
	compareNames(t, "the signer's paths", firstCells(signer), named(t, "Path", "internal", "signerapi", "api.go"))
	for code := range named(t, "Code", "internal", "signerapi", "api.go") {
		if !strings.Contains(signer, "`"+code+"`") {
			t.Errorf("the signer's problem %s is not documented", code)
		}
	}
}

// TestStandings: who may call a path is as the document of the API says it.
func TestStandings(t *testing.T) {
	doc := section(t, read(t, "docs", "reference", "http-api.md"), "Paths")
	who := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(doc, -1) {
		who[m[1]] = m[2]
	}
	routes := regexp.MustCompile(`\{Method: \w+, Path: brokerapi\.(\w+), Who: (\w+),`).FindAllStringSubmatch(read(t, "internal", "broker", "brokerhttp", "routes.go"), -1)
	if len(routes) < 25 {
		t.Fatalf("only %d routes were found", len(routes))
	}
	paths := constants(parse(t, "internal", "brokerapi", "api.go"))
	for _, r := range routes {
		path := constant.StringVal(paths[r[1]])
		if path == brokerapi.PathSession && r[2] == "Session" {
			continue // one of its two methods: the text says so
		}
		if got := who[path]; got != strings.ToLower(r[2]) {
			t.Errorf("%s is for %s, and documented for %q", path, strings.ToLower(r[2]), got)
		}
	}
}

// TestTokenReference: every claim of a token is named.
func TestTokenReference(t *testing.T) {
	doc := read(t, "docs", "reference", "tokens.md")
	src := read(t, "internal", "token", "claims.go")
	n := 0
	for _, m := range regexp.MustCompile("`json:\"([^\",]+)").FindAllStringSubmatch(src, -1) {
		n++
		if !regexp.MustCompile("[`.\"]" + regexp.QuoteMeta(m[1]) + "[`.\"]").MatchString(doc) {
			t.Errorf("the member %s is not documented", m[1])
		}
	}
	for typ := range named(t, "typ", "internal", "token", "claims.go") {
		if typ != "dpop+jwt" && !strings.Contains(doc, "`"+typ+"`") {
			t.Errorf("the type %s is not documented", typ)
		}
	}
	if n < 15 {
		t.Errorf("only %d members were found", n)
	}
}
