package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var errNoNginx = errors.New("no nginx")

// startNginx starts nginx as somebody would write it in five lines, or tuned:
// HTTP/1.1 to the upstream, kept alive, unbuffered.
func startNginx(dir, upstream string, tuned bool) (*part, error) {
	exe, err := exec.LookPath("nginx")
	if err != nil {
		return nil, errNoNginx
	}
	home, err := os.MkdirTemp(dir, "nginx")
	if err != nil {
		return nil, err
	}
	// Its workers run as another user.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(home, 0o755)); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	extra := ""
	if tuned {
		extra = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off; proxy_request_buffering off;"
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	access_log off; keepalive_requests 100000000;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	upstream up { server %[2]s; keepalive 64; keepalive_requests 100000000; }
	server { listen %[3]s; location / { proxy_pass http://up; proxy_set_header Authorization "Bearer not-a-real-key-0123456789abcdef0123456789abcdef"; %[4]s } }
}
`, home, upstream, addr, extra)
	file := filepath.Join(home, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "-c", file, "-p", home)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &part{addr: addr, stop: func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }}
	for range 200 {
		time.Sleep(10 * time.Millisecond)
		if c, err := net.Dial("tcp4", addr); err == nil {
			_ = c.Close()
			kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
			if err != nil {
				return nil, err
			}
			p.pids = []int{cmd.Process.Pid}
			for _, k := range strings.Fields(string(kids)) {
				pid, err := strconv.Atoi(k)
				if err != nil {
					return nil, err
				}
				p.pids = append(p.pids, pid)
			}
			return p, nil
		}
	}
	p.stop()
	return nil, errors.New("nginx did not start")
}
