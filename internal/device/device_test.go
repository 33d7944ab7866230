package device

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/litentry/agentkeys/internal/keychain"
	"github.com/litentry/agentkeys/internal/secret"
)

// What testdata/vector.py, another program, derives of the seed 00 01 … 1f.
const (
	vectorKey = "23e763282222c58a4a3414c05225045bae95c1859dc6eb3d905e4d7d9814b501"
	vectorLog = "398ebdc60397d89a9a7f9d949cdc0ff36173f3a20d66563a177b8e666f41d7f5"
)

func TestDerivation(t *testing.T) {
	seed := make([]byte, SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	k, err := FromSeed(secret.New(bytes.Clone(seed)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.Private().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(raw); got != vectorKey {
		t.Errorf("key %s", got)
	}
	log, err := k.LogSeed()
	if err != nil || hex.EncodeToString(log.Expose()) != vectorLog {
		t.Errorf("log seed %x %v", log.Expose(), err)
	}
	if s := k.Seed(); !bytes.Equal(s.Expose(), seed) {
		t.Error("another seed")
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := FromSeed(secret.New(make([]byte, n))); !errors.Is(err, ErrSeed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := (Key{}).LogSeed(); !errors.Is(err, ErrSeed) {
		t.Errorf("the zero key has a log: %v", err)
	}
}

func TestSigns(t *testing.T) {
	a, b := New(), New()
	digest := make([]byte, 32)
	sig, err := ecdsa.SignASN1(nil, a.Private(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if !ecdsa.VerifyASN1(&a.Private().PublicKey, digest, sig) || ecdsa.VerifyASN1(&b.Private().PublicKey, digest, sig) {
		t.Error("not its own signature")
	}
	if a.Private().Curve != elliptic.P256() {
		t.Error("another curve")
	}
}

func TestNothingPrintsIt(t *testing.T) {
	k := New()
	raw, _ := k.Private().Bytes()
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		fmt.Fprintf(&out, verb, k)
		fmt.Fprintf(&out, verb, []any{k, &k})
	}
	for _, b := range [][]byte{k.seed.Expose(), raw} {
		for _, text := range []string{string(b), hex.EncodeToString(b), fmt.Sprint(b)} {
			if strings.Contains(out.String(), text) {
				t.Error("it is printed")
			}
		}
	}
}

func TestParsePlace(t *testing.T) {
	for _, text := range []string{"keychain", "memory", "file:/x/y z"} {
		p, err := ParsePlace(text)
		if err != nil || p.String() != text {
			t.Errorf("%s: %v %v", text, p, err)
		}
	}
	for _, text := range []string{"", "file:", "file", "Keychain", "file:a\x00b", "/x", "memory:x"} {
		if p, err := ParsePlace(text); !errors.Is(err, ErrPlace) || !p.IsZero() {
			t.Errorf("%q: %v %v", text, p, err)
		}
	}
	p, err := ParsePlace("file:x")
	if wd, _ := os.Getwd(); err != nil || p.path != filepath.Join(wd, "x") {
		t.Errorf("relative: %v %v", p, err)
	}
}

func FuzzPlace(f *testing.F) {
	for _, s := range []string{"keychain", "memory", "file:/a", "file:a/../b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlace(s)
		if err != nil {
			return
		}
		if again, err := ParsePlace(p.String()); err != nil || again != p {
			t.Errorf("%q: %v, again %v %v", s, p, again, err)
		}
	})
}

func fileAt(path string) Place { return Place{kindFile, path} }

func TestFile(t *testing.T) {
	p := fileAt(filepath.Join(t.TempDir(), "device.key"))
	if _, err := Open(t.Context(), p, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	made, err := Create(t.Context(), p, "x")
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(p.path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v %v", fi.Mode(), err)
	}
	got, err := Open(t.Context(), p, "x")
	if err != nil || !got.Private().Equal(made.Private()) {
		t.Errorf("opened: %v", err)
	}
	if _, err := Create(t.Context(), p, "x"); !errors.Is(err, ErrExists) {
		t.Errorf("made again: %v", err)
	}
	if again, err := Open(t.Context(), p, "x"); err != nil || !again.Private().Equal(made.Private()) {
		t.Error("it was overwritten")
	}
	for range 2 {
		if err := Forget(t.Context(), p, "x"); err != nil {
			t.Errorf("forget: %v", err)
		}
	}
	if _, err := Open(t.Context(), p, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("forgotten: %v", err)
	}
}

func TestFileRace(t *testing.T) {
	p := fileAt(filepath.Join(t.TempDir(), "device.key"))
	var wg sync.WaitGroup
	won := make(chan Key, 20)
	for range 20 {
		wg.Go(func() {
			k, err := Create(t.Context(), p, "x")
			if err == nil {
				won <- k
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d winners", len(won))
	}
	if k, err := Open(t.Context(), p, "x"); err != nil || !k.Private().Equal((<-won).Private()) {
		t.Errorf("another key is there: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	good := fileAt(filepath.Join(dir, "good"))
	k, err := Create(t.Context(), good, "")
	if err != nil {
		t.Fatal(err)
	}
	line := string(k.file())
	canary := strings.Fields(line)[1]
	for what, text := range map[string]string{
		"empty": "", "short": line[:len(line)-5] + "\n", "long": line + "x", "twice": line + line, "no mark": canary,
		"not base64": mark + strings.Repeat("!", 44) + "\n", "loose base64": strings.TrimRight(line, "=\n") + "\n",
		"broken line": line[:40] + "\n" + line[40:], "another version": strings.Replace(line, "v1", "v2", 1),
	} {
		p := fileAt(filepath.Join(dir, what))
		if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), p, ""); !errors.Is(err, ErrSeed) || strings.Contains(err.Error(), canary[:20]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o644} {
		if err := os.Chmod(good.path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), good, ""); !errors.Is(err, ErrExposed) {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if _, err := Open(t.Context(), fileAt(dir), ""); !errors.Is(err, ErrSeed) {
		t.Errorf("a directory: %v", err)
	}
	pipe := fileAt(filepath.Join(dir, "pipe"))
	if err := syscall.Mkfifo(pipe.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), pipe, ""); !errors.Is(err, ErrSeed) {
		t.Errorf("a pipe: %v", err)
	}
}

func TestMemory(t *testing.T) {
	k, err := Create(t.Context(), Memory, "x")
	if err != nil || k.IsZero() {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Memory, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("there is memory: %v", err)
	}
	if err := Forget(t.Context(), Memory, "x"); err != nil {
		t.Error(err)
	}
	for what, call := range map[string]func() error{
		"create": func() error { _, err := Create(t.Context(), Place{}, "x"); return err },
		"open":   func() error { _, err := Open(t.Context(), Place{}, "x"); return err },
		"forget": func() error { return Forget(t.Context(), Place{}, "x") },
	} {
		if err := call(); !errors.Is(err, ErrPlace) {
			t.Errorf("%s nowhere: %v", what, err)
		}
	}
}

// TestNoKeychain: without a keychain no key comes into being anywhere else, and
// the error says what else there is.
func TestNoKeychain(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(dir, "none"))
	for what, call := range map[string]func() error{
		"create": func() error { _, err := Create(t.Context(), Keychain, "x"); return err },
		"open":   func() error { _, err := Open(t.Context(), Keychain, "x"); return err },
		"forget": func() error { return Forget(t.Context(), Keychain, "x") },
	} {
		err := call()
		if !errors.Is(err, ErrNoKeychain) || !errors.Is(err, keychain.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, choice := range []string{"file:PATH", "memory"} {
			if !strings.Contains(err.Error(), choice) {
				t.Errorf("%s does not name %s: %v", what, choice, err)
			}
		}
	}
	if all, _ := os.ReadDir(dir); len(all) != 0 {
		t.Errorf("something was left: %v", all)
	}
}
