package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/lambda"
)

// BenchmarkStart is a cold start as far as it is this program's: from the start
// of its process to the answer to a first event, in which there is no mail. An
// empty Go program, from its start to its end, stands beside it.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	source := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	build := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", out}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, text)
		}
		return out
	}
	empty, ours := build("empty", source), build("bootstrap", "-tags", "lambda.norpc", ".")
	b.Run("empty", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(empty).Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			api, err := lambda.Start()
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			cmd := exec.Command(ours)
			cmd.Env = []string{
				"AWS_LAMBDA_RUNTIME_API=" + api.Addr, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=example",
				"AGENTKEYS_BUCKET=the-bucket", "AGENTKEYS_MAIL_DOMAINS=agents.example", "AGENTKEYS_MAIL_TAGS=or",
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			_, err = api.Invoke(b.Context(), []byte(`{"Records":[]}`), time.Minute)
			b.StopTimer()
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			api.Close()
			b.StartTimer()
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
