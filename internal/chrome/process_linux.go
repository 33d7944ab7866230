package chrome

import "syscall"

// attributes gives the browser a process group, and an end when ours comes,
// however it comes.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
