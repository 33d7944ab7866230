package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/litentry/agentkeys/internal/local"
)

// served is a background process of a home of its own.
type served struct {
	exe, home string
	env       []string
	pid       int
	smtp      string // where it takes mail
}

func startServed(exe, dir string, args ...string) (*served, error) {
	home, err := os.MkdirTemp(dir, "home")
	if err != nil {
		return nil, err
	}
	pass := filepath.Join(home, "passphrase")
	if err := os.WriteFile(pass, []byte("only for measurements\n"), 0o600); err != nil {
		return nil, err
	}
	s := &served{exe: exe, home: home, env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "AGENTKEYS_HOME=" + home, "AGENTKEYS_PASSPHRASE_FILE=" + pass}}
	out, err := s.run("", append([]string{"up", "--json"}, args...)...)
	if err != nil {
		return nil, err
	}
	var st local.Status
	if err := json.Unmarshal(out, &st); err != nil {
		return nil, err
	}
	s.pid = st.PID
	if st.Mail != nil {
		s.smtp = st.Mail.SMTP
	}
	return s, nil
}

func (s *served) run(stdin string, args ...string) ([]byte, error) {
	cmd := exec.Command(s.exe, args...)
	cmd.Env = s.env
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("agentkeys %s: %w: %s", args[0], err, errs.String())
	}
	return out, nil
}

func (s *served) stop() { _, _ = s.run("", "down") }

// lend stores a key for the upstream, lends it without limits that could be
// reached, but with every kind of limit, and returns URL and placeholder.
func (s *served) lend(upstream string) (url, placeholder string, err error) {
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"services", "set", "openrouter", "--base-url", "http://" + upstream + "/api/v1", "--allow-address", upstream}},
		{"not-a-real-key-0123456789abcdef0123456789abcdef\n", []string{"store", "openrouter", "--stdin", "--any-form", "--no-verify"}},
		{"", []string{"agent", "create", "bench"}},
		{"", []string{"grant", "bench", "openrouter", "--path", "POST /chat/completions", "--budget", "1000000usd/day", "--budget", "1000000000req/day", "--rate", "1000000/s"}},
	} {
		if _, err := s.run(step.stdin, step.args...); err != nil {
			return "", "", err
		}
	}
	out, err := s.run("", "env", "--as", "bench", "--json")
	if err != nil {
		return "", "", err
	}
	var env local.Env
	if err := json.Unmarshal(out, &env); err != nil {
		return "", "", err
	}
	for _, v := range env.Set {
		switch v.Name {
		case "AGENTKEYS_OPENROUTER_URL":
			url = v.Value
		case "OPENROUTER_API_KEY":
			placeholder = v.Value
		}
	}
	if url == "" || placeholder == "" {
		return "", "", errors.New("the environment lacks what was lent")
	}
	return url, placeholder, nil
}

// resident is a process's resident memory in MiB.
func resident(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(data))[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20), err
}

// cpu is what processes have used so far, in microseconds. The kernel counts
// in scheduler time, to the nanosecond.
func cpu(pids ...int) float64 {
	total := 0.0
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range tasks {
			data, err := os.ReadFile(t)
			if err != nil {
				continue
			}
			ns, _ := strconv.ParseFloat(strings.Fields(string(data))[0], 64)
			total += ns / 1e3
		}
	}
	return total
}
