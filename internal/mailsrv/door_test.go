package mailsrv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litentry/agentkeys/internal/mailconf"
)

// clock is a time that is set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTestDoor(perHour int) (*door, *clock) {
	c := &clock{time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	return newDoor(mailconf.Limits{WalletMessagesPerHour: perHour}, []string{"or"}, c.now, prometheus.NewCounter(prometheus.CounterOpts{Name: "held"})), c
}

func local(t testing.TB, w int, n uint64) string {
	name, _, _ := strings.Cut(address(t, "or", wallet(w), n), "@")
	return name
}

var (
	here     = netip.MustParsePrefix("127.0.0.1/32")
	stranger = netip.MustParsePrefix("192.0.2.1/32")
)

// TestDoorCounts: what is kept counts, and what is not kept does not.
func TestDoorCounts(t *testing.T) {
	d, c := newTestDoor(3)
	to := local(t, 1, 1)
	for range 100 {
		if d.busy(here, to, domainName) {
			t.Fatal("to ask counts")
		}
	}
	for range 100 {
		back, ok := d.take(here, to, domainName)
		if !ok {
			t.Fatal("what was put back counts")
		}
		back()
	}
	for i := range 3 {
		if _, ok := d.take(here, local(t, 1, uint64(i)), domainName); !ok {
			t.Fatalf("message %d", i)
		}
	}
	if _, ok := d.take(here, to, domainName); ok || !d.busy(here, to, domainName) {
		t.Error("a fourth")
	}
	if d.busy(here, local(t, 2, 1), domainName) || d.busy(here, "nobody", domainName) {
		t.Error("another's")
	}
	d.take(here, local(t, 3, 1), domainName)
	c.at = c.at.Add(-time.Hour)
	if !d.busy(here, to, domainName) {
		t.Error("a clock that goes back gives more")
	}
	d.take(here, local(t, 3, 1), domainName)
	c.at = c.at.Add(time.Hour)
	if d.take(here, local(t, 3, 1), domainName); !d.busy(here, local(t, 3, 1), domainName) {
		t.Error("a clock that went back has given more")
	}
	c.at = c.at.Add(20 * time.Minute)
	if _, ok := d.take(here, to, domainName); !ok || !d.busy(here, to, domainName) {
		t.Error("a third of an hour is not one of three")
	}
}

// TestShare: one peer has a part of a wallet's limit; one that passes all mail
// on has all of it.
func TestShare(t *testing.T) {
	for peer, want := range map[netip.Prefix]int{
		stranger: 3, netip.MustParsePrefix("2001:db8::/64"): 3, here: 10, netip.MustParsePrefix("10.1.2.3/32"): 10,
		netip.MustParsePrefix("fd00::/64"): 10, netip.MustParsePrefix("::1/128"): 10, {}: 10,
	} {
		d, _ := newTestDoor(10)
		to, n := local(t, 1, 1), 0
		for !d.busy(peer, to, domainName) {
			if _, ok := d.take(peer, to, domainName); !ok {
				t.Fatal("not busy, and not taken")
			}
			n++
		}
		if n != want {
			t.Errorf("%s: %d of 10, not %d", peer, n, want)
		}
		if want == 3 && (d.busy(netip.MustParsePrefix("192.0.2.2/32"), to, domainName) || d.busy(peer, local(t, 2, 1), domainName)) {
			t.Errorf("%s: and another peer's, or another wallet's", peer)
		}
	}
}

// TestDoorBounded: wallets that are made up make no memory of it grow without
// end, and do not free one that is used up.
func TestDoorBounded(t *testing.T) {
	d, c := newTestDoor(2)
	d.wallets.most, d.shares.most = 100, 100
	used := local(t, 0, 1)
	for range 2 {
		d.take(here, used, domainName)
	}
	for i := range 1000 {
		d.busy(stranger, local(t, 1+i, 1), domainName)
	}
	if len(d.wallets.of) != 1 || len(d.shares.of) != 0 {
		t.Errorf("to ask makes %d and %d purses", len(d.wallets.of), len(d.shares.of))
	}
	for i := range 1000 {
		d.take(stranger, local(t, 1+i, 1), domainName)
	}
	if len(d.wallets.of) != 100 || len(d.shares.of) > 100 || !d.busy(here, used, domainName) {
		t.Errorf("%d and %d purses", len(d.wallets.of), len(d.shares.of))
	}
	if !d.busy(here, local(t, 5000, 1), domainName) {
		t.Error("those who are not kept in mind do not share one")
	}
	c.at = c.at.Add(2 * time.Hour)
	if d.busy(here, used, domainName) || d.busy(here, local(t, 5000, 1), domainName) || len(d.wallets.of) != 1 && len(d.wallets.of) > 100 {
		t.Error("after their time they still count")
	}
}

// TestPutBack: whatever is taken and put back, there is never more than all.
func TestPutBack(t *testing.T) {
	d, c := newTestDoor(5)
	to := local(t, 1, 1)
	var backs []func()
	kept := 0
	for range 2000 {
		switch rand.IntN(3) {
		case 0:
			if back, ok := d.take(here, to, domainName); ok {
				backs = append(backs, back)
				kept++
			}
		case 1:
			if len(backs) > 0 {
				backs[0]()
				backs = backs[1:]
				kept--
			}
		}
		if kept > 5 {
			t.Fatalf("%d of 5", kept)
		}
	}
	c.at = c.at.Add(time.Hour)
	for n := 0; ; n++ {
		if _, ok := d.take(here, to, domainName); !ok {
			if n > 5 {
				t.Errorf("%d of 5", n)
			}
			break
		}
	}
}

// TestNamedIsNotSent: who names a wallet's addresses and sends nothing keeps
// nothing of its mail away.
func TestNamedIsNotSent(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Limits.WalletMessagesPerHour = 3
	r := start(t, c, nil)
	for i := range 8 {
		s, err := smtp.Dial(r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Mail("a@obviously-fake-sender.example"); err != nil {
			t.Fatal(err)
		}
		for n := range 8 {
			if err := s.Rcpt(address(t, "or", wallet(1), uint64(10*i+n))); err != nil {
				t.Fatalf("recipient %d of %d: %v", n, i, err)
			}
		}
		_ = s.Close()
	}
	to := address(t, "or", wallet(1), 1)
	for range 3 {
		if err := send(r.Addr().String(), to, mail(to, "x")); err != nil {
			t.Error(err)
		}
	}
	var reply *textproto.Error
	if err := send(r.Addr().String(), to, mail(to, "x")); !errors.As(err, &reply) || reply.Code != 451 {
		t.Errorf("a fourth: %v", err)
	}
}

// TestNoRoom: what a disk has left is not filled with mail.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Limits.FreeBytes = 1 << 50
	r := start(t, c, nil)
	to := address(t, "or", wallet(1), 1)
	var reply *textproto.Error
	if err := send(r.Addr().String(), to, mail(to, "x")); !errors.As(err, &reply) || reply.Code != 452 || !strings.HasPrefix(reply.Msg, "4.3.1 ") {
		t.Errorf("%v", err)
	}
	if got := get(t, "http://"+r.MetricsAddr().String()+"/readyz", 503); !strings.Contains(got, "room") {
		t.Error(got)
	}
	if n := keys(t, filepath.Join(c.Store.Directory)); len(n) != 0 {
		t.Errorf("%v", n)
	}
}

// TestRoom: which disks are looked at, and how much is left.
func TestRoom(t *testing.T) {
	const g = 1 << 30
	for _, x := range []struct {
		all, available, keep, bytes int64
		want                        bool
	}{
		{100 * g, g, 0, 0, false}, {100 * g, g - 1, 0, 0, true}, {100 * g, g, 0, 1, true}, {100 * g, g + 1, 0, 1, false},
		{10 * g, g / 2, 0, 0, false}, {10 * g, g/2 - 1, 0, 0, true},
		{100 * g, 5, 5, 0, false}, {100 * g, 4, 5, 0, true}, {100 * g, 10, 5, 6, true}, {100 * g, 10, 5, 5, false},
	} {
		if got := short(x.all, x.available, x.keep, x.bytes); got != x.want {
			t.Errorf("%+v", x)
		}
	}
	for c, want := range map[*mailconf.Config][]string{
		{Store: mailconf.Store{Directory: "/m"}, Spool: "/s", Audit: "/a"}: {"/s", "/m", "/a"},
		{Store: mailconf.Store{S3: &mailconf.S3{}}}:                        {os.TempDir()},
	} {
		if got := roomOf(c, mailconf.Limits{}).dirs; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if r := (&room{dirs: []string{"/nonexistent"}}); !r.left(1) || r.check(t.Context()) == nil {
		t.Error("a directory that cannot be asked keeps mail away, or is taken for ready")
	}
}
