package inject

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/litentry/agentkeys/internal/netguard"
)

// failure says what an error of a RoundTrip means: the problem that the agent
// is told of, and whether the upstream cannot have got the request. The text of
// such an error is never shown, since it may quote the upstream.
func failure(err error) (pb *problem, unsent bool) {
	var (
		op   *net.OpError
		dns  *net.DNSError
		dial = errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
	)
	switch {
	case errors.Is(err, netguard.ErrForbiddenAddress):
		return fault(codeForbidden, "the address may not be connected to"), true
	case isTLS(err):
		return fault(codeTLS, "the service did not prove to be itself over TLS"), true
	case isTimeout(err):
		return fault(codeTimeout, "the service took too long"), dial || strings.Contains(err.Error(), "TLS handshake timeout")
	case dial:
		return fault(codeUnreachable, "the service could not be connected to"), true
	}
	return fault(codeBroken, "the service ended the connection, or its answer was malformed"), false
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// isTLS reports whether err comes from a handshake: before it is over, nothing
// of a request is sent.
func isTLS(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		op      *net.OpError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &host) || errors.As(err, &unknown) || errors.As(err, &invalid) ||
		// An alert of the other side, whose type crypto/tls keeps to itself.
		errors.As(err, &op) && op.Op == "remote error" ||
		strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "remote error: tls: ")
}
