package mailhead_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
)

func show(b mailhead.Block) string {
	var s strings.Builder
	for _, f := range b.Fields {
		fmt.Fprintf(&s, "%s:%q[%d,%d) ", f.Name, f.Value, f.Offset, f.End)
	}
	fmt.Fprintf(&s, "%v %d", b.Complete, b.Size)
	return s.String()
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		whole    bool
		want     string
	}{
		{"nothing yet", "", false, "false 0"},
		{"nothing at all", "", true, "true 0"},
		{"CRLF", "A: b\r\nC:d\r\n\r\nbody", false, `A:" b"[0,6) C:"d"[6,11) true 13`},
		{"LF", "A: b\nC:d\n\nbody", false, `A:" b"[0,5) C:"d"[5,9) true 10`},
		{"mixed", "A: b\r\nC:d\n\r\nbody", false, `A:" b"[0,6) C:"d"[6,10) true 12`},
		{"no body", "A: b\r\n\r\n", false, `A:" b"[0,6) true 8`},
		{"no empty line", "A: b\r\n", true, `A:" b"[0,6) true 6`},
		{"no empty line, and more may come", "A: b\r\n", false, "false 0"},
		{"no line end", "A: b", true, `A:" b"[0,4) true 4`},
		{"no line end, and more may come", "A: b", false, "false 0"},
		{"half a line end", "A: b\r", true, `A:" b"[0,5) true 5`},
		{"half an empty line", "A: b\n\r", false, `A:" b"[0,5) false 5`},
		{"half an empty line at the end", "A: b\n\r", true, `A:" b"[0,5) true 6`},
		{"folds", "A: b\r\n c\n\td\r\nE:\r\n f\r\n\r\n", false, `A:" b\r\n c\n\td"[0,13) E:"\r\n f"[13,21) true 23`},
		{"a fold may come", "A: b\r\n c\r\n", false, "false 0"},
		{"a fold has come in part", "A: b\r\n ", false, "false 0"},
		{"a fold of spaces is no end", "A: b\r\n \r\nC: d\r\n\r\n", false, `A:" b\r\n "[0,9) C:" d"[9,15) true 17`},
		{"a lone CR ends nothing", "A: b\rC: d\r\r\n\r\n", false, `A:" b\rC: d\r"[0,12) true 14`},
		{"only a body", "\r\nA: b\r\n", false, "true 2"},
		{"spaces before the colon", "A \t: b\n\n", false, `A:" b"[0,7) true 8`},
		{"one odd line", "From x@y Mon Jan  1 00:00:00 2024\nA: b\n\n", false, `:"From x@y Mon Jan  1 00:00:00 2024"[0,34) A:" b"[34,39) true 40`},
		{"a fold of nothing", " x: y\n z\nA: b\n\n", false, `:" x: y\n z"[0,9) A:" b"[9,14) true 15`},
		{"two odd lines are a body", "A: b\nodd\nC: d\nthis is text\nTo: e\n\n", false, `A:" b"[0,5) :"odd"[5,9) C:" d"[9,14) true 14`},
		{"an odd line that may be a field yet", "A: b\nodd\nC", false, `A:" b"[0,5) :"odd"[5,9) false 9`},
		{"a fold of nothing, and a colon", " \t: y\nodd\nA: b\n\n", false, `:" \t: y"[0,6) true 6`},
		{"no name", ": b\nA: b\n\n", false, `:": b"[0,4) A:" b"[4,9) true 10`},
		{"a name beyond ASCII", "\u00e4: b\nA: b\n\n", false, `:"ä: b"[0,6) A:" b"[6,11) true 12`},
		{"NUL", "A\x00: b\nA: b\x00\n\n", false, `:"A\x00: b"[0,6) A:" b\x00"[6,12) true 13`},
	} {
		if got := show(mailhead.Parse([]byte(c.in), c.whole)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// prefixes holds the law of beginnings for one message.
func prefixes(t *testing.T, msg []byte) {
	t.Helper()
	whole := mailhead.Parse(msg, true)
	for n := range len(msg) + 1 {
		b := mailhead.Parse(msg[:n], false)
		if len(b.Fields) > len(whole.Fields) {
			t.Fatalf("the first %d bytes of %q have %d fields, all of it %d", n, msg, len(b.Fields), len(whole.Fields))
		}
		for i, f := range b.Fields {
			if w := whole.Fields[i]; f.Name != w.Name || f.Offset != w.Offset || f.End != w.End || !bytes.Equal(f.Value, w.Value) {
				t.Fatalf("the first %d bytes of %q: field %d is %q, in all of it %q", n, msg, i, f.Value, w.Value)
			}
		}
		if b.Complete && (len(b.Fields) != len(whole.Fields) || b.Size != whole.Size || !whole.Complete) {
			t.Fatalf("the first %d bytes of %q end the block at %d, all of it at %d", n, msg, b.Size, whole.Size)
		}
		if b.Size > n {
			t.Fatalf("the first %d bytes of %q make a block of %d", n, msg, b.Size)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "A: b\r\n c\r\n\r\nbody", "A: b\n\n", "odd\nA: b\nodd\nA: b\n\n", "A: b\r\n\r", " \n\n", "A:\r\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 4<<10 {
			return
		}
		prefixes(t, msg)
		b := mailhead.Parse(msg, true)
		at := 0
		for _, f := range b.Fields {
			if f.Offset != at || f.End <= at || !bytes.HasSuffix(bytes.TrimRight(msg[at:f.End], "\r\n"), bytes.TrimRight(f.Value, "\r\n")) {
				t.Fatalf("%q: field at [%d,%d), expected at %d", msg, f.Offset, f.End, at)
			}
			if u := mailhead.Unfold(f.Value); strings.ContainsRune(u, '\n') || mailhead.Unfold([]byte(u)) != u {
				t.Fatalf("%q unfolds to %q", f.Value, u)
			}
			at = f.End
		}
		if !b.Complete || b.Size < at || b.Size > at+2 {
			t.Fatalf("%q: complete %v, size %d, fields end at %d", msg, b.Complete, b.Size, at)
		}
		// What was read, written anew, reads the same.
		var again bytes.Buffer
		for _, f := range b.Fields {
			again.Write(msg[f.Offset:f.End])
		}
		if b2 := mailhead.Parse(again.Bytes(), true); len(b2.Fields) != len(b.Fields) {
			t.Fatalf("%q: %d fields, written anew %d", msg, len(b.Fields), len(b2.Fields))
		}
	})
}

func TestMaxBlock(t *testing.T) {
	field := "A: " + strings.Repeat("x", 59) + "\r\n" // 64 bytes
	full := strings.Repeat(field, mailhead.MaxBlock/64)
	for _, c := range []struct {
		name     string
		msg      string
		complete bool
		fields   int
	}{
		{"ends just so", full[:len(full)-64] + "A: " + strings.Repeat("x", 57) + "\r\n\r\n", true, mailhead.MaxBlock / 64},
		{"ends a byte too late", full[:len(full)-64] + "A: " + strings.Repeat("x", 58) + "\r\n\r\n", false, mailhead.MaxBlock/64 - 1},
		{"ends with the message", full, false, mailhead.MaxBlock/64 - 1},
		{"ends with the message before", full[:len(full)-1], true, mailhead.MaxBlock / 64},
		{"never ends", full + full, false, mailhead.MaxBlock/64 - 1},
	} {
		for _, whole := range []bool{true, false} {
			want := c.complete && (whole || strings.Contains(c.msg, "\r\n\r\n"))
			b := mailhead.Parse([]byte(c.msg), whole)
			if b.Complete != want || b.Complete && len(b.Fields) != c.fields {
				t.Errorf("%s, whole %v: complete %v, %d fields", c.name, whole, b.Complete, len(b.Fields))
			}
		}
	}
}
