package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// anyEvent draws a value for every field an Event has, found by reflection: a
// field that is added and not encoded makes TestEncode fail.
func anyEvent(t *rapid.T) grant.Event {
	var e grant.Event
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if rapid.Bool().Draw(t, name+" is set") {
			setField(t, name, v.Field(i))
		}
	}
	return e
}

func setField(t *rapid.T, name string, f reflect.Value) {
	text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("<>&\"\\/\b\f\n\r\t\x00\x1f\x7f\u0080\u2028\u2029é😀")), 0, 9, -1),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) }))
	label := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`)
	switch f.Interface().(type) {
	case time.Time:
		sec := rapid.Int64Range(-62167219200, 253402300799).Draw(t, name)
		f.Set(reflect.ValueOf(time.Unix(sec, rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()))
	case agentkeys.Wallet:
		var b [20]byte
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, name))
		f.Set(reflect.ValueOf(agentkeys.WalletFrom(b)))
	case agentkeys.Agent:
		f.Set(reflect.ValueOf(agentkeys.Must(agentkeys.ParseAgent(label.Draw(t, name)))))
	case agentkeys.Service:
		f.Set(reflect.ValueOf(agentkeys.Must(agentkeys.ParseService(label.Draw(t, name)))))
	default:
		switch f.Kind() {
		case reflect.String:
			f.SetString(text.Draw(t, name))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int, reflect.Int64:
			f.SetInt(rapid.Int64().Draw(t, name))
		case reflect.Uint32:
			f.SetUint(uint64(rapid.Uint32().Draw(t, name)))
		case reflect.Uint64:
			f.SetUint(rapid.Uint64().Draw(t, name))
		default:
			t.Fatalf("the test does not know how to fill %s", name)
		}
	}
}

// plainJSON is what encoding/json makes of e without HTML escaping.
func plainJSON(t interface{ Fatal(...any) }, e grant.Event) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func TestEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		var enc encoded
		if err := enc.set(&e); err != nil {
			t.Fatal(err)
		}
		got := enc.entry()
		if want := plainJSON(t, e); !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if enc.leaf() != tlog.RecordHash(got) {
			t.Fatal("the leaf hash is not that of RFC 6962")
		}
		for _, c := range got {
			if c < 0x20 {
				t.Fatalf("a control character in %q", got)
			}
		}
		back, err := decode(3, got)
		if err != nil || back.Unread != nil {
			t.Fatal(err, back.Unread)
		}
		if utf8.Valid(plainJSON(t, e)) && !strings.Contains(string(got), `\ufffd`) && back.Event != e {
			t.Fatalf("wrote %+v, read %+v", e, back.Event)
		}
	})
}

func TestEncodeAllocatesNothing(t *testing.T) {
	e := grant.Event{
		Time: time.Now(), Op: grant.OpUse, Decision: grant.Allowed, Hold: 1, Path: "POST /v1/chat/completions", Subject: "ü\n",
		Actor: agentkeys.WalletFrom([20]byte{1}), Agent: agentkeys.Must(agentkeys.ParseAgent("a")),
	}
	var enc encoded
	var sum tlog.Hash
	if n := testing.AllocsPerRun(100, func() {
		if err := enc.set(&e); err != nil {
			t.Fatal(err)
		}
		sum = enc.leaf()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = sum
}

// What this version cannot read is shown, never dropped.
func TestDecodeUnknown(t *testing.T) {
	for _, c := range []struct{ raw, op, subject string }{
		{`{"time":"2026-01-01T00:00:00Z","op":"teapot.brew","decision":"allow","colour":"red"}`, "teapot.brew", ""},
		{`{"op":"x","actor":"0xNOT","subject":"s","decision":"deny"}`, "x", "s"},
		{`{"op":"x","status":"not a number","subject":"s"}`, "x", "s"},
		{`{}`, "", ""},
	} {
		e, err := decode(1, []byte(c.raw))
		if err != nil || string(e.Raw) != c.raw || e.Event.Op != c.op || e.Event.Subject != c.subject {
			t.Errorf("%s: %+v, %v", c.raw, e, err)
		}
		if readable := !strings.ContainsAny(c.raw, "N"); readable != (e.Unread == nil) && !strings.Contains(c.raw, "not a number") {
			t.Errorf("%s: unread %v", c.raw, e.Unread)
		}
	}
	for _, raw := range []string{"", "null", "[]", `"x"`, "{", `{"a":1}x`, "\x00\x00"} {
		if _, err := decode(1, []byte(raw)); err == nil {
			t.Errorf("%q is not an entry", raw)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := grant.Event{
		Time: time.Date(2026, 7, 1, 12, 30, 45, 123456789, time.UTC), Op: grant.OpUse,
		Actor: agentkeys.WalletFrom([20]byte{1}), Parent: agentkeys.WalletFrom([20]byte{2}),
		Agent: agentkeys.Must(agentkeys.ParseAgent("research-bot")), Svc: agentkeys.Must(agentkeys.ParseService("openrouter")),
		Grant: "g-0123456789abcdef", Request: "r-0123456789abcdef0123",
		Decision: grant.Allowed, Method: "POST", Path: "POST /v1/chat/completions", Hold: 50 * grant.USD / 1000,
	}
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = plainJSON(b, e)
		}
	})
	b.Run("entry", func(b *testing.B) {
		b.ReportAllocs()
		var enc encoded
		for b.Loop() {
			_ = enc.set(&e)
		}
	})
	b.Run("entry+leaf", func(b *testing.B) {
		b.ReportAllocs()
		var enc encoded
		for b.Loop() {
			_ = enc.set(&e)
			_ = enc.leaf()
		}
	})
}
