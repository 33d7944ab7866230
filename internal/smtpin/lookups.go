package smtpin

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxLookups bounds the DNS queries for one message, which senders choose.
	maxLookups = 60
	// lookupTimeout is for one of them.
	lookupTimeout = 5 * time.Second
	// maxKey bounds a TXT record with a key, in bytes: RSA of 16,384 bits.
	maxKey = 4096
)

// lookups is DNS for one message. Each error is either "there is no such name",
// said by DNS, or temporary: libraries above take an error that they do not
// know for permanent, or for nothing there.
type lookups struct {
	r    Resolver
	left atomic.Int32
}

func newLookups(r Resolver) *lookups {
	l := &lookups{r: r}
	l.left.Store(maxLookups)
	return l
}

var (
	errNoName error = &net.DNSError{Err: "no such name", IsNotFound: true}
	errLookup error = &net.DNSError{Err: "the lookup failed", IsTemporary: true}
)

// begin makes a name absolute, so that no search list is tried.
func (l *lookups) begin(ctx context.Context, name string) (context.Context, context.CancelFunc, string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	switch {
	case l.left.Add(-1) < 0:
		return ctx, cancel, "", errLookup
	case name == "" || len(name) > 254 || strings.ContainsAny(name, " \x00"):
		return ctx, cancel, "", errNoName
	case !strings.HasSuffix(name, "."):
		name += "."
	}
	return ctx, cancel, name, nil
}

func clean(err error) error {
	if err == nil {
		return nil
	}
	var d *net.DNSError
	if errors.As(err, &d) && d.IsNotFound && !d.IsTemporary && !d.IsTimeout {
		return errNoName
	}
	return errLookup
}

// LookupTXT implements Resolver.
func (l *lookups) LookupTXT(ctx context.Context, name string) ([]string, error) {
	ctx, cancel, name, err := l.begin(ctx, name)
	defer cancel()
	if err != nil {
		return nil, err
	}
	txts, err := l.r.LookupTXT(ctx, name)
	return txts, clean(err)
}

// LookupMX implements Resolver.
func (l *lookups) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	ctx, cancel, name, err := l.begin(ctx, name)
	defer cancel()
	if err != nil {
		return nil, err
	}
	mxs, err := l.r.LookupMX(ctx, name)
	if len(mxs) > 0 {
		return mxs, nil // those of several that make sense
	}
	return nil, clean(err)
}

// LookupIPAddr implements Resolver.
func (l *lookups) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	ctx, cancel, host, err := l.begin(ctx, host)
	defer cancel()
	if err != nil {
		return nil, err
	}
	ips, err := l.r.LookupIPAddr(ctx, host)
	return ips, clean(err)
}

// LookupAddr implements Resolver.
func (l *lookups) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ctx, cancel, _, err := l.begin(ctx, addr)
	defer cancel()
	if err != nil {
		return nil, err
	}
	names, err := l.r.LookupAddr(ctx, addr)
	return names, clean(err)
}
