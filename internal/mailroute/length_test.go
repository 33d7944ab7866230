package mailroute_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailroute"
)

var padding = strings.Repeat("To: x, ", 150)

// pad appends n bytes of header lines; n is 0, or at least 5.
func pad(b []byte, n int, eol string) []byte {
	for n > 0 {
		l := min(n, 998)
		if r := n - l; r > 0 && r < 5 {
			l -= 5
		}
		b = append(b, "X:"...)
		b = append(b, padding[:l-2-len(eol)]...)
		b = append(b, eol...)
		n -= l
	}
	return b
}

// block appends a header block of exactly size bytes in which To lies about
// where it should, and returns where it ends; 0 if there is no room for it,
// and -1 if there is none for a block.
func block(b []byte, size, at int, eol string) (head []byte, to int) {
	line := "To: Bob <" + a1 + ">" + eol
	free := size - len(line) - len(eol)
	if free < 0 {
		switch n := size - len(eol); {
		case n >= 5:
			b = pad(b, n, eol)
		case n >= 2: // a line that is no field, which is let pass
			b = append(b, "xxx"[:n-1]+"\n"...)
		case n != 0:
			return b, -1 // no room for the empty line, or only for another
		}
		return append(b, eol...), 0
	}
	before := min(at, free)
	after := free - before
	if before < 5 {
		before, after = 0, free
	}
	if after < 5 {
		line = "To: Bob" + strings.Repeat("b", after) + line[7:]
		after = 0
	}
	b = pad(b, before, eol)
	b = append(b, line...)
	to = len(b)
	b = pad(b, after, eol)
	return append(b, eol...), to
}

// Header blocks of every length from 0 to 70 KiB, To anywhere in them, with
// either line end, cut where it matters: at no cut is anything but all of the
// block, or nothing, acted on.
func TestEveryLength(t *testing.T) {
	r := router(t)
	limit := 70 << 10
	if raceDetector {
		limit = 4 << 10
	}
	want := decide(t, r, "To: "+a1+"\r\n\r\n")
	var b []byte
	rnd := uint32(1)
	routed := 0
	for size := range limit + 1 {
		for _, eol := range []string{"\r\n", "\n"} {
			rnd = rnd*1664525 + 1013904223
			at := int(rnd>>8) % (size + 1)
			var to int
			if b, to = block(b[:0], size, at, eol); to < 0 {
				continue
			}
			if len(b) != size {
				t.Fatalf("%d bytes instead of %d", len(b), size)
			}
			b = append(b, "To: "+a2+"\r\n\r\n"...)
			w := want
			if to == 0 {
				w = mailroute.Decision{Outcome: mailroute.Ignore, Reason: nobody, By: mailroute.ByTo}
			} else {
				routed++
			}
			cuts := [...]int{0, 1, at, to - 3, to - 2, to - 1, to, to + 1, 2048, size - 3, size - 2, size - 1, size, size + 1, len(b)}
			for _, cut := range cuts {
				if cut < 0 || cut > len(b) {
					continue
				}
				got := r.Decide(b[:cut], false, nil)
				if cut < size && got.Outcome != mailroute.More || cut >= size && got != w {
					t.Fatalf("%d bytes of a block of %d with To ending at %d: %+v", cut, size, to, got)
				}
			}
		}
	}
	if routed < 2*(limit-200) {
		t.Errorf("only %d were of a wallet", routed)
	}
}

// One block of 70 KiB, cut at every byte, between CR and LF too.
func TestEveryCut(t *testing.T) {
	r := router(t)
	size := 70 << 10
	if raceDetector {
		size = 4 << 10
	}
	want := decide(t, r, "To: "+a1+"\r\n\r\n")
	for _, eol := range []string{"\r\n", "\n"} {
		for _, at := range []int{0, size / 3, size} {
			b, _ := block(nil, size, at, eol)
			b = append(b, "text"...)
			for cut := range len(b) + 1 {
				got := r.Decide(b[:cut:cut], false, nil)
				if cut < size && got.Outcome != mailroute.More || cut >= size && got != want {
					t.Fatalf("%d bytes of a block of %d, To near %d: %+v", cut, size, at, got)
				}
			}
		}
	}
}

// Real blocks of short lines and many folds, cut everywhere; each CR and LF
// replaced, doubled and left out must not make another wallet of it.
func TestLineEnds(t *testing.T) {
	r := router(t)
	msg := sesHead("h", "r", "") + "Received: from a\r\n by b; Mon, 06 May 2024 16:07:08 +0000\r\nDKIM-Signature: v=1;\r\n\td=service.example;\r\n\tb=abc\r\nFrom: Service\r\n <no-reply@service.example>\r\nTo:\r\n\t\"Bob\"\r\n\t<" + l1 + "\r\n\t@\r\n\t" + dom + ">\r\nSubject:\r\n\tx\r\n\r\ntext\r\n\r\nTo: " + a2 + "\r\n"
	for _, msg := range []string{msg, strings.ReplaceAll(msg, "\r\n", "\n")} {
		want := decide(t, r, msg)
		if got := verdict(t, want); got != "1" {
			t.Fatalf("got %s", got)
		}
		end := bytes.Index([]byte(strings.ReplaceAll(msg, "\r", "")), []byte("\n\n")) // about
		for i := range end {
			if msg[i] != '\r' && msg[i] != '\n' {
				continue
			}
			for _, with := range []string{"", "\r", "\n", "\r\n", "\r\r\n", "\n\r", " ", "\x00"} {
				m := msg[:i] + with + msg[i+1:]
				d := r.Decide([]byte(m), true, nil)
				if d.Outcome == mailroute.Route && d.Address != want.Address {
					t.Fatalf("%q: %s", m, d.Address)
				}
			}
		}
	}
}
