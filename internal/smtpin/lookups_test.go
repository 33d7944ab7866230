package smtpin

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// oracle answers as it is told, and remembers what it was asked.
type oracle struct {
	asked []string
	err   error
	until time.Time
}

func (o *oracle) ask(ctx context.Context, name string) error {
	o.asked = append(o.asked, name)
	o.until, _ = ctx.Deadline()
	return o.err
}
func (o *oracle) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return []string{"x"}, o.ask(ctx, name)
}
func (o *oracle) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return nil, o.ask(ctx, name)
}
func (o *oracle) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	return nil, o.ask(ctx, name)
}
func (o *oracle) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return nil, o.ask(ctx, addr)
}

// TestLookups: names are asked for as they are, so many for one message, each
// for a while, and an error is one of two.
func TestLookups(t *testing.T) {
	o := &oracle{}
	l := newLookups(o)
	ctx := t.Context()
	all := func(name string) (errs []error) {
		_, a := l.LookupTXT(ctx, name)
		_, b := l.LookupMX(ctx, name)
		_, c := l.LookupIPAddr(ctx, name)
		return []error{a, b, c}
	}
	all("a.example")
	all("a.example.")
	if got := strings.Join(o.asked, " "); got != strings.TrimSpace(strings.Repeat("a.example. ", 6)) {
		t.Errorf("asked for %q", got)
	}
	if left := time.Until(o.until); left > lookupTimeout || o.until.IsZero() {
		t.Errorf("a lookup may take %v", left)
	}
	for _, name := range []string{"", "a b", "a\x00b", strings.Repeat("a.", 200)} {
		for _, err := range all(name) {
			if !errors.Is(err, errNoName) {
				t.Errorf("%.10q: %v", name, err)
			}
		}
	}
	if len(o.asked) != 6 {
		t.Errorf("asked for nonsense: %q", o.asked)
	}
	l = newLookups(o)
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{&net.DNSError{IsNotFound: true}, errNoName},
		{&net.DNSError{IsNotFound: true, IsTimeout: true}, errLookup},
		{&net.DNSError{IsNotFound: true, IsTemporary: true}, errLookup},
		{&net.DNSError{IsTimeout: true}, errLookup},
		{&net.DNSError{}, errLookup},
		{context.DeadlineExceeded, errLookup},
		{errors.New("anything"), errLookup},
	} {
		o.err = c.err
		_, d := l.LookupAddr(ctx, "192.0.2.1")
		for _, err := range append(all("a.example"), d) {
			if err != c.want {
				t.Errorf("%v becomes %v, want %v", c.err, err, c.want)
			}
		}
	}
	o.asked, o.err = nil, nil
	l = newLookups(o)
	for range maxLookups {
		if _, err := l.LookupTXT(ctx, "a.example"); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range all("a.example") {
		if !errors.Is(err, errLookup) {
			t.Errorf("one too many: %v", err)
		}
	}
	if len(o.asked) != maxLookups {
		t.Errorf("%d lookups", len(o.asked))
	}
}
