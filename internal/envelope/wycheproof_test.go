package envelope

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The vectors are read from the module cache, not copied. The version is
// pinned here and not in go.mod: reading a file imports no package, so `go mod
// tidy` would drop a requirement. The import path of the older home,
// github.com/google/wycheproof, has no HMAC-SHA256 vectors at its newest
// version, and no Go package either.
const (
	wycheproofModule = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum    = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type wycheproofGroup struct {
	KeySize, IvSize, TagSize int // in bits
	Tests                    []struct {
		TcID                                             int
		Key, IV, AAD, Msg, CT, Tag, IKM, Salt, Info, OKM hexBytes
		Size                                             int
		Result                                           string
	}
}

func readWycheproof(t *testing.T, file string) []wycheproofGroup {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", wycheproofModule)
	cmd.Dir = t.TempDir() // outside this module, whose go.sum it would write to
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var module struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || err != nil || module.Error != "" {
		t.Fatalf("no Wycheproof vectors in the module cache (%v, %s); `make setup` fetches them, or: go mod download %s", err, module.Error, wycheproofModule)
	}
	if module.Sum != wycheproofSum {
		t.Fatalf("Wycheproof is %s, want %s", module.Sum, wycheproofSum)
	}
	b, err := os.ReadFile(filepath.Join(module.Dir, "testvectors_v1", file))
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ TestGroups []wycheproofGroup }
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f.TestGroups
}

func TestWycheproofAESGCM(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "aes_gcm_test.json") {
		for _, c := range g.Tests {
			a, err := newAEAD(c.Key)
			if g.KeySize != 8*keySize {
				if err == nil {
					t.Errorf("%d: took a key of %d bits", c.TcID, g.KeySize)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.NonceSize() != nonceSize || a.Overhead() != tagSize {
				t.Fatal("not the nonce and tag of the format")
			}
			if g.IvSize != 8*nonceSize || g.TagSize != 8*tagSize {
				continue // the format has no other sizes
			}
			ran++
			sealed := append(bytes.Clone(c.CT), c.Tag...)
			got, err := a.Open(nil, c.IV, sealed, c.AAD)
			if (err == nil) != (c.Result == "valid") {
				t.Errorf("%d: %v, want %s", c.TcID, err, c.Result)
				continue
			}
			if c.Result == "valid" && (!bytes.Equal(got, c.Msg) || !bytes.Equal(a.Seal(nil, c.IV, c.Msg, c.AAD), sealed)) {
				t.Errorf("%d: other bytes", c.TcID)
			}
		}
	}
	wantRan(t, ran, 60)
}

func TestWycheproofHKDF(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "hkdf_sha256_test.json") {
		for _, c := range g.Tests {
			ran++
			got, err := hkdfSHA256(c.IKM, c.Salt, string(c.Info), c.Size)
			if ok := err == nil && bytes.Equal(got, c.OKM); ok != (c.Result == "valid") {
				t.Errorf("%d: %v, want %s", c.TcID, err, c.Result)
			}
		}
	}
	wantRan(t, ran, 80)
}

// TestWycheproofHMAC reaches the HMAC that HKDF is made of: extract is
// HMAC(salt, key) (RFC 5869 section 2.2), and nothing else here is an HMAC.
func TestWycheproofHMAC(t *testing.T) {
	ran := 0
	for _, g := range readWycheproof(t, "hmac_sha256_test.json") {
		for _, c := range g.Tests {
			ran++
			mac, err := hkdf.Extract(sha256.New, c.Msg, c.Key)
			if err != nil {
				t.Fatal(err)
			}
			if ok := bytes.Equal(mac[:g.TagSize/8], c.Tag); ok != (c.Result == "valid") {
				t.Errorf("%d: want %s", c.TcID, c.Result)
			}
		}
	}
	wantRan(t, ran, 170)
}

func wantRan(t *testing.T, ran, least int) {
	t.Helper()
	if ran < least {
		t.Errorf("%d vectors ran, want at least %d", ran, least)
	}
	t.Logf("%d vectors", ran)
}
