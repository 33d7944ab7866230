// Package lambdazip builds the mail router's package for AWS Lambda, so that
// who has the source can check the one that is delivered: the same commit and
// the same Go make the same bytes on any machine, in any directory. It depends
// on the standard library and the go command.
//
// The zip has one file, bootstrap, which provided.al2023 starts, of mode 0755,
// with a time that never changes, deflated by the level that is the library's
// own.
package lambdazip

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Architectures are those there are packages for, as Go names them.
var Architectures = []string{"arm64", "amd64"}

// Program is what is built.
const Program = "./cmd/mailrouter"

// Build builds the program of the module in dir, and returns the zip.
func Build(ctx context.Context, dir, architecture string) ([]byte, error) {
	if !slices.Contains(Architectures, architecture) {
		return nil, fmt.Errorf("no package is made for %q", architecture)
	}
	tmp, err := os.MkdirTemp("", "lambdazip-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "bootstrap")
	// No directory, no version control and no build id is in it; and no net/rpc,
	// which is for a runtime that is no more.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w -buildid=", "-o", out, Program)
	cmd.Dir = dir
	cmd.Env = environ(os.Environ(), architecture)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build for %s: %w\n%s", architecture, err, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = Write(&b, program)
	return b.Bytes(), err
}

// environ leaves out what would change the program.
func environ(environ []string, architecture string) []string {
	var env []string
	for _, e := range environ {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOFIPS140", "GODEBUG", "GOOS", "GOARCH", "GOWORK", "CGO_ENABLED":
		default:
			env = append(env, e)
		}
	}
	// GOFLAGS and GOEXPERIMENT may be in go's own configuration file, too.
	return append(env, "GOENV=off", "GOOS=linux", "GOARCH="+architecture, "CGO_ENABLED=0", "GOWORK=off")
}

// Write writes the zip of a program.
func Write(w io.Writer, program []byte) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.SetMode(0o755)
	f, err := z.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := f.Write(program); err != nil {
		return err
	}
	return z.Close()
}
