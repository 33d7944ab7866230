package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys/internal/daemon"
)

// supervise runs a program to its end and returns its exit code, 128 + n for
// signal n. It adopts what the program leaves behind, so that every process
// of the agent keeps descending from this one and the owner's socket can tell,
// and ends it with the program: a process that outlived the run would be taken
// for one of the owner's.
func supervise(path string, args, env []string) (int, error) {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	defer signal.Stop(signals)
	p, err := os.StartProcess(path, args, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			switch s {
			case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
				// From the terminal the kernel sends these to the program as well.
				if inForeground() {
					continue
				}
			}
			_ = p.Signal(s)
		}
	}()
	defer endAdopted()
	for {
		var ws unix.WaitStatus
		// Any child: orphans that were adopted would stay zombies otherwise.
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case pid != p.Pid:
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}

// endAdopted kills and reaps children until there are none: those of a killed
// one come to this process, and are next.
func endAdopted() {
	for {
		for _, pid := range daemon.Children(os.Getpid()) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return // ECHILD: none is left
		}
	}
}
