package docs

import (
	"go/ast"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/brokerconf"
	"github.com/litentry/agentkeys/internal/cloud"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/signerconf"
)

// settings returns every setting of a configuration's type that holds a value,
// as a path: tls.cert, audiences[].name.
func settings(t *testing.T, typ string, path ...string) map[string]bool {
	t.Helper()
	types := map[string]*ast.StructType{}
	ast.Inspect(parse(t, path...), func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if st, ok := spec.Type.(*ast.StructType); ok {
				types[spec.Name.Name] = st
			}
		}
		return true
	})
	out := map[string]bool{}
	var walk func(prefix string, st *ast.StructType)
	walk = func(prefix string, st *ast.StructType) {
		for _, f := range st.Fields.List {
			if f.Tag == nil {
				continue
			}
			name := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
			if name == "" || name == "-" {
				continue
			}
			at, of := prefix+name, f.Type
			if p, ok := of.(*ast.StarExpr); ok {
				of = p.X
			}
			inner := of
			if list, ok := of.(*ast.ArrayType); ok {
				inner = list.Elt
			}
			nested, _ := inner.(*ast.StructType)
			if id, ok := inner.(*ast.Ident); ok && nested == nil {
				nested = types[id.Name]
			}
			switch {
			case nested == nil:
				out[at] = true
			case inner != of:
				walk(at+"[].", nested)
			default:
				walk(at+".", nested)
			}
		}
	}
	if types[typ] == nil {
		t.Fatalf("%v has no struct %s", path, typ)
	}
	walk("", types[typ])
	return out
}

// firstCells are the first cells of all tables' rows that hold one code span.
func firstCells(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		out[m[1]] = true
	}
	return out
}

func compareNames(t *testing.T, doc string, have, want map[string]bool) {
	t.Helper()
	for _, s := range sortedNames(want) {
		if !have[s] {
			t.Errorf("%s: %s is not documented", doc, s)
		}
	}
	for _, s := range sortedNames(have) {
		if !want[s] {
			t.Errorf("%s: %s is documented, and not in the program", doc, s)
		}
	}
}

func sortedNames(m map[string]bool) []string {
	list := make([]string, 0, len(m))
	for s := range m {
		list = append(list, s)
	}
	sort.Strings(list)
	return list
}

// TestSettings: every setting of the configurations has its row, and
// nothing else has.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		doc, typ string
		path     []string
		least    int
	}{
		{"broker-yaml.md", "Config", []string{"internal", "brokerconf", "brokerconf.go"}, 40},
		{"signer-yaml.md", "Config", []string{"internal", "signerconf", "signerconf.go"}, 15},
		{"mail-yaml.md", "Config", []string{"internal", "mailconf", "mailconf.go"}, 20},
		{"cloud-yaml.md", "file", []string{"internal", "cloud", "config.go"}, 20},
	} {
		want := settings(t, c.typ, c.path...)
		if len(want) < c.least {
			t.Errorf("%s: only %d settings were found", c.doc, len(want))
		}
		compareNames(t, c.doc, firstCells(read(t, "docs", "reference", c.doc)), want)
	}
}

// TestSettingsExamples: what the reference shows is a configuration that can be
// used, once the files that it names are there.
func TestSettingsExamples(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dsn", "smtp-password", "google-secret", "broker.key", "signer-client.key", "mx.key"} {
		writeInto(t, dir, name, "obviously-fake\n")
	}
	writeInto(t, dir, "rpc-ethereum", "https://rpc.example/obviously-fake\n")
	for _, name := range []string{"broker.pem", "signer-ca.pem", "mx.pem"} {
		writeInto(t, dir, name, "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
	}
	example := func(doc string) string {
		d := documents(t)[filepath.Join("docs", "reference", doc)]
		if d == nil {
			t.Fatalf("%s is not there", doc)
		}
		for _, b := range d.blocks {
			if b.lang == "yaml" {
				return writeInto(t, dir, strings.ReplaceAll(doc, "-yaml.md", ".yaml"), strings.Join(b.lines, "\n")+"\n")
			}
		}
		t.Fatalf("%s shows no example", doc)
		return ""
	}
	if _, err := brokerconf.Load(example("broker-yaml.md")); err != nil {
		t.Error(err)
	}
	if _, err := signerconf.Load(example("signer-yaml.md")); err != nil {
		t.Error(err)
	}
	if _, err := mailconf.Load(example("mail-yaml.md")); err != nil {
		t.Error(err)
	}
	if _, err := cloud.Load(example("cloud-yaml.md")); err != nil {
		t.Error(err)
	}
}

func writeInto(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
