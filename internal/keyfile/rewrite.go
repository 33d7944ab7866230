package keyfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
)

var (
	// ErrChanged: the file is not any more what was read.
	ErrChanged = errors.New("the file has changed since it was read")
	// ErrKind: what stands there cannot be rewritten, or not without harm.
	ErrKind = errors.New("not a file that can be rewritten")
)

// File is a file as it was read.
type File struct {
	Path string // as it was given
	Data []byte
	Mode fs.FileMode
	real string // without symbolic links
}

// Open reads a regular file whole, at most limit bytes of it. Clear it.
func Open(path string, limit int64) (*File, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrKind, path)
	}
	if fi.Size() > limit {
		return nil, ErrTooLarge
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		clear(data)
		return nil, ErrTooLarge
	}
	return &File{Path: path, Data: data, Mode: fi.Mode(), real: real}, nil
}

// Clear clears what was read.
func (f *File) Clear() { clear(f.Data) }

// Exposed reports whether others may read or change the file.
func (f *File) Exposed() bool { return f.Mode.Perm()&0o066 != 0 }

// Patch is a change of a file: what stands from From to To becomes Text.
type Patch struct {
	From, To int
	Text     string
}

// Without is the patch that takes an item out of a dotenv file. The assignment
// becomes a comment, so that no reader of such files sees a variable, not even
// an empty one that would win over the placeholder of `agentkeys run`; what
// stands around it stays as it is.
func (it Item) Without() []Patch {
	return []Patch{
		{From: it.span.start, To: it.span.start, Text: "# "},
		{From: it.span.value, To: it.span.end, Text: "(kept by agentkeys)"},
	}
}

// Rewrite puts patches into a file, whole or not at all, with its mode and
// owner. It refuses a file that is not what was read, and one with other names,
// under which the old text would stay.
func (f *File) Rewrite(patches []Patch) error {
	slices.SortStableFunc(patches, func(a, b Patch) int { return a.From - b.From })
	var out bytes.Buffer
	at := 0
	for _, p := range patches {
		if p.From < at || p.To < p.From || p.To > len(f.Data) {
			return fmt.Errorf("%w: two changes meet", ErrKind)
		}
		out.Write(f.Data[at:p.From])
		out.WriteString(p.Text)
		at = p.To
	}
	out.Write(f.Data[at:])
	defer clear(out.Bytes())

	now, err := Open(f.real, MaxFile)
	if err != nil {
		return err
	}
	same := bytes.Equal(now.Data, f.Data)
	now.Clear()
	if !same {
		return ErrChanged
	}
	fi, err := os.Lstat(f.real)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink > 1 {
		return fmt.Errorf("%w: %s has other names (hard links)", ErrKind, f.Path)
	}
	return f.replace(out.Bytes(), fi.Mode(), int(st.Uid), int(st.Gid))
}

func (f *File) replace(data []byte, mode fs.FileMode, uid, gid int) (err error) {
	dir := filepath.Dir(f.real)
	tmp, err := os.CreateTemp(dir, ".tmp-agentkeys-*") // 0600 until it is whole
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	if err == nil && (uid != os.Geteuid() || gid != os.Getegid()) {
		err = tmp.Chown(uid, gid)
	}
	if err == nil {
		err = tmp.Chmod(mode.Perm())
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), f.real)
	}
	if err == nil {
		f.Clear()
		f.Data = append([]byte(nil), data...)
		err = durable.SyncDir(dir)
	}
	return err
}

// Shred overwrites a file with random bytes, waits for the disk, and removes
// it. What a disk that writes elsewhere (most SSDs), a journal, a snapshot, a
// backup or a repository has of it stays there. A symbolic link to it stays,
// and leads nowhere.
func (f *File) Shred() error {
	h, err := os.OpenFile(f.real, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	fi, err := h.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrKind, f.Path)
	}
	now, err := io.ReadAll(io.LimitReader(h, MaxFile+1))
	if err != nil {
		return err
	}
	same := bytes.Equal(now, f.Data)
	clear(now)
	if !same {
		return ErrChanged
	}
	noise := make([]byte, len(f.Data))
	_, _ = rand.Read(noise)
	if _, err := h.WriteAt(noise, 0); err != nil {
		return err
	}
	if err := h.Sync(); err != nil {
		return err
	}
	return durable.Remove(f.real)
}
