package importlaw

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/litentry/agentkeys"

// tree is the module's packages by their path in it, the root's is ".".
type tree map[string]*pkg

type pkg struct {
	path, name string
	files      []*file
	deps       []string // all that it imports, at any remove, tests apart
}

type file struct {
	name    string
	test    bool
	lines   int
	imports []string
	syntax  *ast.File
}

// where is a file as a law names it.
func (p *pkg) where(f *file) string { return path.Join(p.path, f.name) }

// product reports whether the package is part of what is delivered: neither
// end-to-end tests, nor a third party's own program started for tests, below
// internal/testsrv, nor an exam for other packages, which is named like
// vaulttest.
func (p *pkg) product() bool {
	return !p.exam() && p.path != "e2e" && !strings.HasPrefix(p.path, "e2e/") &&
		(!strings.HasPrefix(p.path, "internal/testsrv/") || slices.Contains(shown, p.path))
}

// shown are those of internal/testsrv/ that the demo starts.
var shown = []string{"internal/testsrv/sites", "internal/testsrv/postman", "internal/testsrv/dns", "internal/testsrv/mailer"}

func (p *pkg) exam() bool { return strings.HasSuffix(p.name, "test") }

// paths are the tree's packages in order.
func (t tree) paths() []string { return slices.Sorted(maps.Keys(t)) }

// local is an import path as a tree has it: relative to the module, as it is
// for what is not in the module.
func local(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func parse(t testing.TB, name string, src []byte) *file {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	f := &file{name: filepath.Base(name), test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(src, []byte("\n")), syntax: syntax}
	for _, spec := range syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		f.imports = append(f.imports, local(p))
	}
	return f
}

// load reads the module: the files of every package, those for other systems
// too, and what each depends on here.
func load(t testing.TB) tree {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,Deps", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := tree{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name, Dir string
			Deps                  []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		made := &pkg{path: local(p.ImportPath), name: p.Name}
		for _, d := range p.Deps {
			made.deps = append(made.deps, local(d))
		}
		if made.path != "." {
			// So that "go test" knows that a new package makes its cached
			// result worthless.
			if _, err := os.ReadDir(filepath.Dir(p.Dir)); err != nil {
				t.Fatal(err)
			}
		}
		names, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			made.files = append(made.files, parse(t, name, src))
		}
		all[made.path] = made
	}
}

// fake makes a tree of sources, by path.
func fake(t testing.TB, sources map[string]string) tree {
	t.Helper()
	all := tree{}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		dir := path.Dir(name)
		f := parse(t, name, []byte(sources[name]))
		p := all[dir]
		if p == nil {
			p = &pkg{path: dir, name: strings.TrimSuffix(f.syntax.Name.Name, "_test")}
			all[dir] = p
		}
		p.files = append(p.files, f)
	}
	for _, p := range all {
		seen := map[string]bool{}
		var visit func(q *pkg)
		visit = func(q *pkg) {
			for _, f := range q.files {
				for _, i := range f.imports {
					if f.test || seen[i] {
						continue
					}
					seen[i] = true
					if next := all[i]; next != nil {
						visit(next)
					}
				}
			}
		}
		visit(p)
		p.deps = slices.Sorted(maps.Keys(seen))
	}
	return all
}
