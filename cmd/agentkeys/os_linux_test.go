package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal.
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

// echoes reports whether a terminal shows what is typed.
func echoes(slave *os.File) bool {
	t, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	return err == nil && t.Lflag&unix.ECHO != 0
}

// unprivileged runs a program in its place that file permissions bind, root or
// not. It returns only if it cannot.
func unprivileged(args []string) error {
	// Capabilities are a thread's; the program starts with those of this one.
	runtime.LockOSThread()
	for _, c := range []uintptr{unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && os.Getuid() == 0 {
			return err
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

// impostor is another user who put a socket where the program looks for its
// background process, and answers what comes with what is hoped for:
//
//	impostor SOCKET LOG
//
// It writes what it was sent to LOG. It needs to be started by root.
func impostor(args []string) error {
	// Root makes the files, so that they can be where scripts are.
	if err := os.MkdirAll(filepath.Dir(args[0]), 0o755); err != nil {
		return err
	}
	log, err := os.Create(args[1])
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: args[0]}); err != nil {
		return err
	}
	const nobody = 65534
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return err
	}
	// The kernel notes who listens at this moment.
	if err := syscall.Listen(fd, 16); err != nil {
		return err
	}
	ln, err := net.FileListener(os.NewFile(uintptr(fd), args[0]))
	if err != nil {
		return err
	}
	if _, err := log.WriteString("ready\n"); err != nil {
		return err
	}
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(log, "%s %s %s\n", r.Method, r.URL, body)
		_, _ = w.Write([]byte("{}"))
	}))
}
