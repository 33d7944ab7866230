package oidclogin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/litentry/agentkeys/internal/broker"
)

// Person is who logged in.
type Person struct {
	Issuer, Subject string // the two together are the person
	Email           string // "" if not told
	Verified        bool   // the provider verified that the address is the person's
	HostedDomain    string // the organisation of the account, at Google
}

// AuthURL implements broker.ProviderLogin. ErrRefused is wrapped for values
// that would protect nothing.
func (p *Provider) AuthURL(ctx context.Context, state, nonce, verifier string) (string, error) {
	// RFC 7636, 4.1, and OpenID Connect Core, 15.5.2.
	if len(state) < 16 || len(nonce) < 16 || len(verifier) < 43 || len(verifier) > 128 {
		return "", fmt.Errorf("%w: state, nonce or verifier is too short to be hard to guess", ErrRefused)
	}
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce)}
	if p.c.HostedDomain != "" {
		options = append(options, oauth2.SetAuthURLParam("hd", p.c.HostedDomain))
	}
	return d.oauth2.AuthCodeURL(state, options...), nil
}

// Exchange implements broker.ProviderLogin; see Identify.
func (p *Provider) Exchange(ctx context.Context, code, verifier, nonce, iss string) (issuer, subject string, err error) {
	who, err := p.Identify(ctx, code, verifier, nonce, iss)
	return who.Issuer, who.Subject, err
}

// Identify redeems a code and says who logged in. iss is the parameter of
// RFC 9207 as it came, "" if none. The caller has compared the state. Errors
// wrap ErrRefused or broker.ErrUnavailable, and have nothing of the tokens.
func (p *Provider) Identify(ctx context.Context, code, verifier, nonce, iss string) (Person, error) {
	if code == "" || nonce == "" {
		return Person{}, fmt.Errorf("%w: there is no code, or no nonce to compare", ErrRefused)
	}
	d, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	// Before the code is sent: it may be one of another provider, for which
	// whoever sits at this one waits.
	if iss != p.c.Issuer && (iss != "" || d.saysIss) {
		return Person{}, fmt.Errorf("%w: the answer is not from %s", ErrRefused, p.c.Issuer)
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), timeout)
	defer cancel()
	client := d.oauth2
	client.ClientSecret = string(p.c.ClientSecret.Expose())
	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Person{}, exchangeError(err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return Person{}, fmt.Errorf("%w: it answered without an ID token", ErrRefused)
	}
	// The library checks the signature, its algorithm against those of the
	// provider and never none or HMAC, the issuer, the audience and the expiry.
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return Person{}, fmt.Errorf("%w: its ID token is not valid, or its keys cannot be had", ErrRefused)
	}
	return p.person(id, token.AccessToken, nonce)
}

// person checks what the library leaves to its callers.
func (p *Provider) person(id *oidc.IDToken, accessToken, nonce string) (Person, error) {
	refuse := func(why string) (Person, error) { return Person{}, fmt.Errorf("%w: %s", ErrRefused, why) }
	var claims struct {
		Party    *string `json:"azp"`
		Email    string  `json:"email"`
		Verified any     `json:"email_verified"` // some providers write a string, which is not true
		Hosted   string  `json:"hd"`
	}
	if err := id.Claims(&claims); err != nil {
		return refuse("the claims of its ID token are not as OpenID Connect has them")
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return refuse("its ID token is of another login")
	case len(id.Audience) != 1:
		return refuse("its ID token is for others too") // of whom none is trusted
	case claims.Party != nil && *claims.Party != p.c.ClientID:
		return refuse("its ID token was issued to another client")
	case id.Subject == "" || len(id.Subject) > 255 || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r > '~' }):
		return refuse("its subject is absent or not up to 255 characters of ASCII")
	case p.c.HostedDomain != "" && claims.Hosted != p.c.HostedDomain:
		return refuse("the account is not of " + p.c.HostedDomain)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(accessToken); err != nil {
			return refuse("its ID token is of another access token")
		}
	}
	return Person{
		// Google may write its issuer without https://: to us it is one.
		Issuer: p.c.Issuer, Subject: id.Subject, Email: claims.Email, Verified: claims.Verified == true && claims.Email != "", HostedDomain: claims.Hosted,
	}, nil
}

// exchangeError says whose fault it is that a code was not redeemed, without
// the provider's words.
func exchangeError(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response == nil {
		return fmt.Errorf("%w: the provider does not answer as OAuth has it", broker.ErrUnavailable)
	}
	switch status := answer.Response.StatusCode; {
	case answer.ErrorCode == "invalid_client" || answer.ErrorCode == "unauthorized_client":
		return fmt.Errorf("%w: the provider does not know this client, or not by this secret", broker.ErrUnavailable)
	case status >= 500 || status == 429:
		return fmt.Errorf("%w: the provider answers %d", broker.ErrUnavailable, status)
	case answer.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: the code is used, expired, or of another redirect URI or verifier", ErrRefused)
	default:
		return fmt.Errorf("%w: it answers %d to the code", ErrRefused, status)
	}
}
