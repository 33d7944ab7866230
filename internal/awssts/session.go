package awssts

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/litentry/agentkeys"
)

// session is one wallet's. The SDK's cache in front of it lets one caller
// renew while the others wait.
type session struct {
	s      *Sessions
	wallet agentkeys.Wallet
	cache  *aws.CredentialsCache

	place *list.Element // in Sessions.byUse
	used  time.Time

	mu   sync.Mutex
	ends time.Time // of the newest credentials: the cache knows when to renew
}

// session returns that of w, and drops those that nobody used for the length
// of one, or that are too many.
func (s *Sessions) session(w agentkeys.Wallet) *session {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[w]
	if e == nil {
		e = &session{s: s, wallet: w}
		e.place = s.byUse.PushFront(e)
		e.cache = aws.NewCredentialsCache(e)
		s.all[w] = e
	}
	e.used = now
	s.byUse.MoveToFront(e.place)
	for {
		last := s.byUse.Back().Value.(*session)
		if len(s.all) <= maxSessions && now.Sub(last.used) <= s.c.Duration {
			return e
		}
		s.drop(last)
	}
}

func (s *Sessions) drop(e *session) {
	s.byUse.Remove(e.place)
	delete(s.all, e.wallet)
	e.cache.Invalidate()
}

// Retrieve asks STS.
func (e *session) Retrieve(ctx context.Context) (aws.Credentials, error) {
	// The context is the cache's: nobody's cancellation ends what others wait for.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	token, err := e.s.token(ctx, e.wallet)
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return aws.Credentials{}, &Error{Wallet: e.wallet, Err: fmt.Errorf("no token for STS: %w", err)}
	}
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn:          aws.String(strings.ReplaceAll(e.s.c.RoleARN, "{wallet}", e.wallet.String())),
		RoleSessionName:  aws.String(e.s.c.SessionName + "-" + e.wallet.String()),
		DurationSeconds:  aws.Int32(int32(e.s.c.Duration / time.Second)),
		WebIdentityToken: aws.String(token),
	}
	r, ok := e.s.quick.ask(ctx, in)
	switch {
	case !ok:
		if r, err = e.ask(ctx, in); err != nil {
			return aws.Credentials{}, err
		}
	case r.Code != "":
		return aws.Credentials{}, &Error{Wallet: e.wallet, Code: hide(r.Code, token), Reason: hide(r.Message, token), Err: ErrRefused}
	}
	c := r.Credentials
	e.mu.Lock()
	e.ends = c.Expiration
	e.mu.Unlock()
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		Source: "awssts", CanExpire: true, Expires: c.Expiration.Add(-window + rand.N(window/3)), // when to renew
	}, nil
}

// ask is quick.ask with the SDK's client.
func (e *session) ask(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput) (r reply, err error) {
	out, err := e.s.sts.AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return r, e.failure(err, *in.WebIdentityToken)
	}
	c := out.Credentials
	if c == nil || aws.ToString(c.AccessKeyId) == "" || aws.ToString(c.SecretAccessKey) == "" || aws.ToString(c.SessionToken) == "" || c.Expiration == nil {
		return r, &Error{Wallet: e.wallet, Reason: "its answer has no whole credentials", Err: ErrUnreachable}
	}
	r.Credentials.AccessKeyID, r.Credentials.SecretAccessKey = *c.AccessKeyId, *c.SecretAccessKey
	r.Credentials.SessionToken, r.Credentials.Expiration = *c.SessionToken, *c.Expiration
	return r, nil
}

// HandleFailToRefresh has the old session serve until its end where no new one
// is to be had, and asks again after a while. A refusal ends it at once: the
// wallet may have been locked out.
func (e *session) HandleFailToRefresh(_ context.Context, old aws.Credentials, err error) (aws.Credentials, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	left := e.ends.Sub(now)
	if !old.HasKeys() || errors.Is(err, ErrRefused) || left < margin {
		return aws.Credentials{}, err
	}
	old.Expires = now.Add(min(again, left-margin))
	return old, nil
}

// failure makes an Error of what the SDK says, without the token in case the
// server quoted it.
func (e *session) failure(err error, token string) error {
	f := &Error{Wallet: e.wallet, Err: ErrUnreachable}
	var api smithy.APIError
	if !errors.As(err, &api) {
		f.Reason = hide(cause(err), token)
		return f
	}
	f.Code, f.Reason = hide(api.ErrorCode(), token), hide(api.ErrorMessage(), token)
	var res *awshttp.ResponseError
	if errors.As(err, &res) && res.HTTPStatusCode() >= 400 && res.HTTPStatusCode() < 500 && !temporary[api.ErrorCode()] {
		f.Err = ErrRefused
	}
	return f
}

// temporary are the answers of STS, of status 400, that another time may help.
var temporary = map[string]bool{
	"IDPCommunicationError": true, // it could not fetch the issuer's keys
	"Throttling":            true, "ThrottlingException": true, "RequestLimitExceeded": true,
	"RequestTimeout": true, "ServiceUnavailable": true,
}

// cause is the innermost of a chain of the SDK's, which says the most in the
// fewest words.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

func hide(s, token string) string {
	s = strings.ReplaceAll(s, token, "(token)")
	for _, part := range strings.Split(token, ".") {
		if len(part) > 16 {
			s = strings.ReplaceAll(s, part, "(part of the token)")
		}
	}
	return s[:min(len(s), 300)]
}
