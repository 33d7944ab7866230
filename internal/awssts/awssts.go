// Package awssts owns the sessions of wallets at STS: it turns a web-identity
// token of the broker's into temporary credentials of the data role, one
// session per wallet, and renews it before it ends. It depends on the AWS SDK,
// s3conn and the root package; where tokens come from it does not know.
//
// Laws:
//   - Nothing is read that was not given: no environment, no ~/.aws, no
//     instance metadata.
//   - One call of STS per session life, whatever the concurrency.
//   - A token goes to STS and nowhere else, and into no error.
//   - A failure is not remembered: the next call asks again.
//   - The number of sessions in memory is bounded, and idle ones go.
package awssts

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/s3conn"
)

// What Retrieve answers, as an *Error. An error of the token source is passed
// on as it is, in an Error that is neither.
var (
	// ErrRefused: STS was asked and said no to this token. Asking again with
	// one like it does not help.
	ErrRefused = errors.New("refused by STS")
	// ErrUnreachable: STS could not be asked, or cannot answer now.
	ErrUnreachable = errors.New("STS cannot be reached")
	// ErrConfig: a Config that cannot work.
	ErrConfig = errors.New("bad STS configuration")
)

const (
	// MinDuration and MaxDuration bound a session on AWS; a role of its default
	// settings allows an hour.
	MinDuration = 15 * time.Minute
	MaxDuration = 12 * time.Hour

	// window is how long before its end a session is renewed, less up to a
	// third, so that many do not renew together.
	window = 3 * time.Minute
	// again is how long after a failed renewal the next is tried.
	again = 10 * time.Second
	// margin is how long before its end a session is no more used: a request
	// has to arrive, and clocks differ.
	margin = 10 * time.Second
	// patience bounds the making of one session, whoever waits for it.
	patience = 30 * time.Second

	maxSessions = 4096
)

// Config says where STS is and what is asked of it.
type Config struct {
	Region string
	// Endpoint is AWS's for the region if empty. It is https, except on
	// loopback addresses or if Plaintext.
	Endpoint  string
	Plaintext bool
	// RoleARN is the role to assume; {wallet} in it is the wallet, for stores
	// that know no tags of sessions and so need a role for each.
	RoleARN string
	// SessionName is what the cloud's own log shows, up to 21 characters of
	// [A-Za-z0-9_=,.@-]; "-" and the wallet are put behind it. "agentkeys" if
	// empty.
	SessionName string
	// Duration of a session, MinDuration if 0.
	Duration time.Duration
	// Client, if nil, is one that follows no redirects and knows no proxy.
	Client aws.HTTPClient
}

// Source makes a web-identity token for a wallet.
type Source = func(context.Context, agentkeys.Wallet) (string, error)

// Sessions are the sessions of any number of wallets. Any number of goroutines
// may use it.
type Sessions struct {
	c     Config
	token Source
	sts   *sts.Client
	quick *quick

	mu    sync.Mutex
	all   map[agentkeys.Wallet]*session
	byUse *list.List // of *session, the latest first
}

var (
	roleShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/{}-]+$`) })
	nameShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[\w=,.@-]{1,21}$`) })
)

// New checks c and contacts nobody. Errors wrap ErrConfig.
func New(c Config, token Source) (*Sessions, error) {
	if c.SessionName == "" {
		c.SessionName = "agentkeys"
	}
	if c.Duration == 0 {
		c.Duration = MinDuration
	}
	switch {
	case token == nil:
		return nil, fmt.Errorf("%w: no source of tokens", ErrConfig)
	case c.Region == "":
		return nil, fmt.Errorf("%w: region is empty: name the bucket's, such as eu-central-1", ErrConfig)
	case !roleShape().MatchString(c.RoleARN) || strings.ContainsAny(strings.ReplaceAll(c.RoleARN, "{wallet}", ""), "{}"):
		return nil, fmt.Errorf("%w: role %q is no ARN of a role, arn:aws:iam::<account>:role/<name>", ErrConfig, c.RoleARN)
	case !nameShape().MatchString(c.SessionName):
		return nil, fmt.Errorf("%w: session name %q is not 1 to 21 of letters, digits and _=,.@-", ErrConfig, c.SessionName)
	case c.Duration < MinDuration || c.Duration > MaxDuration || c.Duration%time.Second != 0:
		return nil, fmt.Errorf("%w: duration %s is not whole seconds from %s to %s", ErrConfig, c.Duration, MinDuration, MaxDuration)
	}
	o := sts.Options{
		Region:      c.Region,
		Credentials: aws.AnonymousCredentials{},
		HTTPClient:  c.Client,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 3
			o.MaxBackoff = 500 * time.Millisecond
		}),
	}
	if c.Endpoint != "" {
		if err := s3conn.CheckEndpoint(c.Endpoint, "sts", c.Plaintext); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	if c.Client == nil {
		o.HTTPClient = s3conn.Client(16, patience)
	}
	q, err := newQuick(c, o.HTTPClient)
	if err != nil {
		return nil, err
	}
	return &Sessions{c: c, token: token, sts: sts.New(o), quick: q, all: map[agentkeys.Wallet]*session{}, byUse: list.New()}, nil
}

// Credentials returns the credentials of w's session, to be asked at every
// request. It contacts nobody. The zero wallet's always fail.
func (s *Sessions) Credentials(w agentkeys.Wallet) aws.CredentialsProvider { return wallet{s, w} }

type wallet struct {
	s *Sessions
	w agentkeys.Wallet
}

// Retrieve implements aws.CredentialsProvider. Its errors are *Error.
func (p wallet) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if err := ctx.Err(); err != nil {
		return aws.Credentials{}, err
	}
	if p.w.IsZero() {
		return aws.Credentials{}, &Error{Err: agentkeys.ErrName}
	}
	c, err := p.s.session(p.w).cache.Retrieve(ctx)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return aws.Credentials{}, ctx.Err()
	}
	if e := new(Error); errors.As(err, &e) {
		return aws.Credentials{}, e // without what the SDK's cache puts around it
	}
	return aws.Credentials{}, &Error{Wallet: p.w, Err: err}
}

// Forget drops the session of w, such as when the wallet logs out. Who asks
// later gets a new one. What is under way, here or at the store, is not
// stopped, and STS itself knows no end of a session but its time.
func (s *Sessions) Forget(w agentkeys.Wallet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.all[w]; e != nil {
		s.drop(e)
	}
}

// Len returns how many sessions are in memory.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Error says whose session there is none of. It wraps ErrRefused,
// ErrUnreachable, or an error of the token source.
type Error struct {
	Wallet agentkeys.Wallet
	// Code and Reason are AWS's, if it answered.
	Code, Reason string
	Err          error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("session of %s: %v", e.Wallet, e.Err)
	if e.Code != "" {
		s += ": " + e.Code
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
