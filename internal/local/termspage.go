package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/terms"
)

// ErrTermsPage: the text of the terms cannot be had.
var ErrTermsPage = errors.New("the terms cannot be read")

func parseTermsURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > 500:
		return nil, fmt.Errorf("%w: the address of the terms is no URL", ErrReview)
	case u.Scheme != "https" || u.Opaque != "" || u.User != nil || strings.Contains(text, "#") || netguard.CheckHost(u.Hostname()) != nil:
		return nil, fmt.Errorf("%w: the address of the terms is an https URL, without a user and without #", ErrReview)
	}
	return u, nil
}

// readTerms fetches a page of terms and returns the digest of its text. It is
// fetched as anybody would: no cookies, nothing of the owner's.
func (h *Host) readTerms(ctx context.Context, e *catalog.Entry, text string) (string, error) {
	u, err := parseTermsURL(text)
	if err != nil {
		return "", err
	}
	rt, err := termsTransport(e, u)
	if err != nil {
		return "", err
	}
	defer rt.CloseIdleConnections()
	client := &http.Client{
		Transport: rt,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Scheme != "https" || r.URL.User != nil || len(via) > 5 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrTermsPage, err)
	}
	// Fixed, so that the same page answers each time.
	req.Header.Set("User-Agent", "agentkeys")
	req.Header.Set("Accept", "text/html, application/xhtml+xml, text/plain;q=0.9")
	req.Header.Set("Accept-Language", "en")
	resp, err := client.Do(req)
	if errors.Is(err, netguard.ErrForbiddenAddress) {
		return "", fmt.Errorf("%w: %s has an address that is not public and not allowed", ErrTermsPage, u.Host)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s could not be reached", ErrTermsPage, u.Host)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s answered %d", ErrTermsPage, u.Host, resp.StatusCode)
	}
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind {
	case "text/html", "application/xhtml+xml", "text/plain":
	default:
		return "", fmt.Errorf("%w: what is there is neither HTML nor text", ErrTermsPage)
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return "", fmt.Errorf("%w: it came encoded, unasked", ErrTermsPage)
	}
	page, err := io.ReadAll(io.LimitReader(resp.Body, terms.Max+1))
	if err != nil {
		return "", fmt.Errorf("%w: %s did not send it whole", ErrTermsPage, u.Host)
	}
	if len(page) > terms.Max {
		return "", fmt.Errorf("%w: the page is larger than %d MiB", ErrTermsPage, terms.Max>>20)
	}
	digest := terms.Digest(page)
	if digest == "" {
		return "", fmt.Errorf("%w: the page has next to no text without running its scripts", ErrTermsPage)
	}
	return digest, nil
}

// termsTransport goes to the public internet. It goes to the stand-in if one
// plays the service's pages, and to what the owner allowed if the terms are
// those of the owner's own server.
func termsTransport(e *catalog.Entry, u *url.URL) (*http.Transport, error) {
	o := e.Owner
	roots, allow := "", []netip.AddrPort(nil)
	switch {
	case o.SiteAddress.IsValid():
		roots, allow = o.CAPEM, []netip.AddrPort{o.SiteAddress}
	case o.BaseURL != "" && u.Hostname() == e.Base.Hostname():
		roots, allow = o.CAPEM, o.AllowAddresses
	}
	dial := netguard.New(allow...).DialContext(10 * time.Second)
	if o.SiteAddress.IsValid() {
		there := dial
		dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return there(ctx, network, o.SiteAddress.String())
		}
	}
	t := &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if roots != "" {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(roots)) {
			return nil, fmt.Errorf("%w: the CA file of %s holds no certificate", ErrTermsPage, e.ID)
		}
	}
	return t, nil
}
