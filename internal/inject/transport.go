package inject

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"time"

	"github.com/litentry/agentkeys/internal/netguard"
)

// TransportOptions are the settings of a transport. The zero value is for the
// public internet and the system's certificate authorities.
type TransportOptions struct {
	// Roots are the certificate authorities; nil: the system's.
	Roots *x509.CertPool
	// Allow lists addresses that are not public and may be connected to all
	// the same, each with its port.
	Allow []netip.AddrPort
	// ResponseTimeout is how long a service may think before the headers of
	// its answer. 0: ten minutes, since a model that does not stream answers
	// when it has finished.
	ResponseTimeout time.Duration
}

// NewTransport makes the transport that every route should use, which may
// share it: one connects only where netguard lets it, checks certificates
// always and for the name in the URL, reads no proxy settings, follows
// nothing, decodes nothing, and bounds what it waits for and keeps.
//
// net/http writes to the standard logger what an upstream sends unasked, and
// with GODEBUG=http2debug whole headers: a process that uses this discards
// that logger (log.SetOutput), which no option of a transport can do.
func NewTransport(o TransportOptions) *http.Transport {
	if o.ResponseTimeout <= 0 {
		o.ResponseTimeout = 10 * time.Minute
	}
	return &http.Transport{
		Proxy:       nil, // a proxy of the environment would see where requests go, and choose the address
		DialContext: netguard.New(o.Allow...).DialContext(10 * time.Second),
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            o.Roots,
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  o.ResponseTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{
			// What one agent that does not read makes this process hold. The
			// default is 4 MiB for each stream.
			MaxReceiveBufferPerStream: 256 << 10,
			// A stream may be silent for minutes while a model thinks; a ping
			// tells whether anybody is still there.
			SendPingTimeout: 30 * time.Second,
			PingTimeout:     15 * time.Second,
		},
	}
}
