package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// build compiles a package into dir as a release is built.
func (b *bench) build(dir, name, pkg string, flags ...string) (string, error) {
	out := filepath.Join(dir, name)
	cmd := exec.CommandContext(b.ctx, "go", append(append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out}, flags...), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return out, cmd.Run()
}

// start compares how long the command takes to start with an empty program.
func (b *bench) start() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours, err := b.build(dir, "agentkeys", "./cmd/agentkeys")
	if err != nil {
		return err
	}
	src := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(src, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return err
	}
	empty, err := b.build(dir, "empty", src)
	if err != nil {
		return err
	}
	s, err := startServed(ours, dir)
	if err != nil {
		return err
	}
	defer s.stop()
	for _, args := range [][]string{{"version"}, {"status"}} {
		var o, t []float64
		for range b.rounds * 2 {
			a, err := s.startOf(append([]string{ours}, args...))
			if err != nil {
				return err
			}
			e, err := s.startOf([]string{empty})
			if err != nil {
				return err
			}
			o, t = append(o, a), append(t, e)
		}
		b.add("start of 'agentkeys "+args[0]+"'", "ms", "empty program", "≤ 1.5", o, t)
	}
	rss, err := resident(s.pid)
	if err != nil {
		return err
	}
	b.add("idle daemon, resident", "MiB", "20 MiB", "≤ 1", []float64{rss}, []float64{20})
	return nil
}

// startOf is the mean wall time of a few starts, in ms.
func (s *served) startOf(argv []string) (float64, error) {
	const n = 20
	began := time.Now()
	for range n {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = s.env
		if err := cmd.Run(); err != nil {
			return 0, err
		}
	}
	return time.Since(began).Seconds() * 1e3 / n, nil
}
