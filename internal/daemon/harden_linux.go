package daemon

import "golang.org/x/sys/unix"

// Harden keeps this process's memory from other processes of its user: no
// core dumps, no ptrace and no /proc/<pid>/mem, and no swapping where the
// limit allows. It returns what is in force, for the log and doctor.
func Harden() (h Hardening) {
	h.NotDumpable = Conceal()
	h.NoCore = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) == nil
	h.Locked = lockMemory()
	return h
}

// lockMemory locks pages as they are touched. It stays off under a finite
// limit: the kernel would refuse memory, not merely leave it unlocked, once
// the limit is reached.
func lockMemory() bool {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim) != nil || lim.Cur != unix.RLIM_INFINITY {
		return false
	}
	return unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) == nil
}

// Conceal keeps other processes of this user from reading this one's memory
// and environment, and from taking its file descriptors. What it starts is not
// concealed. It reports whether it could.
func Conceal() bool { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) == nil }
