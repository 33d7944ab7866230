package importlaw

import (
	"fmt"
	"go/ast"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// known reports whether an import can be forbidden at all: a package that is
// gone, or never was, cannot.
func (t tree) known(importPath string) bool {
	if t[importPath] != nil {
		return true
	}
	fi, err := os.Stat(filepath.Join(goroot(), "src", filepath.FromSlash(importPath)))
	return err == nil && fi.IsDir()
}

var goroot = sync.OnceValue(func() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
})

// bans returns how bans are violated, and which are stale.
func (t tree) bans(all []ban) (faults []string) {
	for _, b := range all {
		for _, not := range b.not {
			if !t.known(not) {
				faults = append(faults, fmt.Sprintf("stale ban: there is no %s", not))
			}
		}
		if b.why == "" {
			faults = append(faults, fmt.Sprintf("a ban on %s has no reason", b.not))
		}
		for _, who := range b.who {
			p := t[who]
			if p == nil {
				faults = append(faults, fmt.Sprintf("stale ban: there is no %s", who))
				continue
			}
			for _, not := range b.not {
				if b.deep && slices.Contains(p.deps, not) {
					faults = append(faults, fmt.Sprintf("%s depends on %s: %s", who, not, b.why))
				}
				for _, f := range p.files {
					if !f.test && slices.Contains(f.imports, not) {
						faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.where(f), not, b.why))
					}
				}
			}
		}
	}
	return faults
}

// rations returns who imports what is not for them, and which rations nobody
// takes.
func (t tree) rations(all []ration) (faults []string) {
	for _, r := range all {
		if r.why == "" {
			faults = append(faults, fmt.Sprintf("the ration of %s has no reason", r.what))
		}
		taken := map[string]bool{}
		for _, who := range t.paths() {
			p := t[who]
			if !p.product() || who == r.what {
				continue
			}
			for _, f := range p.files {
				switch {
				case f.test || !slices.Contains(f.imports, r.what):
				case slices.Contains(r.to, who):
					taken[who] = true
				case slices.Contains(r.to, p.where(f)):
					taken[p.where(f)] = true
				default:
					faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.where(f), r.what, r.why))
				}
			}
		}
		for _, to := range r.to {
			if !taken[to] {
				faults = append(faults, fmt.Sprintf("stale ration: %s does not import %s", to, r.what))
			}
		}
	}
	return faults
}

// strangers returns which adapters know each other.
func (t tree) strangers(adapters []string) (faults []string) {
	for _, a := range adapters {
		if t[a] == nil {
			faults = append(faults, fmt.Sprintf("stale: there is no adapter %s", a))
			continue
		}
		for _, b := range adapters {
			if a != b && slices.Contains(t[a].deps, b) {
				faults = append(faults, fmt.Sprintf("%s depends on %s: adapters have nothing in common but contracts", a, b))
			}
		}
	}
	return faults
}

// testing returns where production knows tests.
func (t tree) testing() (faults []string) {
	for _, who := range t.paths() {
		p := t[who]
		for _, f := range p.files {
			if f.test {
				continue
			}
			for _, i := range f.imports {
				to := t[i]
				switch {
				case !p.product():
					// An exam is for tests, and for other exams.
				case i == "testing" || strings.HasPrefix(i, "testing/") || i == "pgregory.net/rapid":
					faults = append(faults, fmt.Sprintf("%s imports %s: what is delivered must not behave otherwise in a test", p.where(f), i))
				case to != nil && !to.product():
					faults = append(faults, fmt.Sprintf("%s imports %s, which is for tests", p.where(f), i))
				}
			}
		}
		if p.exam() && !slices.Contains(p.deps, "testing") {
			faults = append(faults, fmt.Sprintf("%s is named like an exam and is none", who))
		}
	}
	return faults
}

// commands returns who imports a command.
func (t tree) commands() (faults []string) {
	for _, who := range t.paths() {
		for _, f := range t[who].files {
			for _, i := range f.imports {
				if strings.HasPrefix(i, "cmd/") || t[i] != nil && t[i].name == "main" {
					faults = append(faults, fmt.Sprintf("%s imports %s: a command is for people, what programs need of it belongs in a package", t[who].where(f), i))
				}
			}
		}
	}
	return faults
}

// vocabulary returns what the root depends on besides the standard library,
// and what the rest of the core depends on besides the core.
func (t tree) vocabulary(core []string) (faults []string) {
	for _, who := range core {
		p := t[who]
		if p == nil {
			faults = append(faults, fmt.Sprintf("stale: there is no %s", who))
			continue
		}
		for _, d := range p.deps {
			if t[d] != nil && (who == "." || !slices.Contains(core, d)) {
				faults = append(faults, fmt.Sprintf("%s depends on %s: the core stands by itself", who, d))
			}
			if first, _, _ := strings.Cut(d, "/"); t[d] == nil && strings.Contains(first, ".") && !strings.HasPrefix(d, "vendor/") {
				faults = append(faults, fmt.Sprintf("%s depends on %s: the core needs the standard library only", who, d))
			}
		}
	}
	return faults
}

// clocks returns where a package asks what time it is.
func (t tree) clocks(core []string) (faults []string) {
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	for _, who := range core {
		p := t[who]
		if p == nil {
			faults = append(faults, fmt.Sprintf("stale: there is no %s", who))
			continue
		}
		for _, f := range p.files {
			name := importedAs(f.syntax, "time")
			if f.test || name == "" {
				continue
			}
			if name == "." {
				faults = append(faults, p.where(f)+" imports time as .")
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(clock, s.Sel.Name) {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == name {
						faults = append(faults, fmt.Sprintf("%s uses time.%s: time is an argument of the core, so that a test can have any", p.where(f), s.Sel.Name))
					}
				}
				return true
			})
		}
	}
	return faults
}

// importedAs returns the name that a file gives to a package, "" if it does
// not import it.
func importedAs(f *ast.File, importPath string) string {
	for _, spec := range f.Imports {
		if spec.Path.Value == `"`+importPath+`"` {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(importPath)
		}
	}
	return ""
}

var (
	todo   = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b(\([^)]*\))?:? *(.*)`)
	nolint = regexp.MustCompile(`^//nolint(:[a-z0-9,]+)? // .{10,}$`)
)

// habits returns what is not as it is in this house.
func (t tree) habits() (faults []string) {
	for _, who := range t.paths() {
		p := t[who]
		fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
		switch base := path.Base(who); base {
		case "util", "utils", "common", "core", "helper", "helpers", "types", "misc", "shared":
			fault("%s is a drawer: a package is one noun", who)
		}
		comments := 0
		for _, f := range p.files {
			if f.lines > 700 {
				fault("%s has %d lines: what is its second noun?", p.where(f), f.lines)
			}
			if doc := f.syntax.Doc.Text(); doc != "" && (!f.test || strings.HasPrefix(doc, "Package ")) {
				comments++
				if p.name != "main" && !strings.HasPrefix(doc, "Package "+f.syntax.Name.Name+" ") || p.name == "main" && !strings.HasPrefix(doc, "Command "+path.Base(who)+" ") {
					fault("%s: the comment of package %s begins otherwise", p.where(f), f.syntax.Name.Name)
				}
			}
			for _, d := range f.syntax.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "init" && fn.Recv == nil && !f.test {
					fault("%s has an init: what runs unasked is found by nobody; write a table", p.where(f))
				}
			}
			for _, group := range f.syntax.Comments {
				for _, c := range group.List {
					if m := todo.FindStringSubmatch(c.Text); m != nil && len(m[3]) < 15 {
						fault("%s: %q does not say why", p.where(f), c.Text)
					}
					if strings.HasPrefix(c.Text, "//nolint") && !nolint.MatchString(c.Text) {
						fault("%s: %q does not say why", p.where(f), c.Text)
					}
				}
			}
		}
		if comments != 1 {
			fault("%s has %d package comments: one says what it owns and what it must not know", who, comments)
		}
	}
	return faults
}
