package docs

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

func read(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{repo}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sources calls f with every file of production code.
func sources(t *testing.T, f func(name, text string)) {
	t.Helper()
	for _, root := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(repo, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testsrv") {
				return err
			}
			data, err := os.ReadFile(path)
			f(path, string(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func parse(t *testing.T, path ...string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(append([]string{repo}, path...)...), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// constants returns the literal constants of a file by name.
func constants(f *ast.File) map[string]constant.Value {
	out := map[string]constant.Value{}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for i, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && i < len(spec.Names) {
					out[spec.Names[i].Name] = constant.MakeFromLiteral(lit.Value, lit.Kind, 0)
				}
			}
		}
		return true
	})
	return out
}

// TestExitCodes: every code of the command line has its row, and no other.
func TestExitCodes(t *testing.T) {
	want := map[string]bool{"0": true}
	for name, v := range constants(parse(t, "cmd", "agentkeys", "errors.go")) {
		if strings.HasPrefix(name, "exit") {
			want[v.ExactString()] = true
		}
	}
	sources(t, func(name, text string) {
		for _, m := range regexp.MustCompile(`failWith\((\d+),`).FindAllStringSubmatch(text, -1) {
			want[m[1]] = true
		}
	})
	have := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(read(t, "docs", "reference", "exit-codes.md"), -1) {
		have[m[1]] = true
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("documented: %v, in the program: %v", have, want)
	}
}

// TestEnvironment: every variable that the code names is documented, and every
// one of AgentKeys' own that is documented is in the code.
func TestEnvironment(t *testing.T) {
	doc := read(t, "docs", "reference", "environment.md")
	quoted := regexp.MustCompile(`"((?:AGENTKEYS|XDG)_[A-Z_]+[A-Z])(?:=|")`)
	named := map[string]bool{}
	sources(t, func(name, text string) {
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			named[m[1]] = true
			if !strings.Contains(doc, m[1]) && !strings.HasSuffix(m[1], "_URL") { // of some service
				t.Errorf("%s: %s is not documented", name, m[1])
			}
		}
	})
	for _, m := range regexp.MustCompile("`(AGENTKEYS_[A-Z_]+[A-Z])`").FindAllStringSubmatch(doc, -1) {
		if !named[m[1]] && !strings.HasSuffix(m[1], "_URL") {
			t.Errorf("%s is documented, and nowhere in the code", m[1])
		}
	}
}

// TestProblems: every problem has its section where its type leads to, with
// its status and its title.
func TestProblems(t *testing.T) {
	doc := read(t, "docs", "problems.md")
	file := parse(t, "internal", "inject", "problem.go")
	names := constants(file)
	for name, v := range constants(parse(t, "internal", "grant", "decide.go")) {
		names["grant."+name] = v
	}
	if base := constant.StringVal(names["problemTypes"]); !strings.HasSuffix(base, "/docs/problems.md#") {
		t.Errorf("problem types lead to %s", base)
	}
	codes := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		fields, ok := kv.Value.(*ast.CompositeLit)
		if !ok || len(fields.Elts) < 2 {
			return true
		}
		key := kv.Key
		if call, ok := key.(*ast.CallExpr); ok { // code(grant.CodeNoGrant)
			key = call.Args[0]
		}
		var v constant.Value
		switch k := key.(type) {
		case *ast.Ident:
			v = names[k.Name]
		case *ast.SelectorExpr:
			v = names["grant."+k.Sel.Name]
		}
		if v == nil || v.Kind() != constant.String {
			return true
		}
		status, _ := fields.Elts[0].(*ast.BasicLit)
		title, _ := fields.Elts[1].(*ast.BasicLit)
		if status == nil || title == nil {
			return true
		}
		code := constant.StringVal(v)
		codes[code] = true
		text, _ := strconv.Unquote(title.Value)
		want := "\n### " + code + "\n\n" + status.Value + ", " + text + ". "
		if !strings.Contains(strings.ReplaceAll(doc, ".\n", ". "), strings.ReplaceAll(want, ".\n", ". ")) {
			t.Errorf("docs/problems.md does not have %q", want)
		}
		return true
	})
	if len(codes) < 25 {
		t.Errorf("only %d problems were found", len(codes))
	}
	for _, m := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(doc, -1) {
		if !codes[m[1]] {
			t.Errorf("%s is documented, and no problem", m[1])
		}
	}
}

// TestAuditEntries: every member of an entry and every operation is documented.
func TestAuditEntries(t *testing.T) {
	doc := read(t, "docs", "reference", "audit-entries.md")
	typ := reflect.TypeFor[grant.Event]()
	at := 0
	for i := range typ.NumField() {
		member, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		row := strings.Index(doc, "\n| `"+member+"` |")
		if row < 0 {
			t.Errorf("%s is not documented", member)
		} else if row < at {
			t.Errorf("%s is not in its place", member)
		}
		at = max(at, row)
	}
	documented, named := map[string]bool{}, map[string]bool{}
	op := regexp.MustCompile("[\"`]((?:agent|credential|grant|key|service|session)\\.[a-z]+|daemon\\.st[a-z]+)[\"`]")
	for _, m := range op.FindAllStringSubmatch(doc, -1) {
		documented[m[1]] = true
	}
	sources(t, func(name, text string) {
		for _, m := range op.FindAllStringSubmatch(text, -1) {
			if named[m[1]] = true; !documented[m[1]] {
				t.Errorf("%s: the operation %s is not documented", name, m[1])
			}
		}
	})
	for o := range documented {
		if !named[o] {
			t.Errorf("the operation %s is documented, and nowhere in the code", o)
		}
	}
	kinds := parse(t, "internal", "audit", "errors.go")
	for name, v := range constants(kinds) {
		if v.Kind() == constant.String && !strings.Contains(doc, "`"+constant.StringVal(v)+"`") {
			t.Errorf("%s, what a log can be wrong with, is not documented: %s", name, v)
		}
	}
}

// mailAll sends mail that is sorted, refused, and left where it is, and waits
// until it is.
const mailAll = `(
smtp=$(agentkeys status --json | sed -n 's/.*"smtp": "\(.*\)".*/\1/p')
to=$(agentkeys mail address openrouter)
for to in $to zz-${to#or-} login@agentkeys.localhost; do
	swaks --silent 3 --server $smtp --to $to --from a@b.example || exit 1
done
for i in $(seq 100); do
	for place in "" --refused --inbound; do agentkeys mail ls $place | grep -q MESSAGE || continue 2; done
	exit 0
done
exit 1
)`

// bring gives the session a management key of a service that makes keys, and
// pages at which nothing answers.
func (s *session) bring(t *testing.T) {
	t.Helper()
	api, err := manage.Start(manage.Options{Shape: "openrouter"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	writeInto(t, s.dir, "mint.pem", string(api.CAPEM()))
	writeInto(t, s.dir, "terms.txt", strings.Repeat("These are obviously no terms. ", 20))
	s.secrets = append(s.secrets, api.Management())
	for _, c := range []string{
		"agentkeys services set openrouter --base-url " + api.BaseURL() + " --mint-url " + api.BaseURL() + " --ca mint.pem --allow-address " + api.Addr(),
		"echo " + api.Management() + " | agentkeys store openrouter --management --stdin",
		"agentkeys agent create miner", "agentkeys grant miner openrouter",
		"agentkeys terms review groq --forbid --by nobody --note none --text terms.txt --yes",
		"agentkeys services set jina --site-address 127.0.0.1:9 --ca mint.pem",
		"! agentkeys provision jina --door signup --attach http://127.0.0.1:9",
	} {
		if out, code, err := s.run(c); err != nil || code != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", c, code, err, out)
		}
	}
}

// TestFiles does a little of everything, and looks whether every file that is
// there afterwards is documented, with its mode.
func TestFiles(t *testing.T) {
	s := newSession(t)
	if s.err != nil {
		t.Skip(s.err)
	}
	type row struct {
		path *regexp.Regexp
		mode fs.FileMode
		text string
		met  bool
	}
	var rows []*row
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\d+) \\|").FindAllStringSubmatch(read(t, "docs", "reference", "files.md"), -1) {
		mode, err := strconv.ParseUint(m[2], 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		pattern := regexp.MustCompile(`<[a-z]+>`).ReplaceAllLiteralString(regexp.QuoteMeta(m[1]), `[^./@]+`)
		rows = append(rows, &row{regexp.MustCompile("^" + pattern + "$"), fs.FileMode(mode), m[1], false})
	}
	home := filepath.Join(s.home, "ak")
	s.reservePort(filepath.Join(home, "data"))
	service := strings.ReplaceAll(read(t, "catalog", "deepseek.yaml"), "id: deepseek", "id: mine")
	service = regexp.MustCompile(`(?m)^mail_tag: .*$`).ReplaceAllString(service, "mail_tag: none")
	if err := os.WriteFile(filepath.Join(s.dir, "mine.yaml"), []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"export AGENTKEYS_HOME=" + home, "agentkeys up",
		"agentkeys services add mine.yaml", "agentkeys services set openai --price 'gpt*=1/2'",
		"echo 0123456789abcdef | agentkeys store openai --stdin --any-form --no-verify",
		"agentkeys agent create coder", "agentkeys grant coder openai", "agentkeys env --as coder",
		// More than a bundle of entries.
		"for i in $(seq 150); do agentkeys show openai --json > /dev/null; agentkeys show openai > /dev/null; done",
		"agentkeys rotate", "agentkeys audit checkpoint", "agentkeys audit verify", "agentkeys down", "agentkeys up",
		"agentkeys run --as coder -- true", // its file goes with the process
		mailAll,
	} {
		if out, code, err := s.run(c); err != nil || code != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", c, code, err, out)
		}
	}
	s.bring(t)
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // what goes away while it is looked at
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(home, path)
		if d.IsDir() {
			if fi.Mode().Perm() != 0o700 {
				t.Errorf("the directory %s is %#o", name, fi.Mode().Perm())
			}
			return nil
		}
		documented := false
		for _, r := range rows {
			if r.path.MatchString(name) {
				r.met, documented = true, true
				if fi.Mode().Perm() != r.mode {
					t.Errorf("%s is %#o", name, fi.Mode().Perm())
				}
			}
		}
		if !documented {
			t.Errorf("%s is not documented", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if !r.met {
			t.Errorf("%s is documented, and not there", r.text)
		}
	}
	if _, _, err := s.run("agentkeys down"); err != nil {
		t.Error(err)
	}
}
