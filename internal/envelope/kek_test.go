package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/secret"
)

const kekText = "kek-canary-0123456789abcdefghijk" // 32 bytes, printable if it leaks

func TestKEKRefusesToPrint(t *testing.T) {
	kek, err := NewKEK([]byte(kekText))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	type holder struct {
		Public  KEK
		private KEK
		pointer *KEK
		m       map[string]KEK
	}
	for _, v := range []any{kek, &kek, holder{kek, kek, &kek, map[string]KEK{"k": kek}}, []KEK{kek}, map[string]any{"k": kek}, fmt.Errorf("with %v", kek)} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "40", ".3"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&out, v)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Error("m", "k", v, slog.Group("g", "k", v))
		}
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			out.Write(b)
		}
		_ = gob.NewEncoder(&out).Encode(v)
	}
	for _, s := range []string{kekText, hex.EncodeToString([]byte(kekText)), strings.ToUpper(hex.EncodeToString([]byte(kekText))),
		base64.StdEncoding.EncodeToString([]byte(kekText)), fmt.Sprint([]byte(kekText)), fmt.Sprintf("%#v", []byte(kekText))} {
		// A few bytes of it would be a leak too.
		if strings.Contains(out.String(), s[:10]) {
			t.Errorf("the key was printed, as %.10q…", s)
		}
	}
	for _, s := range []string{fmt.Sprint(kek), fmt.Sprintf("%d", kek), fmt.Sprintf("%#v", kek), kek.String(), kek.GoString(), kek.LogValue().String()} {
		if s != secret.Redaction {
			t.Errorf("a KEK prints as %q", s)
		}
	}
}

func TestKEKRefusesToMarshal(t *testing.T) {
	kek, err := NewKEK([]byte(kekText))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(map[string]any{"k": kek}); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("json: %v", err)
	}
	for name, f := range map[string]func() ([]byte, error){"text": kek.MarshalText, "binary": kek.MarshalBinary, "gob": kek.GobEncode, "json": kek.MarshalJSON} {
		if b, err := f(); b != nil || !errors.Is(err, secret.ErrMarshal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, err := kek.MarshalYAML(); v != nil || !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("yaml: %v", err)
	}
	if err := gob.NewEncoder(new(bytes.Buffer)).Encode(kek); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("gob: %v", err)
	}
	if reflect.TypeFor[KEK]().Comparable() {
		t.Error("KEKs can be compared with ==, which is not constant time")
	}
}

func TestNewKEK(t *testing.T) {
	for _, n := range []int{0, 1, 16, 24, 31, 33, 64} {
		b := bytes.Repeat([]byte{7}, n)
		if k, err := NewKEK(b); err == nil || !k.isZero() {
			t.Errorf("a key of %d bytes was accepted", n)
		}
		if !bytes.Equal(b, make([]byte, n)) {
			t.Errorf("a refused key of %d bytes was left behind", n)
		}
	}
	if _, err := NewKEK(make([]byte, kekSize)); !errors.Is(err, ErrZero) {
		t.Errorf("a key of zeros: %v, want ErrZero", err)
	}
	b := bytes.Repeat([]byte{7}, kekSize)
	k, err := NewKEK(b)
	if err != nil {
		t.Fatal(err)
	}
	other := k
	other.Clear()
	if !bytes.Equal(b, make([]byte, kekSize)) || !k.isZero() {
		t.Error("Clear of a copy left the key")
	}
	KEK{}.Clear()
}
