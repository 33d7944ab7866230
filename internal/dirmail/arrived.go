package dirmail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// step is how much is copied at once, in bytes, between two looks at the
// context. The kernel copies: nothing of it is here.
const step = 4 << 20

// Read implements mailstore.Arrived.
func (d *Dir) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	var none mailstore.Part
	if id.IsZero() || off < 0 || n < 1 {
		return none, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	f, fi, err := d.open(inboundName, id.String())
	if err != nil {
		return none, err
	}
	defer f.Close()
	p := mailstore.Part{Size: fi.Size(), Version: versionOf(fi)}
	if v != "" && p.Version != v {
		return none, mailstore.ErrChanged
	}
	off = min(off, p.Size)
	p.Data = make([]byte, min(n, p.Size-off))
	if _, err := f.ReadAt(p.Data, off); errors.Is(err, io.EOF) {
		return none, mailstore.ErrChanged
	} else if err != nil {
		return none, err
	}
	return p, unchanged(f, p.Version)
}

// unchanged looks whether what was read is what was opened.
func unchanged(f *os.File, v mailstore.Version) error {
	fi, err := f.Stat()
	if err == nil && versionOf(fi) != v {
		err = mailstore.ErrChanged
	}
	return err
}

// Place implements mailstore.Arrived.
func (d *Dir) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (bool, error) {
	if w.IsZero() {
		return false, mailstore.ErrInvalid
	}
	return d.copy(ctx, id, v, inboxOf(w))
}

// Refuse implements mailstore.Arrived.
func (d *Dir) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (bool, error) {
	if !mailstore.ValidReason(reason) {
		return false, mailstore.ErrInvalid
	}
	return d.copy(ctx, id, v, refusedName+"/"+reason)
}

func inboxOf(w agentkeys.Wallet) string { return botsName + "/" + w.String() + "/" + inboundName }

// copy copies a message into dir. A hard link would do for what Write wrote,
// and cost nothing. But a file that somebody else put into inbound/, or opens
// there with an editor, could then change in an inbox as well, after it was
// decided upon, and would have been there since before it came. The file system
// may share the bytes all the same, until one of the two is changed.
func (d *Dir) copy(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, dir string) (bool, error) {
	if id.IsZero() || v == "" {
		return false, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	src, fi, err := d.open(inboundName, id.String())
	if err != nil {
		return false, err
	}
	defer src.Close()
	if versionOf(fi) != v {
		return false, mailstore.ErrChanged
	}
	return d.create(ctx, dir, id.String(), func(f *os.File) error {
		for left := fi.Size(); left > 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := io.CopyN(f, src, min(left, step))
			if errors.Is(err, io.EOF) {
				return mailstore.ErrChanged // it became shorter
			}
			if err != nil {
				return err
			}
			left -= n
		}
		return unchanged(src, v)
	})
}

// Remove implements mailstore.Arrived.
func (d *Dir) Remove(ctx context.Context, id agentkeys.MessageID) error {
	if id.IsZero() {
		return mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.remove(inboundName, id.String())
}

func (d *Dir) remove(dir, name string) error {
	if err := d.stop(nil); err != nil {
		return err
	}
	path, absent, err := d.path(dir, name)
	if err != nil || absent {
		return err
	}
	// Whether or not it is there: an earlier call may not have got to the sync.
	if _, err := plain(path); err != nil {
		return err
	}
	if err := durable.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return d.stop(err)
	}
	return nil
}

// Write implements mailstore.Spool.
func (d *Dir) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	switch {
	case id.IsZero() || size < 0:
		return mailstore.ErrInvalid
	case size > mailstore.MaxMessage:
		return mailstore.ErrTooLarge
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	created, err := d.create(ctx, inboundName, id.String(), func(f *os.File) error {
		n, err := io.Copy(f, io.LimitReader(r, size+1))
		if err == nil && n != size {
			err = fmt.Errorf("the message is not of the %d bytes that were said", size)
		}
		return err
	})
	if err == nil && !created {
		err = mailstore.ErrExists
	}
	return err
}
