package broker

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// TestCodes: codes have all of their bits, and are read back as people write.
func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		code, shown := newCode(handoffLen, 4)
		if len(code) != 8 || len(shown) != 9 || shown[4] != '-' || seen[code] || parseCode(shown, handoffLen) != code {
			t.Fatalf("%q %q", code, shown)
		}
		seen[code] = true
		for _, c := range code {
			letters[c]++
		}
	}
	if len(letters) != 32 {
		t.Errorf("%d letters", len(letters))
	}
	for c, n := range letters {
		if n < 350 || n > 650 { // 500 ± 22
			t.Errorf("%c comes %d times", c, n)
		}
	}
	for s, want := range map[string]string{
		"ABCD-EFGH": "ABCDEFGH", "abcdefgh": "ABCDEFGH", " ab-cd ef-gh ": "ABCDEFGH", "OIL0-1OIL": "01101011",
		"ABCD-EFG": "", "ABCD-EFGHJ": "", "": "", "ABCU-EFGH": "", "АBCD-EFGH": "", strings.Repeat("-", 40) + "ABCDEFGH": "",
	} {
		if got := parseCode(s, handoffLen); got != want {
			t.Errorf("%q is %q", s, got)
		}
	}
	if same("", "") || !same("a", "a") || same("a", "b") || same("a", "") {
		t.Error("same is not the same")
	}
}

// FuzzParseCode: what is read is a code, which reads as itself.
func FuzzParseCode(f *testing.F) {
	f.Add("ABCD-EFGH")
	f.Add("o i l 0 1 o i l")
	f.Fuzz(func(t *testing.T, s string) {
		code := parseCode(s, handoffLen)
		if code != "" && (len(code) != handoffLen || strings.Trim(code, alphabet) != "" || parseCode(code, handoffLen) != code) {
			t.Errorf("%q is %q", s, code)
		}
	})
}

// FuzzParseEmail: what is read is one bare address, which reads as itself, and
// can end neither a header nor a line.
func FuzzParseEmail(f *testing.F) {
	for _, s := range []string{"Ada@Example.org", "a.b+c@d.e", "a@b", `"a b"@c.d`, "a@[1.2.3.4]", "a@b.c\r\nBcc: d@e.f", "<a@b.c>", "a@b@c.d", "a@.c."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseEmail(s)
		if err != nil {
			if !errors.Is(err, ErrRequest) || s != "" && len(s) > 30 && strings.Contains(err.Error(), s) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		again, err := parseEmail(a)
		if err != nil || again != a || a != strings.ToLower(a) || strings.Count(a, "@") != 1 || strings.ContainsAny(a, " \r\n\t<>,;:\"\\") || len(a) > 254 {
			t.Errorf("%q is %q, %v", s, a, err)
		}
	})
}

// TestDigest: parts cannot be mistaken for others.
func TestDigest(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"a", "b"}, {"ab"}, {"a", "b", ""}, {"1:a,1:b"}, {"a,1:b"}, {"handoff", "x"}, {"handoffx"}} {
		d := digest(parts...)
		if other, ok := seen[d]; ok || len(d) != 64 {
			t.Errorf("%q is %q", parts, other)
		}
		seen[d] = parts
	}
}

// TestOwnProofs: a proof is good once for as long as it could be used, and the
// memory ends.
func TestOwnProofs(t *testing.T) {
	p := newOwnProofs()
	now := time.Now()
	var k, l token.Thumbprint
	k[0], l[0] = 1, 2
	use := func(key token.Thumbprint, id string, at time.Time) error {
		return p.use(context.Background(), token.Proof{ID: id, Key: key}, at)
	}
	if err := use(k, "a", now); err != nil {
		t.Error(err)
	}
	for _, d := range []time.Duration{0, time.Minute, proofLife - 1} {
		if err := use(k, "a", now.Add(d)); !errors.Is(err, ErrProof) {
			t.Errorf("after %v: %v", d, err)
		}
	}
	if err := errors.Join(use(l, "a", now), use(k, "b", now)); err != nil {
		t.Errorf("another key, another id: %v", err)
	}
	for i := len(p.used); i < maxProofs; i++ {
		p.used[sum(strconv.Itoa(i))] = proofLife
	}
	if err := use(k, "c", now); !errors.Is(err, ErrUnavailable) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := use(k, "c", now.Add(proofLife)); err != nil || len(p.used) != 1 {
		t.Errorf("after all has ended: %v, %d left", err, len(p.used))
	}
}

// TestDevicesMemory: what was read before a device was taken out is not
// remembered after.
func TestDevicesMemory(t *testing.T) {
	d := newDevices()
	var k token.Thumbprint
	k[0] = 1
	_, heard, _ := d.recall(k)
	d.forget(k) // the event comes while the read is under way
	if !d.learn(k, deviceRecord{Account: "a"}, 7, heard) {
		t.Error("what was read is not good")
	}
	if _, _, ok := d.recall(k); ok {
		t.Error("it is remembered though it may be out")
	}
	_, heard, _ = d.recall(k)
	d.learn(k, deviceRecord{Account: "a"}, 7, heard)
	if _, _, ok := d.recall(k); !ok {
		t.Error("it is not remembered")
	}
	for _, buried := range []int64{7, 0} {
		d.bury(k, buried)
		if _, heard, ok := d.recall(k); ok || d.learn(k, deviceRecord{}, 7, heard) || d.learn(k, deviceRecord{}, 7, heard) {
			t.Errorf("buried as %d, it is good", buried)
		}
		_, heard, _ = d.recall(k)
		if !d.learn(k, deviceRecord{}, 8, heard) {
			t.Errorf("buried as %d, it cannot come back", buried)
		}
	}
	d.forgetAll()
	if _, _, ok := d.recall(k); ok {
		t.Error("it is remembered after a gap")
	}
}

// TestFeedFrom: what a snapshot has is not told again, and what concerns
// others not at all.
func TestFeedFrom(t *testing.T) {
	f := newFeed(nil, time.Now, slog.New(slog.DiscardHandler), func(string, *notice) {})
	ci := agentkeys.Must(agentkeys.ParseAgent("ci"))
	subs := map[string]*subscription{
		"master": {topic: "a", from: 5, queue: make(chan told, 9)}, "agent": {topic: "a", agent: ci, queue: make(chan told, 9)},
		"other": {topic: "b", queue: make(chan told, 9)},
	}
	for _, s := range subs {
		f.add(s)
	}
	g := &grant.Grant{
		ID: "g", Agent: ci, Svc: agentkeys.Must(agentkeys.ParseService("s")), Created: time.Now(), Expires: time.Now(),
		Master: agentkeys.WalletFrom([20]byte{1}), Wallet: agentkeys.WalletFrom([20]byte{2}),
	}
	for seq := int64(4); seq <= 6; seq++ {
		f.deliver("a", notice{Kind: brokerapi.EventGrant, Agent: ci, Grant: g}.event("a").Value, seq)
	}
	f.deliver("a", notice{Kind: brokerapi.EventAgents}.event("a").Value, 7)
	f.tell(revoked(*g).event("a"))
	for name, want := range map[string]int{"master": 3, "agent": 4, "other": 0} {
		if got := len(subs[name].queue); got != want {
			t.Errorf("%s is told %d things, want %d", name, got, want)
		}
	}
}

// TestSince: neither a machine that slept nor a clock that was set back makes
// old news fresh.
func TestSince(t *testing.T) {
	then := time.Now()
	if d := since(then.Add(time.Hour), then); d != time.Hour {
		t.Error(d)
	}
	// Asleep, the monotonic clock stood still and the other went on.
	if d := since(then.Add(time.Second), then.Round(0).Add(-time.Hour)); d < time.Hour {
		t.Error(d)
	}
	f := newFeed(nil, func() time.Time { return then.Round(0).Add(time.Hour) }, nil, nil)
	if f.fresh() {
		t.Error("fresh though nothing was read")
	}
	f.read = then
	if f.fresh() {
		t.Error("fresh after an hour asleep")
	}
}
