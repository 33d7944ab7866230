package catalog

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ErrSettings is wrapped by every refusal of an owner's settings.
var ErrSettings = errors.New("malformed service settings")

// Settings is what the owner of a key sets for a service: another base URL,
// such as that of a gateway, what makes it reachable, and prices. The zero
// Settings changes nothing.
type Settings struct {
	// BaseURL replaces Entry.Base, "" for the catalogue's. It is https, or
	// http to a loopback address that is in AllowAddresses.
	BaseURL string `json:"base_url,omitempty"`
	// CAPEM holds certificates that are trusted for BaseURL's host in the place
	// of the system's.
	CAPEM string `json:"ca_pem,omitempty"`
	// AllowAddresses may be dialled for this service although they are not
	// public.
	AllowAddresses []netip.AddrPort `json:"allow_addresses,omitempty"`
	// Prices maps a model, as the service names it, to its price. A * at the
	// end stands for any rest; the longest name that fits counts.
	Prices map[string]Price `json:"prices,omitempty"`
	// SiteAddress plays the service's own pages: the browser of a sign-up finds
	// every host of the recipe there, with certificates of CAPEM. It is on
	// loopback. Zero: the pages are the live ones.
	SiteAddress netip.AddrPort `json:"site_address,omitzero"`
	// Federation and Minting are set if the owner has set those doors up.
	Federation *Exchange `json:"federation,omitempty"`
	Minting    *Exchange `json:"minting,omitempty"`
}

const (
	maxCAPEM     = 256 << 10
	maxAddresses = 64
	maxPrices    = 1024
)

// ParseSettings parses and validates the JSON form, strictly: a key that is
// unknown, written in another case or there twice is refused, and so is
// anything behind the object.
func ParseSettings(data []byte) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Settings{}, fmt.Errorf("%w: there is something behind the object", ErrSettings)
	}
	if err := exactKeys(json.NewDecoder(bytes.NewReader(data)), settingsKeys); err != nil {
		return Settings{}, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	return s, s.Validate()
}

// keys holds the keys that a JSON object may have, and those of the objects
// below each; "*" stands for any key.
type keys map[string]keys

var (
	exchangeKeys = keys{"url": nil, "audience": nil, "parameters": {"*": nil}}
	settingsKeys = keys{
		"base_url": nil, "ca_pem": nil, "allow_addresses": nil, "site_address": nil,
		"prices":     {"*": {"input": nil, "output": nil, "cache_read": nil, "cache_write": nil}},
		"federation": exchangeKeys, "minting": exchangeKeys,
	}
)

// exactKeys refuses what encoding/json lets pass: keys in another case, and
// keys that stand twice.
func exactKeys(dec *json.Decoder, may keys) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('['):
		for dec.More() {
			if err := exactKeys(dec, may); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			below, known := may[name]
			if each, ok := may["*"]; ok {
				below, known = each, true
			}
			if seen[name] || !known {
				return errors.New("a key is unknown or there twice")
			}
			seen[name] = true
			if err := exactKeys(dec, below); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	return err
}

// Validate reports what makes s unusable.
func (s *Settings) Validate() error {
	if len(s.AllowAddresses) > maxAddresses {
		return fmt.Errorf("%w: there are more than %d addresses", ErrSettings, maxAddresses)
	}
	for _, a := range s.AllowAddresses {
		// A mapped address would be a second spelling of an IPv4 address.
		if !a.IsValid() || a.Port() == 0 || a.Addr().Zone() != "" || a.Addr().Is4In6() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
			return fmt.Errorf("%w: an address is IP:PORT of one host, for example 10.0.0.7:8443", ErrSettings)
		}
	}
	if _, err := s.base(); err != nil {
		return err
	}
	if err := s.validCA(); err != nil {
		return err
	}
	if err := s.validSite(); err != nil {
		return err
	}
	if err := s.Federation.validate("federation", s.AllowAddresses); err != nil {
		return err
	}
	if err := s.Minting.validate("minting", s.AllowAddresses); err != nil {
		return err
	}
	if len(s.Prices) > maxPrices {
		return fmt.Errorf("%w: there are more than %d prices", ErrSettings, maxPrices)
	}
	for model, p := range s.Prices {
		if err := validModel(model); err != nil {
			return fmt.Errorf("%w: %w", ErrSettings, err)
		}
		if p.Input < 0 || p.Output < 0 || p.CacheRead != nil && *p.CacheRead < 0 || p.CacheWrite != nil && *p.CacheWrite < 0 {
			return fmt.Errorf("%w: a price is not negative", ErrSettings)
		}
	}
	return nil
}

// base returns the parsed BaseURL, nil if there is none.
func (s *Settings) base() (*url.URL, error) {
	return ownURL(s.BaseURL, "a base URL", s.AllowAddresses)
}

// ownURL parses a URL that an owner sets, nil if there is none.
func ownURL(text, what string, allowed []netip.AddrPort) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be parsed", ErrSettings, what) // err would quote it
	}
	if err := validBase(u, text, what); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSettings, err)
	}
	switch u.Scheme {
	case "https":
		return u, nil
	case "http":
		at, err := netip.ParseAddrPort(u.Host)
		if err == nil && at.Addr().IsLoopback() && slices.Contains(allowed, at) {
			return u, nil
		}
		return nil, fmt.Errorf("%w: %s is https, or http to a loopback IP:PORT that is allowed explicitly", ErrSettings, what)
	}
	return nil, fmt.Errorf("%w: %s is https", ErrSettings, what)
}

// validBase refuses what has no place in such a URL, and spellings that
// somebody on the way would read differently.
func validBase(u *url.URL, text, what string) error {
	host := u.Hostname()
	switch {
	case u.Host == "" || u.Opaque != "" || host == "":
		return errors.New(what + " has a host")
	case u.User != nil:
		return errors.New(what + " has no user and no password")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return errors.New(what + " has no query and no fragment")
	case strings.HasSuffix(u.Path, "/") || strings.Contains(u.Path, "//") || strings.ContainsAny(u.EscapedPath(), `%\;`):
		return errors.New(what + "'s path has no escapes, no empty segment and no / at its end")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return errors.New(what + "'s path has no . and no .. segment")
	case strings.ContainsAny(host, "%*_") || strings.HasSuffix(host, ".") || host != strings.ToLower(host) || strings.HasSuffix(u.Host, ":"):
		return errors.New(what + "'s host is an IP address or a name in small letters, without a full stop at its end")
	}
	return nil
}

func (s *Settings) validCA() error {
	if s.CAPEM == "" {
		return nil
	}
	if len(s.CAPEM) > maxCAPEM {
		return fmt.Errorf("%w: the CA file is larger than %d bytes", ErrSettings, maxCAPEM)
	}
	found := false
	for rest := []byte(s.CAPEM); ; found = true {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("%w: the CA file holds something other than certificates", ErrSettings)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("%w: the CA file: %w", ErrSettings, err)
		}
	}
	if !found {
		return fmt.Errorf("%w: the CA file holds no certificate in PEM form", ErrSettings)
	}
	return nil
}
