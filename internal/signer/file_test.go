package signer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/litentry/agentkeys/internal/secret"
)

// quick is a FileKey that costs a test next to nothing, race detector included.
func quick(pass string) FileKey { return FileKey{&fileKey{secret.FromString(pass), 4}} }

func TestFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roots.age")
	r := NewRoots()
	if err := CreateFile(path, r, quick("p")); err != nil {
		t.Fatal(err)
	}
	if err := CreateFile(path, NewRoots(), quick("p")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("roots were overwritten: %v", err)
	}
	r2 := must[Roots](t)(r.AddEpoch())
	if err := SaveFile(path, r2, quick("q")); err != nil {
		t.Fatal(err)
	}
	got, err := OpenFile(path, quick("q"))
	if err != nil {
		t.Fatal(err)
	}
	if !r.continuedBy(got) || !got.continuedBy(r2) || len(got.box.sealing) != 2 {
		t.Error("other roots came back")
	}
	if _, err := OpenFile(path, quick("p")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", fi.Mode(), err)
	}
	raw, _ := os.ReadFile(path)
	if bytes.Contains(raw, r.box.identity.Expose()) || bytes.Contains(raw, []byte("identity")) {
		t.Error("the file is not encrypted")
	}
	if _, err := OpenFile(path+"x", quick("p")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestFileExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roots.age")
	if err := CreateFile(path, NewRoots(), quick("p")); err != nil {
		t.Fatal(err)
	}
	for mode := fs.FileMode(0o600); mode <= 0o777; mode++ {
		if mode&0o600 != 0o600 || mode&0o100 != 0 {
			continue
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := OpenFile(path, quick("p"))
		if mode == 0o600 && err != nil || mode != 0o600 && (!errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

// TestFileDamaged cuts the file at every length and flips a bit of every byte.
func TestFileDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roots.age")
	if err := CreateFile(path, NewRoots(), quick("p")); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenFile(path, quick("p"))
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrPassphrase) && !errors.Is(err, ErrWorkFactor) || !r.isZero() {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range whole {
		try(fmt.Sprint("cut at ", n), whole[:n])
		b := bytes.Clone(whole)
		b[n] ^= 1
		try(fmt.Sprint("flipped at ", n), b)
	}
	try("trailing", append(bytes.Clone(whole), 0))
	try("large", make([]byte, maxFile+1))
}

func TestFileWorkFactor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "roots.age")
	if err := CreateFile(path, NewRoots(), quick("p")); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	head, rest, _ := bytes.Cut(whole, []byte("\n-> scrypt "))
	salt, rest, _ := bytes.Cut(rest, []byte(" 4\n"))
	for _, work := range []string{"20", "22", "30", "64", "1000000"} {
		b := bytes.Join([][]byte{head, []byte("\n-> scrypt "), salt, []byte(" " + work + "\n"), rest}, nil)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := OpenFile(path, quick("p")); !errors.Is(err, ErrWorkFactor) {
			t.Errorf("work factor %s: %v", work, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("work factor %s took %v to refuse", work, d)
		}
	}
	if _, err := OpenFile(dir, quick("p")); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrExposed) {
		t.Errorf("a directory: %v", err)
	}
}

// TestFileKeys pins what each kind of key costs to guess.
func TestFileKeys(t *testing.T) {
	pass, err := Passphrase(secret.FromString("correct horse"))
	if err != nil || pass.p.work < 17 || pass.p.work > maxWork {
		t.Errorf("passphrase: 2^%d, %v", pass.p.work, err)
	}
	random, err := RandomKey(secret.New(one(7)))
	if err != nil || random.p.work > pass.p.work {
		t.Errorf("random key: 2^%d, %v", random.p.work, err)
	}
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := RandomKey(secret.New(make([]byte, n))); err == nil {
			t.Errorf("a random key of %d bytes was accepted", n)
		}
	}
	if _, err := Passphrase(secret.Value{}); err == nil {
		t.Error("an empty passphrase was accepted")
	}
	path := filepath.Join(t.TempDir(), "roots.age")
	if err := CreateFile(path, NewRoots(), FileKey{}); err == nil {
		t.Error("the zero key was accepted")
	}
	if err := CreateFile(path, NewRoots(), random); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, random); err != nil {
		t.Error(err)
	}
	// That the factor of a key is the one in its file, without paying for 17.
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.SplitN(string(raw), "\n", 3)[1]; !strings.HasSuffix(line, " 10") {
		t.Errorf("%q", line)
	}
}

// TestFileIsAge shows that the file opens with the age library alone, so that
// an owner without this program is not locked out.
func TestFileIsAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roots.age")
	r := NewRoots()
	if err := CreateFile(path, r, quick("p")); err != nil {
		t.Fatal(err)
	}
	id, err := age.NewScryptIdentity("p")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := age.Decrypt(f, id)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(plain); err != nil {
		t.Fatal(err)
	}
	want := must[[]byte](t)(formatRoots(r))
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got %s", b.Bytes())
	}
}

func TestSaveFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "roots.age")
	if err := SaveFile(path, NewRoots(), quick("p")); err == nil {
		t.Error("saved in a directory that is not there")
	}
	if err := SaveFile(path, Roots{}, quick("p")); err == nil {
		t.Error("zero roots were saved")
	}
}

func FuzzParseRoots(f *testing.F) {
	r := made(one(1), one(2), 1)
	for _, seed := range []Roots{r, must2(r.AddEpoch())} {
		b, _ := formatRoots(seed)
		f.Add(b)
	}
	f.Add([]byte(`{"version":1,"version":1,"account":"a","identity":"AQ==","sealing":{}}`))
	f.Add([]byte(`{"version":1,"account":"a","identity":null,"sealing":{"0":"AA=="}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRoots(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || err.Error() != ErrCorrupt.Error() {
				t.Errorf("error %v", err)
			}
			return
		}
		again, err := formatRoots(r)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s became %s, %v", b, again, err)
		}
		if r.Epoch() == 0 || r.Account().IsZero() || New(r) == nil {
			t.Errorf("%s: accepted", b)
		}
	})
}

func must2(r Roots, err error) Roots {
	if err != nil {
		panic(err)
	}
	return r
}

func TestParseRootsRefuses(t *testing.T) {
	good, _ := formatRoots(made(one(1), one(2), 1))
	if _, err := parseRoots(good); err != nil {
		t.Fatal(err)
	}
	zero := `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	for what, edit := range map[string][2]string{
		"version":       {`"version":1`, `"version":2`},
		"case":          {`"version"`, `"Version"`},
		"duplicate":     {`"version":1`, `"version":1,"version":1`},
		"unknown":       {`"version":1`, `"version":1,"x":0`},
		"space":         {`"version":1`, `"version": 1`},
		"account":       {`"test"`, `"Test"`},
		"epoch 0":       {`{"1":`, `{"0":`},
		"epoch 01":      {`{"1":`, `{"01":`},
		"zero identity": {`"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="`, zero},
		"zero sealing":  {`"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="`, zero},
		"short":         {`"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="`, `"AgIC"`},
		"no sealing":    {`{"1":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="}`, `{}`},
		"trailing":      {`}}`, `}} `},
	} {
		bad := strings.Replace(string(good), edit[0], edit[1], 1)
		if bad == string(good) {
			t.Errorf("%s: the edit did nothing to %s", what, good)
		}
		if _, err := parseRoots([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
