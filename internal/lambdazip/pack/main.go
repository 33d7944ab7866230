// Command pack writes mailrouter-<architecture>.zip for each architecture into
// a directory, dist unless another is given, and prints the SHA-256 of each in
// hexadecimal, as sha256sum has it, and in base64, as Lambda's CodeSha256. It is
// run in the module's directory, by `make mailrouter`.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/litentry/agentkeys/internal/lambdazip"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := "dist"
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := pack(ctx, dir, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pack(ctx context.Context, dir string, out io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, a := range lambdazip.Architectures {
		z, err := lambdazip.Build(ctx, ".", a)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, "mailrouter-"+a+".zip")
		if err := os.WriteFile(path, z, 0o644); err != nil {
			return err
		}
		sum := sha256.Sum256(z)
		fmt.Fprintf(out, "%x  %s  CodeSha256 %s\n", sum, path, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return nil
}
