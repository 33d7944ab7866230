package audit_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/audit"
)

// forge writes a whole log of these entries to dir, as somebody would who has
// s: it shares no code with the package. Without a signer the checkpoint that
// is there stays.
func forge(t testing.TB, dir string, entries [][]byte, s note.Signer) {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(idx))
		for i, x := range idx {
			out[i] = stored[x]
		}
		return out, nil
	})
	for i, e := range entries {
		h, err := tlog.StoredHashes(int64(i), e, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, h...)
	}
	if err := os.RemoveAll(filepath.Join(dir, "tile")); err != nil {
		t.Fatal(err)
	}
	for _, tile := range tlog.NewTiles(8, 0, int64(len(entries))) {
		data, err := tlog.ReadTileData(tile, read)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, c2spPath(tile)), data)
		if tile.L == 0 {
			var b []byte
			for _, e := range entries[tile.N*256 : tile.N*256+int64(tile.W)] {
				b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
			}
			tile.L = -1
			write(t, filepath.Join(dir, c2spPath(tile)), b)
		}
	}
	if s == nil {
		return
	}
	root, err := tlog.TreeHash(int64(len(entries)), read)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", s.Name(), len(entries), root)}, s)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "checkpoint"), signed)
}

// c2spPath is tlog's path of a tile as c2sp.org/tlog-tiles has it: without
// the height, and with entries for data.
func c2spPath(t tlog.Tile) string {
	return strings.Replace(strings.Replace(t.Path(), "tile/8/", "tile/", 1), "tile/data/", "tile/entries/", 1)
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// raws returns all entries of a log as they are stored.
func raws(t testing.TB, l *audit.Log) (out [][]byte) {
	t.Helper()
	if err := l.Replay(0, func(e audit.Entry) error {
		out = append(out, e.Raw)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func split(b []byte) (out [][]byte) {
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b))
		out, b = append(out, b[2:2+n]), b[2+n:]
	}
	return out
}

func join(entries [][]byte) (b []byte) {
	for _, e := range entries {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(memDir(t), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// tree returns every file under dir with its contents.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var b []byte
			b, err = os.ReadFile(p)
			out[strings.TrimPrefix(p, dir+"/")] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantCorrupt holds an error to its kind and to the entries it names; a level
// of -2 is not looked at.
func wantCorrupt(t testing.TB, err error, k audit.Kind, index, count int64, level int) {
	t.Helper()
	var c *audit.CorruptError
	switch {
	case !errors.As(err, &c) || !errors.Is(err, audit.ErrCorrupt):
		t.Errorf("got %v, want %s at %d", err, k, index)
	case c.Kind != k || c.Index != index || c.Count != count || level != -2 && c.Level != level:
		t.Errorf("got %s at %d, %d, level %d (%v); want %s at %d, %d, level %d", c.Kind, c.Index, c.Count, c.Level, c, k, index, count, level)
	}
}
