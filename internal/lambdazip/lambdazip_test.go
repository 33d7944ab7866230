package lambdazip_test

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/lambdazip"
)

// copyModule copies what the program is made of, and no more.
func copyModule(t *testing.T, to string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-deps", "-tags", "lambda.norpc", "-json=Standard,Module,Dir,GoFiles,IgnoredGoFiles,EmbedFiles", lambdazip.Program)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"go.mod", "go.sum"}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir                                 string
			Module                              *struct{ Main bool }
			GoFiles, IgnoredGoFiles, EmbedFiles []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module == nil || !p.Module.Main {
			continue
		}
		for _, f := range append(append(p.GoFiles, p.IgnoredGoFiles...), p.EmbedFiles...) {
			name, err := filepath.Rel(root, filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, name)
		}
	}
	if len(files) < 20 {
		t.Fatalf("only %q", files)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(root, f))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(to, f)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestReproducible builds from two directories, of which one is under version
// control, in two environments.
func TestReproducible(t *testing.T) {
	one, other := t.TempDir(), filepath.Join(t.TempDir(), "a", "much", "longer path", "with-a-space")
	copyModule(t, one)
	copyModule(t, other)
	for _, args := range [][]string{{"init", "-q"}, {"add", "go.mod"}, {"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = other
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	a, err := lambdazip.Build(t.Context(), one, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-tags=other")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("TZ", "Asia/Tokyo")
	b, err := lambdazip.Build(t.Context(), other, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%d bytes, and %d others", len(a), len(b))
	}
	// Nor does the program say where it was made.
	for _, f := range unpack(t, a) {
		for _, dir := range []string{one, "/with-a-space", os.Getenv("HOME") + "/go"} {
			if bytes.Contains(f, []byte(dir)) {
				t.Errorf("%s is in the program", dir)
			}
		}
	}
}

func unpack(t *testing.T, z []byte) map[string][]byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range r.File {
		if f.Mode() != 0o755 || !f.Modified.Equal(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %s, %s", f.Name, f.Mode(), f.Modified)
		}
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if all[f.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != 1 || all["bootstrap"] == nil {
		t.Errorf("%d files", len(all))
	}
	return all
}

// TestForLambda: a program of its own, for the right machine.
func TestForLambda(t *testing.T) {
	z, err := lambdazip.Build(t.Context(), "../..", "arm64")
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(bytes.NewReader(unpack(t, z)["bootstrap"]))
	if err != nil {
		t.Fatal(err)
	}
	if e.Machine != elf.EM_AARCH64 || e.Type != elf.ET_EXEC {
		t.Errorf("%s, %s", e.Machine, e.Type)
	}
	if libs, err := e.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("it needs %q, %v", libs, err)
	}
	if len(z) > 20<<20 {
		t.Errorf("%d bytes", len(z))
	}
	if _, err := lambdazip.Build(t.Context(), "../..", "386"); err == nil || !strings.Contains(err.Error(), "386") {
		t.Errorf("386: %v", err)
	}
}
