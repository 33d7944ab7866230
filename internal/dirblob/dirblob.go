package dirblob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/litentry/agentkeys/internal/vault"
)

// Dir is a vault.Blobs over a directory. The object of a key is the file of
// that name, bots/0x…/credentials/<service>.enc; its version is the SHA-256 of
// its bytes. Several goroutines and processes may use one directory.
//
// Known divergence: when a directory could not be synced, which is an error of
// Put or Delete, the write may be seen until the next crash takes it back.
type Dir struct{ t *tree }

// Open opens root, making it if need be. It fails with durable.ErrExposed if other
// users have rights on it.
func Open(root string) (*Dir, error) {
	t, err := openTree(root)
	if err != nil {
		return nil, err
	}
	return &Dir{t}, nil
}

// Get implements vault.Blobs.
func (d *Dir) Get(ctx context.Context, k vault.Key) (data []byte, v vault.Version, err error) {
	if k.IsZero() {
		return nil, "", vault.ErrInvalid
	}
	unlock, err := d.t.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	data, err = d.t.read(k.String(), vault.MaxBlob)
	switch {
	case errors.Is(err, vault.ErrSize):
		v, verr := d.version(k)
		if verr != nil {
			return nil, "", verr
		}
		return nil, v, err
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", vault.ErrNotFound
	case err != nil:
		return nil, "", err
	}
	return data, versionOf(data), nil
}

// Put implements vault.Blobs.
func (d *Dir) Put(ctx context.Context, k vault.Key, data []byte, c vault.Condition) (vault.Version, error) {
	create, v, err := c.Match()
	if err != nil {
		return "", err
	}
	if k.IsZero() {
		return "", vault.ErrInvalid
	}
	if len(data) > vault.MaxBlob {
		return "", vault.ErrSize
	}
	unlock, err := d.t.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	now, err := d.version(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !create {
			return "", vault.ErrConflict
		}
	case err != nil:
		return "", err
	case create || now != v:
		return "", vault.ErrConflict
	}
	if err := d.t.put(k.String(), data); err != nil {
		return "", err
	}
	return versionOf(data), nil
}

// Delete implements vault.Blobs.
func (d *Dir) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if k.IsZero() || v == "" {
		return vault.ErrInvalid
	}
	unlock, err := d.t.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := d.version(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vault.ErrNotFound
	case err != nil:
		return err
	case now != v:
		return vault.ErrConflict
	}
	return d.t.del(k.String())
}

// List implements vault.Blobs. It lists what Get would refuse as well, such as
// a symbolic link, so that it is noticed.
func (d *Dir) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (vault.Page, error) {
	if err := p.Check(after, limit); err != nil {
		return vault.Page{}, err
	}
	unlock, err := d.t.lock(ctx)
	if err != nil {
		return vault.Page{}, err
	}
	defer unlock()
	dir, absent, err := d.t.path(p.String())
	if err != nil || absent {
		return vault.Page{}, err
	}
	entries, err := os.ReadDir(dir) // by name, so in the order of the keys
	if err != nil {
		return vault.Page{}, err
	}
	var page vault.Page
	for _, e := range entries {
		k, err := vault.ParseKey(p.String() + e.Name())
		if err != nil || k.String() <= after.String() {
			continue
		}
		page.Items = append(page.Items, vault.Item{Key: k})
	}
	if len(page.Items) > limit {
		page.Items, page.More = page.Items[:limit], true
	}
	for i := range page.Items {
		item := &page.Items[i]
		fi, err := os.Lstat(filepath.Join(dir, filepath.Base(item.Key.String())))
		if err != nil {
			return vault.Page{}, err
		}
		item.Size = fi.Size()
	}
	return page, nil
}

// version hashes the file of k, of any size, without keeping it.
func (d *Dir) version(k vault.Key) (vault.Version, error) {
	f, err := d.t.open(k.String())
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return vault.Version(hex.EncodeToString(h.Sum(nil))), nil
}

func versionOf(data []byte) vault.Version {
	sum := sha256.Sum256(data)
	return vault.Version(hex.EncodeToString(sum[:]))
}
