package mailsrv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys/internal/mailconf"
)

// least is the part of a file system that mail leaves free, unless it is said,
// and unless that is more than mailconf.FreeMost.
const least = 20

// room looks after the file systems that mail is written to. Mail is what
// strangers write there: the last of it is for the logs, without which nothing
// is sorted, and for whatever else this machine does.
type room struct {
	dirs []string
	free int64 // 0: the least of what is usual
}

// roomOf takes the directories of what comes in, of what is kept, and of what
// is on record.
func roomOf(c *mailconf.Config, l mailconf.Limits) *room {
	r := &room{free: l.FreeBytes}
	for _, dir := range []string{cmp.Or(c.Spool, os.TempDir()), c.Store.Directory, c.Audit} {
		if dir != "" {
			r.dirs = append(r.dirs, dir)
		}
	}
	return r
}

var errNoRoom = errors.New("there is less free than mail has to leave free")

// left reports whether there is room for so many bytes. What cannot be asked is
// no reason to refuse mail: writing it will tell.
func (r *room) left(bytes int64) bool { return !errors.Is(r.try(bytes), errNoRoom) }

func (r *room) check(context.Context) error { return r.try(0) }

func (r *room) try(bytes int64) error {
	for _, dir := range r.dirs {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		block := int64(fs.Bsize)
		if short(int64(fs.Blocks)*block, int64(fs.Bavail)*block, r.free, bytes) {
			return fmt.Errorf("%w: %s", errNoRoom, dir)
		}
	}
	return nil
}

// short reports whether a file system of which so much is available would have
// less than is to be left, once it has so many bytes more. keep is 0 if nothing
// was said.
func short(all, available, keep, bytes int64) bool {
	return available-bytes < cmp.Or(keep, min(all/least, mailconf.FreeMost))
}
