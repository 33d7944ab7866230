package token

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The tokens and keys of RFC 7515, appendices A.2 and A.3.
const (
	rfc7515Claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	rfc7515RS256  = "eyJhbGciOiJSUzI1NiJ9." + rfc7515Claims +
		".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4" +
		"BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv" +
		"hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	rfc7515RSA = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs` +
		`D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV` +
		`MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
	rfc7515ES256 = "eyJhbGciOiJFUzI1NiJ9." + rfc7515Claims + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	rfc7515EC    = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	// Appendix A.5, unsecured, and A.1, HMAC.
	rfc7515None  = "eyJhbGciOiJub25lIn0." + rfc7515Claims + "."
	rfc7515HS256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfc7515Claims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// RFC 7638 section 3.1.
const (
	rfc7638RSA = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W` +
		`-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6We` +
		`Zu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
	rfc7638Thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
)

// RFC 9449: figures 2 and 12, and the thumbprint of figure 8.
const (
	rfc9449Header = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5" +
		"IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
	rfc9449Token = rfc9449Header + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ" +
		".2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfc9449Resource = rfc9449Header + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJj" +
		"ZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9" +
		".2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfc9449AccessToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfc9449Thumbprint  = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

func parseJWK(t *testing.T, text string) jose.JSONWebKey {
	t.Helper()
	var k jose.JSONWebKey
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// believes is what open asks of a token, but for its purpose and kid.
func believes(raw string, alg Alg, pub any) error {
	parts, err := split(raw)
	if err != nil {
		return err
	}
	var h header
	if err := strict(parts[0], &h); err != nil {
		return err
	}
	if h.Alg != string(alg) {
		return errors.New("not the algorithm of the key")
	}
	return verify(raw, alg, pub)
}

func TestRFC7515(t *testing.T) {
	ec, rsa := parseJWK(t, rfc7515EC).Key, parseJWK(t, rfc7515RSA).Key
	for _, c := range []struct {
		name, raw string
		alg       Alg
		pub       any
		ok        bool
	}{
		{"A.2", rfc7515RS256, RS256, rsa, true},
		{"A.3", rfc7515ES256, ES256, ec, true},
		{"A.2 by A.3", rfc7515RS256, ES256, ec, false},
		{"A.3 by A.2", rfc7515ES256, RS256, rsa, false},
		{"A.3 with A.2's key", rfc7515ES256, ES256, rsa, false},
		{"A.2 with A.3's key", rfc7515RS256, RS256, ec, false},
		{"A.1 by A.2", rfc7515HS256, RS256, rsa, false},
		{"A.1 by A.3", rfc7515HS256, ES256, ec, false},
		{"A.5 by A.2", rfc7515None, RS256, rsa, false},
		{"A.5 by A.3", rfc7515None, ES256, ec, false},
	} {
		if err := believes(c.raw, c.alg, c.pub); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRFC7638(t *testing.T) {
	got, err := keyThumbprint(RS256, parseJWK(t, rfc7638RSA).Key)
	if err != nil || got.String() != rfc7638Thumbprint {
		t.Errorf("%v, %v", got, err)
	}
	// go-jose has its own idea of thumbprints; they must agree.
	for _, k := range []any{parseJWK(t, rfc7515EC).Key, pool().ec[0].Public(), pool().rsa[0].Public()} {
		want, err := (&jose.JSONWebKey{Key: k}).Thumbprint(5) // crypto.SHA256
		if err != nil {
			t.Fatal(err)
		}
		alg := ES256
		if _, ok := k.(*rsa.PublicKey); ok {
			alg = RS256
		}
		if got, err := keyThumbprint(alg, k); err != nil || got.String() != b64(want) {
			t.Errorf("%v, %v, want %s", got, err, b64(want))
		}
	}
}

func TestRFC9449(t *testing.T) {
	const tokenURL, resource = "https://server.example.com/token", "https://resource.example.org/protectedresource"
	iat := time.Unix(1562262616, 0)
	p, err := VerifyProof(rfc9449Token, "POST", tokenURL, "", iat)
	if err != nil || p.ID != "-BwC3ESc6acc2lTc" || p.Key.String() != rfc9449Thumbprint || !p.Issued.Equal(iat) {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = VerifyProof(rfc9449Resource, "GET", resource, rfc9449AccessToken, iat)
	if err != nil || p.ID != "e1j3V_bKic8-LAEB" || p.Key.String() != rfc9449Thumbprint {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := VerifyProof(rfc9449Resource, "GET", resource, "", iat); !errors.Is(err, ErrProof) {
		t.Errorf("without its access token: %v", err)
	}
}

// The vectors are read from the module cache, not copied; internal/envelope
// says why the version is pinned in a test.
const (
	wycheproofModule = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum    = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

func readWycheproof(t *testing.T, file string, to any) {
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
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

// TestWycheproofJWS holds what a token goes through against every vector. What
// is valid there by other algorithms must be refused here.
func TestWycheproofJWS(t *testing.T) {
	var f struct {
		TestGroups []struct {
			Comment         string
			Public, Private json.RawMessage
			Tests           []struct {
				TcID         int
				Comment, JWS string
				Result       string
			}
		}
	}
	readWycheproof(t, "json_web_signature_test.json", &f)
	ran, believed := 0, 0
	for _, g := range f.TestGroups {
		text := g.Public
		if text == nil {
			text = g.Private
		}
		var head struct{ Alg, Use string }
		if err := json.Unmarshal(text, &head); err != nil {
			t.Fatal(err)
		}
		var k jose.JSONWebKey
		usable := k.UnmarshalJSON(text) == nil && head.Use != "enc"
		alg := Alg(head.Alg)
		if usable {
			_, err := keyThumbprint(alg, k.Key)
			usable = err == nil
		}
		for _, c := range g.Tests {
			ran++
			ok := usable && believes(c.JWS, alg, k.Key) == nil
			if ok {
				believed++
			}
			// A token is never empty, and its header has no more than alg, kid
			// and typ.
			mayRefuse := !usable || strings.Contains(c.JWS, "..") || c.Result == "acceptable"
			if want := c.Result == "valid"; ok && !want || !ok && want && !mayRefuse {
				t.Errorf("%d %s, %s: accepted %v, want %s", c.TcID, g.Comment, c.Comment, ok, c.Result)
			}
		}
	}
	// Ten are valid by ES256 or RS256, one of them with an empty payload.
	if ran != 401 || believed != 9 {
		t.Errorf("%d vectors ran, %d were believed", ran, believed)
	}
}

// TestWycheproofP1363 asks the standard library, which go-jose asks, with r and
// s cut as JWS cuts them: 64 bytes or nothing.
func TestWycheproofP1363(t *testing.T) {
	var f struct {
		TestGroups []struct {
			PublicKeyJWK json.RawMessage
			Tests        []struct {
				TcID             int
				Msg, Sig, Result string
			}
		}
	}
	readWycheproof(t, "ecdsa_secp256r1_sha256_p1363_test.json", &f)
	ran := 0
	for _, g := range f.TestGroups {
		var k struct{ Kty, Crv, X, Y string }
		if g.PublicKeyJWK == nil {
			continue
		}
		if err := json.Unmarshal(g.PublicKeyJWK, &k); err != nil {
			t.Fatal(err)
		}
		pub, _, err := (&ecJWK{k.Kty, k.Crv, k.X, k.Y}).public()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Tests {
			ran++
			msg, err1 := hex.DecodeString(c.Msg)
			sig, err2 := hex.DecodeString(c.Sig)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			digest := sha256.Sum256(msg)
			ok := len(sig) == 64 && ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
			if ok != (c.Result == "valid") {
				t.Errorf("%d: %v, want %s", c.TcID, ok, c.Result)
			}
		}
	}
	if ran < 250 {
		t.Errorf("%d vectors ran", ran)
	}
}
