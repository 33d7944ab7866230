package audit

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// A journal that parses is written again as it was.
func FuzzJournal(f *testing.F) {
	b, _ := segment(300, 1, 3)
	f.Add(b)
	f.Add(b[:len(b)-150])
	f.Add([]byte(journalMagic))
	b, _ = segment(0)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := scanJournal(b)
		if err != nil {
			if err != errHeader {
				t.Fatal(err)
			}
			return
		}
		if s.bad >= 0 && s.bad != s.end() {
			t.Fatalf("bad %d, end %d", s.bad, s.end())
		}
		again := s.journalHeader.append(nil)
		rest := b[journalHeaderSize:]
		for i, e := range s.entries {
			_, known, _, ok := frameAt(rest)
			if !ok {
				t.Fatal("a frame was read that is none")
			}
			again = appendFrame(again, s.first+int64(i), known, e)
			rest = rest[frameHeader+len(e):]
		}
		sealFrames(again[journalHeaderSize:])
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("wrote %x of %x", again, b)
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 2, '{', '}', 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, rest := splitBundle(b)
		var again []byte
		for _, e := range entries {
			again = appendPrefixed(again, e)
		}
		if again = append(again, rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
		if c := checkBundle(b, make([]byte, 64)); c.bad != 0 {
			t.Fatal("an entry hashes to zero")
		}
		for i, e := range entries {
			if got, err := decode(int64(i), e); err == nil && !json.Valid(got.Raw) {
				t.Fatalf("%q is an entry", e)
			}
		}
	})
}

// anyVerifier believes every signature, so that the fuzzer gets past it.
type anyVerifier struct{}

func (anyVerifier) Name() string                { return "agentkeys/test" }
func (anyVerifier) KeyHash() uint32             { return 0x01020304 }
func (anyVerifier) Verify(msg, sig []byte) bool { return true }

func (anyVerifier) Sign([]byte) ([]byte, error) { return []byte("signature"), nil }

func FuzzCheckpoint(f *testing.F) {
	var a anyVerifier
	for _, text := range []string{"agentkeys/test\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"agentkeys/test\n12\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n"} {
		signed, err := note.Sign(&note.Note{Text: text}, a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCheckpoint(b, a)
		if err != nil {
			return
		}
		again, err := signCheckpoint(a, c.Size, c.Root)
		if err != nil || c.Origin != a.Name() || !bytes.Equal(c.Signed, b) {
			t.Fatal(c, err)
		}
		text, _, _ := bytes.Cut(again.Signed, []byte("\n\n"))
		if !bytes.HasPrefix(b, text) {
			t.Fatalf("%q came back as %q", b, text)
		}
	})
}

func FuzzInclusion(f *testing.F) {
	f.Add(Inclusion{index: 3, entry: []byte("{}"), signed: []byte("x")}.Text())
	p := Inclusion{index: 1 << 40, signed: []byte("a\n\nb\n")}
	p.hashes = append(p.hashes, leafHash(nil), leafHash([]byte("x")))
	f.Add(p.Text())
	k, err := NewKey("agentkeys/test", secret.New(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseInclusion(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Text(), b) {
			t.Fatalf("%q came back as %q", b, p.Text())
		}
		if _, _, err := p.Verify(k.Verifier()); err == nil {
			t.Fatal("a proof was forged")
		}
	})
}

// Any text in an event comes out as encoding/json writes it, and no control
// character gets into the journal.
func FuzzEncode(f *testing.F) {
	f.Add("op", "a\x00b\"\\\u2028<>", int64(0), int64(7))
	f.Fuzz(func(t *testing.T, op, subject string, sec, cost int64) {
		e := grant.Event{Op: op, Subject: subject, Time: time.Unix(sec, 5).UTC(), Cost: grant.Money(cost)}
		var enc encoded
		if err := enc.set(&e); err != nil {
			if e.Time.Year() >= 0 && e.Time.Year() <= 9999 && len(op)+len(subject) < 5000 {
				t.Fatal(err)
			}
			return
		}
		if want := plainJSON(t, e); !bytes.Equal(enc.entry(), want) {
			t.Fatalf("got  %s\nwant %s", enc.entry(), want)
		}
		if bytes.ContainsFunc(enc.entry(), func(r rune) bool { return r < 0x20 }) {
			t.Fatalf("a control character in %q", enc.entry())
		}
	})
}
