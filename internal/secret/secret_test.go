package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const canary = "canary-8f2c-not-a-real-key"

// holders are the shapes a secret may stand in when somebody prints it.
func holders() []any {
	v := FromString(canary)
	type hidden struct{ v Value }
	type nested struct{ h hidden }
	return []any{
		v, &v, []Value{v}, [1]Value{v}, map[string]Value{"k": v},
		hidden{v}, &hidden{v}, nested{hidden{v}}, &nested{hidden{v}},
		[]hidden{{v}}, map[string]hidden{"k": {v}}, struct{ V any }{v}, struct{ v any }{v},
		fmt.Errorf("wrapped: %v", v), errors.Join(fmt.Errorf("%s", v)),
	}
}

func clean(t *testing.T, how, out string) {
	t.Helper()
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary)), "99 97 110 97 114 121"} {
		if strings.Contains(out, form) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
	}
}

func TestNoVerbPrintsASecret(t *testing.T) {
	for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "20", ".3", "20.10"} {
		for verb := 'A'; verb <= 'z'; verb++ {
			for _, h := range holders() {
				f := "%" + flags + string(verb)
				clean(t, fmt.Sprintf("%s of %T", f, h), fmt.Sprintf(f, h))
			}
		}
	}
}

func TestNoLoggerPrintsASecret(t *testing.T) {
	for _, h := range holders() {
		var buf bytes.Buffer
		opts := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&buf, opts), slog.NewJSONHandler(&buf, opts)} {
			slog.New(handler).Info("m", "k", h, slog.Group("g", "k", h))
		}
		clean(t, fmt.Sprintf("slog of %T", h), buf.String())
	}
}

func TestEveryEncoderRefuses(t *testing.T) {
	v := struct{ V Value }{FromString(canary)}
	if out, err := json.Marshal(v); !errors.Is(err, ErrMarshal) {
		t.Errorf("json: %s, %v", out, err)
	}
	if out, err := yaml.Marshal(v); err == nil {
		t.Errorf("yaml: %s", out)
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(v); err == nil {
		t.Error("gob encoded a secret")
	}
	if _, err := v.V.MarshalText(); !errors.Is(err, ErrMarshal) {
		t.Error("text encoded a secret")
	}
	if _, err := v.V.MarshalBinary(); !errors.Is(err, ErrMarshal) {
		t.Error("binary encoded a secret")
	}
}

func TestClearReachesEveryCopy(t *testing.T) {
	raw := []byte(canary)
	v := New(raw)
	w := v
	own := v.Clone()
	v.Clear()
	if !w.IsZero() || !bytes.Equal(raw, make([]byte, len(raw))) {
		t.Error("a copy survived Clear")
	}
	if string(own.Expose()) != canary {
		t.Error("Clear reached a clone")
	}
	Value{}.Clear()
}

func TestEqual(t *testing.T) {
	if !FromString("a").Equal(FromString("a")) || FromString("a").Equal(FromString("b")) || FromString("a").Equal(FromString("aa")) {
		t.Error("Equal is wrong")
	}
}

func TestReadStopsAtItsLimit(t *testing.T) {
	if v, err := Read(strings.NewReader("12345"), 5); err != nil || string(v.Expose()) != "12345" {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := Read(strings.NewReader("123456"), 5); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond the limit: %v", err)
	}
	boom := errors.New("boom")
	if _, err := Read(&failing{boom}, 5); !errors.Is(err, boom) {
		t.Errorf("a failing reader: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }
