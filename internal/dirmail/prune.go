package dirmail

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/litentry/agentkeys"
)

// Prune removes messages that came to their place before a time: from inbound/,
// from refused/ and from all inboxes. It returns how many, also with an error.
// What is no message is left alone, and so are directories, which somebody may
// be about to write into.
func (d *Dir) Prune(ctx context.Context, before time.Time) (n int, err error) {
	dirs := []string{inboundName}
	reasons, err := d.reasons()
	if err != nil {
		return 0, err
	}
	for _, r := range reasons {
		dirs = append(dirs, refusedName+"/"+r)
	}
	wallets, err := d.names(botsName, func(e fs.DirEntry) bool {
		_, err := agentkeys.ParseWallet(e.Name())
		return err == nil && e.IsDir()
	})
	if err != nil {
		return 0, err
	}
	for _, w := range wallets {
		dirs = append(dirs, botsName+"/"+w+"/"+inboundName)
	}
	for _, dir := range dirs {
		names, err := d.names(dir, message)
		if err != nil {
			return n, err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return n, err
			}
			path, _, err := d.path(dir, name)
			if err != nil {
				return n, err
			}
			fi, err := os.Lstat(path)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.ModTime().Before(before) {
				continue
			}
			if err == nil {
				err = d.remove(dir, name)
			}
			if err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}
