package mailroute_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailroute"
)

func FuzzDecide(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s.parts[len(s.parts)-1].text))
	}
	f.Add([]byte("From x\nTo: " + a1 + "\n\n"))
	f.Add([]byte("To: \"" + a1 + "\r\n\r\n"))
	r := router(f)
	ses := []byte(sesHead("h", "r", a1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 3<<10 {
			return
		}
		d := r.Decide(msg, true, nil)
		verdict(t, d)
		for n := 0; n <= len(msg); n += 1 + len(msg)/100 {
			if c := r.Decide(msg[:n:n], false, nil); c.Outcome != mailroute.More && c != d {
				t.Errorf("%q: on %d bytes %+v, on all %+v", msg, n, c, d)
			}
		}
		// Whoever it goes to is named in it, in full and in one piece, unless
		// with backslashes.
		if d.Outcome == mailroute.Route && !bytes.Contains(bytes.ToLower(msg), []byte(d.Address.Local())) && !bytes.Contains(msg, []byte(`\`)) {
			t.Errorf("%q goes to %s", msg, d.Address)
		}
		// Nothing that a message says counts against the envelope.
		if d := r.Decide(msg, true, []string{a1}); verdict(t, d) != "1" {
			t.Errorf("%q: with a recipient %+v", msg, d)
		}
		if d := r.Decide(append(ses[:len(ses):len(ses)], msg...), true, nil); verdict(t, d) != "1" {
			t.Errorf("%q: below an envelope %+v", msg, d)
		}
		// Nor can it take away what To says above it, unseen.
		if d := r.Decide(append([]byte("To: "+a1+"\nX: x\n"), msg...), true, nil); d.Outcome == mailroute.Ignore || d.Outcome == mailroute.Route && d.Address.Wallet() != wallet(w1) {
			t.Errorf("%q: below To %+v", msg, d)
		}
	})
}

// A sender has his HELO, and the name of his address.
func FuzzHELO(f *testing.F) {
	for _, s := range live {
		f.Add("h"+s, "r")
		f.Add("h", "r"+s)
		f.Add("h"+s+" (", ") r")
	}
	r := router(f)
	f.Fuzz(func(t *testing.T, helo, rdns string) {
		if len(helo)+len(rdns) > 2<<10 || strings.Contains(helo+rdns, "\n") {
			return
		}
		for _, to := range []string{a1, a2} {
			d := r.Decide([]byte(sesHead(helo, rdns, a1)+"To: "+to+"\r\n\r\n"), true, nil)
			verdict(t, d)
			if d.Outcome == mailroute.Route && d.Address.Wallet() != wallet(w1) {
				t.Errorf("HELO %q, %q: %+v", helo, rdns, d)
			}
		}
		// A recipient may be odd as well: it is whoever asks for it who writes it.
		d := r.Decide([]byte(sesHead(helo, "r", `"`+rdns+`"@`+dom)+"To: "+a1+"\r\n\r\n"), true, nil)
		if d.Outcome == mailroute.Route && d.By == mailroute.ByReceived && !strings.Contains(strings.ToLower(rdns), d.Address.Local()) {
			t.Errorf("HELO %q, for %q: %+v", helo, rdns, d)
		}
	})
}
