package daemon

import "golang.org/x/sys/unix"

// Harden turns core dumps and debuggers off. It returns what is in force.
func Harden() (h Hardening) {
	h.NoCore = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) == nil
	h.NotDumpable = Conceal()
	return h
}

// Conceal keeps debuggers off this process. It reports whether it could.
func Conceal() bool {
	// PT_DENY_ATTACH is 31.
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, 31, 0, 0, 0, 0, 0)
	return errno == 0
}
