package audit

import (
	"os"
	"syscall"
)

// fdatasync makes f's data durable, and of its metadata what reading the data
// back needs. An interrupted call is made again; any other failure is final.
func fdatasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return err
		}
	}
}

// startWriting hands f's data to the disk without waiting. It promises
// nothing, so its error means nothing.
func startWriting(f *os.File) {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	_ = syscall.SyncFileRange(int(f.Fd()), 0, 0, write)
}
