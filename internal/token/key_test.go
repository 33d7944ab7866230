package token

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

func TestKeyAtRest(t *testing.T) {
	w := newWorld(t)
	for _, k := range []Key{w.signs, w.rsa1} {
		v, err := k.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseKey(v)
		if err != nil || got.KID() != k.KID() || got.Alg() != k.Alg() || !got.SignsFrom().Equal(k.SignsFrom()) {
			t.Fatalf("%v, %v, want %v", got, err, k)
		}
		text := string(v.Expose())
		from := k.SignsFrom().Format(time.RFC3339)
		other := ES256
		if k.Alg() == ES256 {
			other = RS256
		}
		for name, bad := range map[string]string{
			"empty": "", "cut": text[:len(text)-1], "longer": text + "\n", "space before": " " + text, "null": "null", "PEM": "-----BEGIN PRIVATE KEY-----",
			"version":        strings.Replace(text, `"version":1`, `"version":2`, 1),
			"unknown":        strings.Replace(text, `{`, `{"x":1,`, 1),
			"twice":          strings.Replace(text, `"alg"`, `"alg":"none","alg"`, 1),
			"capitals":       strings.Replace(text, `"alg"`, `"ALG"`, 1),
			"other kid":      strings.Replace(text, k.KID(), w.future.KID(), 1),
			"other alg":      strings.Replace(text, `"`+string(k.Alg())+`"`, `"`+string(other)+`"`, 1),
			"no time":        strings.Replace(text, from, "", 1),
			"local time":     strings.Replace(text, from, strings.TrimSuffix(from, "Z")+"+00:00", 1),
			"part of second": strings.Replace(text, from, strings.TrimSuffix(from, "Z")+".5Z", 1),
			"year zero":      strings.Replace(text, from, "0001-01-01T00:00:00Z", 1),
			"no key":         text[:strings.Index(text, `"pkcs8":"`)+9] + `"}`,
			"huge":           text + strings.Repeat(" ", maxToken),
		} {
			if bad == text {
				t.Fatalf("%s changes nothing", name)
			}
			_, err := ParseKey(secret.FromString(bad))
			if !errors.Is(err, ErrKey) {
				t.Errorf("%s, %s: %v", k.Alg(), name, err)
			} else if len(bad) > 20 && strings.Contains(err.Error(), bad[10:20]) {
				t.Errorf("%s: the error quotes the file: %v", name, err)
			}
		}
	}
}

func TestKeyRefuses(t *testing.T) {
	w := newWorld(t)
	p := pool()
	for name, c := range map[string]struct {
		s    crypto.Signer
		alg  Alg
		from time.Time
	}{
		"none": {nil, ES256, w.now}, "no time": {p.ec[0], ES256, time.Time{}}, "no algorithm": {p.ec[0], "", w.now}, "alg none": {p.ec[0], "none", w.now},
		"HS256": {p.ec[0], "HS256", w.now}, "EC for RS256": {p.ec[0], RS256, w.now}, "RSA for ES256": {p.rsa[0], ES256, w.now},
		"P-384": {p.p384, ES256, w.now}, "EdDSA": {p.ed, ES256, w.now}, "P-384 elsewhere": {kms{Signer: p.p384}, ES256, w.now},
	} {
		if k, err := KeyFrom(c.s, c.alg, c.from); !errors.Is(err, ErrKey) || !k.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewKey("none", w.now); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	k, err := NewKey(ES256, w.now.Add(time.Millisecond))
	if err != nil || !k.SignsFrom().Equal(w.now) {
		t.Errorf("%v, %v", k.SignsFrom(), err)
	}
	var zero Key
	if _, err := zero.Marshal(); err == nil || zero.KID() != "" || zero.Alg() != "" || !zero.SignsFrom().IsZero() {
		t.Error("the zero key is something")
	}
}

// TestKeyPrintsNothing: no verb, logger or encoder shows a private key.
func TestKeyPrintsNothing(t *testing.T) {
	w := newWorld(t)
	k := w.signs
	raw, err := pool().ec[2].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := new(big.Int).SetBytes(raw) // as it would be printed
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "key", k, "keys", []Key{k}, "ring", w.ring)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", k, "issuer", w.issuer())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb, k, []Key{k}, struct{ K Key }{k})
	}
	if _, err := json.Marshal(k); err == nil {
		t.Error("a key was marshalled")
	}
	for _, bad := range []string{d.String(), d.Text(16), strings.ToUpper(d.Text(16)), b64(raw)} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("the private key is in %s", out.String())
		}
	}
}
