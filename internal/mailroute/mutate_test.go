package mailroute_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/mailroute"
)

// sample is a message to a1, and what of it a sender, or chance, may change.
type sample struct {
	name       string
	recipients []string
	parts      []part
	// most is how many changes are made at once: so few that they cannot make a
	// message to a2 of it.
	most int
	// words are what may be put in.
	words []string
	// sure: no change at all makes a difference.
	sure bool
}

type part struct {
	text string
	how  change
}

type change uint8

const (
	fixed change = iota // the receiver's word
	line                // the sender's, within a line of the receiver's
	free                // the sender's
)

var (
	marks = []string{
		"<", ">", "\"", "(", ")", ",", ";", ":", "@", "\\", "[", "]", ".", "-", "_", "x", "X", "=", "?", "\t", " ", "\r", "\n", "\x00", "\x7f", "\xff", "\u00e4", "\uff10", "\u200b",
		"\r\n ", "\n\t", "\r\n", "\r\n\r\n", "=?utf-8?q?", "?=", "<>", "()", "\"\"", ",,", "To: ", "\r\nTo: ", "\nCc:", "group: ", "<@y.example:", "or-0x", "-1", l2 + "@evil.example", "x@" + dom + ", ",
	}
	inert = []string{`"` + a2 + `" `, "(" + a2 + ")", "=?utf-8?q?" + l2 + "=40" + dom + "?=", "\r\nSubject: see " + a2 + " there\r\n"}
	live  = []string{a2, "<" + a2 + ">", "," + a2 + ",", " for " + a2, "; for " + a2 + ";", " by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000", ")(", w2, "\r\nTo: " + a2 + "\r\n",
		"\r\nReceived: from h (r) by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000\r\n"}
)

func samples() []sample {
	ses := sesHead("HELO", "RDNS", a1)
	helo := strings.SplitN(strings.ReplaceAll(ses, "RDNS", "HELO"), "HELO", 3)
	to2 := "Received: from h (r) by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000\r\n" +
		"From: Service <no-reply@service.example>\r\nTo: Bob <" + a2 + ">\r\nCc: " + a2 + "\r\nSubject: x\r\n\r\nText, and " + a2 + "\r\n"
	received := []part{{helo[0], fixed}, {"a1-2.service.example", line}, {helo[1], fixed}, {"a1-2.service.example", line}, {helo[2], fixed}, {to2, free}}

	all := []sample{
		{name: "notification", recipients: []string{a1}, parts: []part{{sesHead("h", "r", a2) + to2, free}}, most: 8, words: live, sure: true},
		{name: "received", parts: received, most: 8, words: live},
		{name: "received, LF", parts: unix(received), most: 8, words: live},
	}
	const from = "From: Service <no-reply@service.example>\r\n"
	far := "Message-ID: <" + l2 + "@service.example>\r\nSubject: see\r\n " + a2 + " there, or " + w2 + "\r\nMIME-Version: 1.0\r\n\r\nText, see " + a2 + " here.\r\n"
	for _, c := range []struct {
		name, to string
		words    []string
		most     int
	}{
		{"bare", "To: " + a1 + "\r\n", nil, 3},
		{"angle", "To: Bob <" + a1 + ">\r\n", nil, 3},
		{"quoted name", "To: \"Bob, B.\"\r\n\t<" + a1 + ">\r\n", nil, 3},
		{"encoded name", "To: =?utf-8?q?B=C3=B6b?= =?utf-8?b?Qg==?=\r\n <" + a1 + ">\r\n", nil, 3},
		{"list", "To: \"X\" <x@y.example>, Bob (c) <" + a1 + ">,\r\n z@y.example\r\nCc: u@v.example, " + a1b + "\r\n", nil, 3},
		{"group", "To: friends: x@y.example, " + a1 + ";, none:;\r\n", nil, 3},
		{"route", "Cc: <@a.example,@b.example:" + a1 + ">\r\n", nil, 3},
		{"quoted local part", "To: \"" + l1 + "\"@" + dom + "\r\n", nil, 3},
		{"another wallet in a comment", "To: Bob (for " + a2 + ", (not)) <" + a1 + ">\r\n", inert, 2},
		{"another wallet as a name", "To: \"" + a2 + "\" <x@y.example>, " + a1 + "\r\n", inert, 2},
		{"another wallet as an encoded name", "To: =?utf-8?q?" + l2 + "=40" + dom + "?= <" + a1 + ">\r\n", inert, 2},
		{"another wallet elsewhere", "To: " + l2 + "@evil.example, Bob <" + a1 + ">, <" + l2 + "@bots.example.evil.example>\r\n", inert, 2},
	} {
		parts := []part{{sesHead("h", "r", ""), fixed}, {from + c.to + far, free}}
		all = append(all,
			sample{name: c.name, parts: parts, most: c.most, words: c.words},
			sample{name: c.name + ", LF", parts: unix(parts), most: c.most, words: c.words})
	}
	return all
}

func unix(parts []part) []part {
	var u []part
	for _, p := range parts {
		u = append(u, part{strings.ReplaceAll(p.text, "\r\n", "\n"), p.how})
	}
	return u
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// mutate changes b[from:] once. It never puts a hexadecimal digit beside
// another, which would make another wallet.
func mutate(b []byte, from int, how change, words []string, rnd *rand.Rand) []byte {
	n := len(b) - from
	i := from + rnd.IntN(n+1)
	put := func(i int, s string) {
		if how == line && strings.ContainsAny(s, "\n") {
			return
		}
		b = append(b, s...)
		copy(b[i+len(s):], b[i:len(b)-len(s)])
		copy(b[i:], s)
	}
	switch op := rnd.IntN(10); op {
	case 0, 1: // in place of a byte
		if i < len(b) {
			b = append(b[:i], b[i+1:]...)
		}
		put(i, marks[rnd.IntN(len(marks))])
	case 2, 3:
		put(i, marks[rnd.IntN(len(marks))])
	case 4:
		if len(words) > 0 {
			put(i, words[rnd.IntN(len(words))])
		}
	case 5:
		b = append(b[:i], b[min(len(b), i+1+rnd.IntN(4)):]...)
	case 6: // exchange
		if i+1 < len(b) && !isHex(b[i]) && !isHex(b[i+1]) {
			b[i], b[i+1] = b[i+1], b[i]
		}
	case 7: // case, which changes no wallet
		for j := i; j < min(len(b), i+8); j++ {
			if b[j]|0x20 >= 'a' && b[j]|0x20 <= 'z' {
				b[j] ^= 0x20
			}
		}
	case 8: // a piece of it again
		j := from + rnd.IntN(n+1)
		k := min(len(b), j+rnd.IntN(60))
		if (i == from || !isHex(b[i-1])) && (i == len(b) || !isHex(b[i])) {
			put(i, string(b[j:k]))
		}
	case 9: // a line again, or no more
		if how == free {
			j := from + bytes.LastIndexByte(b[from:i], '\n') + 1
			k := len(b)
			if e := bytes.IndexByte(b[j:], '\n'); e >= 0 {
				k = j + e + 1
			}
			if rnd.IntN(2) == 0 {
				put(j, string(b[j:k]))
			} else {
				b = append(b[:j], b[k:]...)
			}
		}
	}
	return b
}

// A million messages to a1, changed at random where a sender could have, or
// anywhere below what the receiver wrote: none goes to anybody else.
func TestMillionMutations(t *testing.T) {
	r := router(t)
	total := 1_000_000
	if raceDetector {
		total /= 50
	}
	all := samples()
	for _, s := range all {
		var msg strings.Builder
		for _, p := range s.parts {
			msg.WriteString(p.text)
		}
		if got := verdict(t, decide(t, r, msg.String(), s.recipients...)); got != "1" {
			t.Fatalf("%s: got %s before any change", s.name, got)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	counts := map[string]int{}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			seen := map[string]int{}
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			b := make([]byte, 0, 16<<10)
			for n := w; n < total && !t.Failed(); n += workers {
				s := all[n%len(all)]
				b = b[:0]
				todo := 1 + rnd.IntN(s.most)
				hit := rnd.IntN(len(s.parts)) // begin anywhere
				for i, p := range s.parts {
					from := len(b)
					b = append(b, p.text...)
					if p.how == fixed || todo == 0 {
						continue
					}
					k := todo
					if i < hit {
						k = rnd.IntN(todo + 1)
					}
					for range k {
						b = mutate(b, from, p.how, s.words, rnd)
					}
					todo -= k
				}
				whole := true
				if s.parts[0].how == free || rnd.IntN(8) == 0 {
					// Cut, as it is or because it is read so.
					b, whole = b[:rnd.IntN(len(b)+1)], rnd.IntN(2) == 0
				}
				d := r.Decide(b, whole, s.recipients)
				if d.Outcome == mailroute.Route && d.Address.Wallet() != wallet(w1) || s.sure && d.Outcome != mailroute.Route && whole {
					t.Errorf("%s, message %d: %+v\n%q", s.name, n, d, b)
					return
				}
				cut := rnd.IntN(len(b) + 1)
				if c := r.Decide(b[:cut:cut], false, s.recipients); c.Outcome != mailroute.More && c != d {
					t.Errorf("%s, message %d: on %d bytes %+v, on %d %+v\n%q", s.name, n, cut, c, len(b), d, b)
					return
				}
				seen[string(d.Outcome)+" "+d.By+" "+d.Reason]++
			}
			mu.Lock()
			defer mu.Unlock()
			for k, v := range seen {
				counts[k] += v
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	if t.Failed() {
		return
	}
	done := 0
	for _, n := range counts {
		done += n
	}
	perMessage := (after.TotalAlloc - before.TotalAlloc) / uint64(total)
	t.Logf("%d messages, %d bytes allocated for each: %v", done, perMessage, counts)
	if done != total {
		t.Errorf("%d messages", done)
	}
	if perMessage > 4<<10 {
		t.Errorf("%d bytes were allocated for each message", perMessage)
	}
	// It would show nothing if nothing were routed, or nothing spoilt.
	for key, least := range map[string]int{
		"route notification ": total / 100, "route received ": total / 100, "route to ": total / 4,
		"refuse to " + malformed: total / 50, "refuse to " + unclear: total / 200, "refuse to " + several: total / 1000, "ignore to " + nobody: total / 1000, "ignore to " + foreign: total / 1000,
	} {
		if counts[key] < least {
			t.Errorf("%s: only %d of %d", key, counts[key], total)
		}
	}
}
