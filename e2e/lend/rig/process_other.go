//go:build !linux

package rig

import (
	"syscall"
	"time"
)

func subreaper() {}

// reap waits for the end of a process.
func reap(pid int) {
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(time.Millisecond)
	}
}
