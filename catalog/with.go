package catalog

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Exchange is what an owner sets to have tokens exchanged or keys minted.
type Exchange struct {
	// URL replaces the one of the catalogue, "" for that: https, or http to a
	// loopback address that is in AllowAddresses.
	URL string `json:"url,omitempty"`
	// Audience is what our issuer's token is for, "" for the catalogue's.
	Audience string `json:"audience,omitempty"`
	// Parameters are the ids that the service gave, by name.
	Parameters map[string]string `json:"parameters,omitempty"`
}

const (
	maxParameterName  = 64
	maxParameterValue = 256
	maxAudience       = 256
)

// validate reports what makes an exchange unusable with any entry. Nothing that
// was set is echoed: a person may have pasted a key.
func (x *Exchange) validate(what string, allowed []netip.AddrPort) error {
	if x == nil {
		return nil
	}
	if _, err := ownURL(x.URL, "a "+what+" URL", allowed); err != nil {
		return err
	}
	if x.Audience != "" && !word(x.Audience, maxAudience) {
		return fmt.Errorf("%w: the audience of %s is printable ASCII without spaces, at most %d bytes", ErrSettings, what, maxAudience)
	}
	if len(x.Parameters) > maxParameters {
		return fmt.Errorf("%w: %s has more than %d parameters", ErrSettings, what, maxParameters)
	}
	for name, value := range x.Parameters {
		if !word(name, maxParameterName) || !word(value, maxParameterValue) {
			return fmt.Errorf("%w: a parameter of %s is printable ASCII without spaces, its name at most %d bytes, its value %d",
				ErrSettings, what, maxParameterName, maxParameterValue)
		}
	}
	return nil
}

// suits checks the parameters against those that a service has.
func (x *Exchange) suits(what string, service []Parameter) error {
	known := make(map[string]bool, len(service))
	for _, p := range service {
		value, set := x.Parameters[p.Name]
		known[p.Name] = true
		switch {
		case !set && p.Required:
			return fmt.Errorf("%w: %s needs %s: %s", ErrSettings, what, p.Name, p.What)
		case set && !strings.HasPrefix(value, p.Prefix):
			return fmt.Errorf("%w: %s begins with %s", ErrSettings, p.Name, p.Prefix)
		}
	}
	for name := range x.Parameters {
		if !known[name] {
			return fmt.Errorf("%w: %s has no such parameter", ErrSettings, what)
		}
	}
	return nil
}

// validSite checks SiteAddress. Without certificates of CAPEM there would be
// nothing to tell the player by.
func (s *Settings) validSite() error {
	a := s.SiteAddress
	switch {
	case a == netip.AddrPort{}:
	case !a.IsValid() || a.Port() == 0 || a.Addr().Zone() != "" || a.Addr().Is4In6() || !a.Addr().IsLoopback():
		return fmt.Errorf("%w: a site is played at an IP:PORT of this machine, for example 127.0.0.1:8443", ErrSettings)
	case s.CAPEM == "":
		return fmt.Errorf("%w: a site that is played has a certificate of its own, which the CA file vouches for", ErrSettings)
	}
	return nil
}

// With returns a copy of e with an owner's settings. Under another base URL
// the key goes to that host only, so a check of keys at some third host is no
// longer known. Where tokens are exchanged, requests carry them as Federation
// says, and e itself still says how they carry a key.
func (e *Entry) With(s Settings) (*Entry, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	c := *e
	c.Owner = s
	if base != nil {
		c.Base = base
		c.Verify.URL = nil
	}
	if s.Federation != nil {
		if e.Federation == nil {
			return nil, fmt.Errorf("%w: %s is not known to exchange tokens", ErrSettings, e.Name)
		}
		if err := s.Federation.suits("federation", e.Federation.Parameters); err != nil {
			return nil, err
		}
		c.Inject, c.Headers = e.Federation.Inject, e.Federation.Headers
	}
	if s.Minting != nil {
		if e.Minting == nil {
			return nil, fmt.Errorf("%w: %s is not known to make keys", ErrSettings, e.Name)
		}
		if err := s.Minting.suits("minting", e.Minting.Parameters); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// Played reports whether the pages of a sign-up are not the live ones.
func (e *Entry) Played() bool { return e.Owner.SiteAddress.IsValid() }

// FederationURL returns where tokens are exchanged, nil if that is not known.
func (e *Entry) FederationURL() *url.URL {
	if e.Federation == nil {
		return nil
	}
	return e.Owner.Federation.or(e.Federation.URL)
}

// FederationAudience returns what a token for the exchange is for, and false if
// nobody has said.
func (e *Entry) FederationAudience() (string, bool) {
	if e.Federation == nil {
		return "", false
	}
	if x := e.Owner.Federation; x != nil && x.Audience != "" {
		return x.Audience, true
	}
	return e.Federation.Audience.Get()
}

// MintingURL returns where keys are made, without a slash at its end, nil if
// that is not known.
func (e *Entry) MintingURL() *url.URL {
	if e.Minting == nil {
		return nil
	}
	return e.Owner.Minting.or(e.Minting.URL)
}

func (x *Exchange) or(catalogue *url.URL) *url.URL {
	if x == nil || x.URL == "" {
		return catalogue
	}
	u, err := url.Parse(x.URL)
	if err != nil {
		return nil // With has refused it
	}
	return u
}
