package audit_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// client reads a directory as any tlog-tiles client reads a server, knowing
// nothing but the specifications and golang.org/x/mod.
type client struct {
	dir  string
	tree tlog.Tree
}

func newClient(dir, vkey string) (*client, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return nil, err
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != v.Name() || lines[3] != "" {
		return nil, fmt.Errorf("checkpoint %q", n.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return nil, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return nil, fmt.Errorf("root %q", lines[2])
	}
	return &client{dir, tlog.Tree{N: size, Hash: tlog.Hash(root)}}, nil
}

func (c *client) Height() int { return 8 }

func (c *client) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		b, err := os.ReadFile(filepath.Join(c.dir, c2spPath(t)))
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

func (c *client) SaveTiles([]tlog.Tile, [][]byte) {}

func (c *client) entries(n int64) ([][]byte, error) {
	b, err := c.ReadTiles([]tlog.Tile{{H: 8, L: -1, N: n, W: int(min(256, c.tree.N-n*256))}})
	if err != nil {
		return nil, err
	}
	return split(b[0]), nil
}

// check proves entry i to be in the tree.
func (c *client) check(i int64, entry []byte) error {
	r := tlog.TileHashReader(c.tree, c)
	p, err := tlog.ProveRecord(c.tree.N, i, r)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(p, c.tree.N, c.tree.Hash, i, tlog.RecordHash(entry))
}

// The directory is a log to any client, at every size it has had.
func TestForeignClient(t *testing.T) {
	dir := memDir(t)
	k := newKey(t, 1)
	l := mustOpen(t, dir, options(t))
	at := 0
	var clients []*client
	for _, size := range []int{0, 1, 2, 255, 256, 257, 511, 512, 513, 1000, 65535, 65536, 65537, 66000} {
		fill(t, l, at, size)
		at = size
		c, err := newClient(dir, k.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		if c.tree.N != int64(size) {
			t.Fatalf("the checkpoint is of %d entries, want %d", c.tree.N, size)
		}
		clients = append(clients, c)
		step := int64(1)
		switch {
		case size > 1000:
			step = 3989
		case size > 300:
			step = 17
		}
		for i := int64(0); i < c.tree.N; i += step {
			e, err := c.entries(i / 256)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(256, c.tree.N-i/256*256); int64(len(e)) != want {
				t.Fatalf("bundle %d has %d entries, want %d", i/256, len(e), want)
			}
			if err := c.check(i, e[i%256]); err != nil {
				t.Fatalf("size %d, entry %d: %v", size, i, err)
			}
			if !strings.Contains(string(e[i%256]), event(int(i)).Request) {
				t.Fatalf("entry %d is %s", i, e[i%256])
			}
		}
	}
	last := clients[len(clients)-1]
	for _, c := range clients {
		if c.tree.N == 0 {
			continue
		}
		p, err := tlog.ProveTree(last.tree.N, c.tree.N, tlog.TileHashReader(last.tree, last))
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(p, last.tree.N, last.tree.Hash, c.tree.N, c.tree.Hash); err != nil {
			t.Errorf("size %d: %v", c.tree.N, err)
		}
	}
	// Who still reads by an older checkpoint finds its partial tiles for as
	// long as there is no full one.
	fill(t, l, at, at+5)
	if e, err := last.entries(last.tree.N / 256); err != nil || int64(len(e)) != last.tree.N%256 {
		t.Errorf("by the last checkpoint but one: %d entries, %v", len(e), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir, int64(at+5))
	checkNames(t, dir, int64(at+5))
}

// checkNames makes sure that there is nothing in a log but what there should
// be: the tiles of its size, and older widths of those that are partial.
func checkNames(t testing.TB, dir string, size int64) {
	t.Helper()
	var want []string
	partial := map[string]bool{}
	for _, tile := range tlog.NewTiles(8, 0, size) {
		levels := []tlog.Tile{tile}
		if tile.L == 0 {
			levels = append(levels, tlog.Tile{H: 8, L: -1, N: tile.N, W: tile.W})
		}
		for _, tile := range levels {
			want = append(want, c2spPath(tile))
			if base, _, ok := strings.Cut(c2spPath(tile), ".p/"); ok {
				partial[base] = true
			}
		}
	}
	have := tree(t, dir)
	for _, path := range want {
		if _, ok := have[path]; !ok {
			t.Errorf("%s is missing", path)
		}
		delete(have, path)
	}
	for path := range have {
		base, _, _ := strings.Cut(path, ".p/")
		if strings.HasPrefix(path, "tile/") && !partial[base] || strings.Contains(path, ".tmp-") {
			t.Errorf("%s should not be there", path)
		}
	}
}
