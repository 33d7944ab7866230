// Package oidclogin is the broker as relying party of one OpenID provider:
// Google, or any other that conforms. It keeps nothing of a login: state, nonce
// and verifier are the caller's, who uses each once.
//
// Laws, after RFC 9700 and OpenID Connect Core, 3.1.3.7:
//   - the code flow only, with PKCE S256; the redirect URI is one, fixed
//   - where a provider says in its answers who it is (RFC 9207), that is
//     checked before the code goes anywhere
//   - an ID token is for this client and nobody else, of this login, and now
//   - a person is an issuer and a subject. The e-mail address is told with
//     whether the provider verified it, and names nobody
//   - the provider is asked when somebody logs in, not when the broker starts
package oidclogin

import "errors"

// What a login may fail with, besides broker.ErrUnavailable.
var (
	// ErrConfig is wrapped by New for a provider that must not be used.
	ErrConfig = errors.New("unusable OpenID provider")
	// ErrRefused is wrapped where the provider, or what it says, refuses the login.
	ErrRefused = errors.New("the provider's login is refused")
)
