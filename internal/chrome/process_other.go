//go:build !linux

package chrome

import "syscall"

// attributes gives the browser a process group. It ends when its pipe does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
