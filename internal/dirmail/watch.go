package dirmail

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Watch implements mailstore.Watcher. It follows an inbox that is not there
// yet, and one that is removed and made again. The channel is closed when ctx
// ends.
func (d *Dir) Watch(ctx context.Context, w agentkeys.Wallet) (<-chan struct{}, error) {
	if w.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	// Those above the inbox too: that it is made is seen only there.
	bots := filepath.Join(d.root, botsName)
	wallet := filepath.Join(bots, w.String())
	x := &watch{d: d, fw: fw, dirs: []string{bots, wallet, filepath.Join(wallet, inboundName)}, c: make(chan struct{}, 1)}
	if _, err := x.follow(); err != nil {
		_ = fw.Close()
		return nil, err
	}
	go x.run(ctx)
	return x.c, nil
}

// retry is how long to wait when a directory cannot be watched.
const retry = time.Second

type watch struct {
	d    *Dir
	fw   *fsnotify.Watcher
	dirs []string // from above to the inbox
	c    chan struct{}
	// inbox says that the inbox was being watched, the last time we looked.
	inbox bool
}

// follow watches the directories that are there, and reports whether the inbox
// has become one of them: what is in it then came without an event.
func (x *watch) follow() (came bool, err error) {
	inbox := false
	for i, dir := range x.dirs {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() { // a link is followed by nobody
			break
		}
		// Once more does no harm, and finds a directory made anew.
		if err := x.fw.Add(dir); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return false, err
		}
		inbox = i == len(x.dirs)-1
	}
	came = inbox && !x.inbox
	x.inbox = inbox
	return came, nil
}

func (x *watch) run(ctx context.Context) {
	defer close(x.c)
	defer x.fw.Close()
	inbox := x.dirs[len(x.dirs)-1]
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		case e, ok := <-x.fw.Events:
			if !ok {
				return
			}
			if filepath.Dir(e.Name) == inbox {
				if e.Has(fsnotify.Create) {
					x.tell()
				}
				continue
			}
			if e.Name != inbox && e.Name != filepath.Dir(inbox) {
				continue // another wallet's
			}
			if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
				x.inbox = false
			}
		case _, ok := <-x.fw.Errors:
			if !ok {
				return
			}
			// Events were lost, as when there were too many: anything may have
			// happened.
			x.inbox = false
		}
		came, err := x.follow()
		again = nil
		if err != nil { // too many watches, perhaps: until it works, tell now and then
			x.inbox, again = false, time.After(retry)
		}
		if came || err != nil {
			x.tell()
		}
	}
}

// tell leaves a hint, if there is none that was not taken yet.
func (x *watch) tell() {
	select {
	case x.c <- struct{}{}:
	default:
	}
}
