package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/s3mail"
)

// The environment. Lambda sets what begins with AWS_, and `agentkeys cloud` the
// rest.
const (
	envRegion = "AWS_REGION"
	envKeyID  = "AWS_ACCESS_KEY_ID"
	envSecret = "AWS_SECRET_ACCESS_KEY"
	envToken  = "AWS_SESSION_TOKEN"

	prefix     = "AGENTKEYS_"
	envBucket  = "AGENTKEYS_BUCKET"
	envDomains = "AGENTKEYS_MAIL_DOMAINS"             // with commas between
	envTags    = "AGENTKEYS_MAIL_TAGS"                // with commas between
	envRemove  = "AGENTKEYS_REMOVE_SOURCE"            // true or false, which it is if empty
	envWallet  = "AGENTKEYS_WALLET_MESSAGES_PER_HOUR" // in one instance; 0 is no limit, empty is 120
	envSender  = "AGENTKEYS_SENDER_MESSAGES_PER_HOUR" // likewise; empty is 10000
	envAddress = "AGENTKEYS_S3_ENDPOINT"              // AWS's if empty
	envProfile = "AGENTKEYS_S3_COMPATIBLE"            // versitygw, or empty for AWS, where what is written is tagged
)

var known = []string{envBucket, envDomains, envTags, envRemove, envWallet, envSender, envAddress, envProfile}

// settings are what the environment says.
type settings struct {
	store   s3mail.Config
	creds   s3mail.Credentials
	options mailrouter.Options
}

// newHandler reads the environment and contacts nobody. The audit lines and
// metrics go to out.
func newHandler(environ []string, out io.Writer) (*handler, error) {
	s, err := readSettings(environ)
	if err != nil {
		return nil, err
	}
	return s.handler(out)
}

func (s settings) handler(out io.Writer) (*handler, error) {
	log := &journal{out: out}
	s.options.Record = log.record
	r, err := mailrouter.New(s.options)
	if err != nil {
		return nil, err
	}
	return &handler{bucket: s.store.Bucket, handle: r.Handle, log: log, now: time.Now}, nil
}

func readSettings(environ []string) (settings, error) {
	env := map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	need := func(name, what string) string {
		if env[name] == "" {
			fault(name, "is not set: %s", what)
		}
		return env[name]
	}
	number := func(name string, standard int) mailrouter.Rate {
		n := standard
		if s := env[name]; s != "" {
			var err error
			if n, err = strconv.Atoi(s); err != nil || n < 0 || n > 1e9 {
				fault(name, "%q is no number of messages, 0 to 1000000000", s)
			}
		}
		if n == 0 {
			return mailrouter.Rate{}
		}
		return mailrouter.Rate{Messages: n, Per: time.Hour}
	}
	for _, e := range environ {
		if k, _, _ := strings.Cut(e, "="); strings.HasPrefix(k, prefix) && !slices.Contains(known, k) {
			fault(k, "there is no such setting; there are %s", strings.Join(known, ", "))
		}
	}

	// The session is the function's for as long as this process lives: Lambda
	// ends it before its session does.
	creds := s3mail.Credentials{Router: credentials.NewStaticCredentialsProvider(
		need(envKeyID, "Lambda sets it for a function that has a role"), need(envSecret, "Lambda sets it for a function that has a role"), env[envToken])}
	c := s3mail.Config{Region: need(envRegion, "Lambda sets it"), Bucket: need(envBucket, "name the bucket of the mail"), Endpoint: env[envAddress]}
	switch env[envProfile] {
	case "":
		c.TagCopies = true
	case "versitygw":
		c.PathStyle, c.StreamCopies = true, true
	default:
		fault(envProfile, "there is no profile %q: write versitygw, or leave it out for AWS", env[envProfile])
	}
	o := mailrouter.Options{Limits: mailrouter.Limits{Wallet: number(envWallet, 120), Sender: number(envSender, 10_000)}}
	switch env[envRemove] {
	case "", "false":
	case "true":
		o.RemoveSource = true
	default:
		fault(envRemove, "%q is neither true nor false", env[envRemove])
	}
	list := func(name, what string) (all []string) {
		for _, x := range strings.Split(need(name, what), ",") {
			if x = strings.TrimSpace(x); x != "" {
				all = append(all, x)
			}
		}
		if env[name] != "" && len(all) == 0 {
			fault(name, "is empty: %s", what)
		}
		return all
	}
	domains := list(envDomains, "list the mail domains, with commas between")
	tags := list(envTags, "list the tags of services, with commas between, such as or")
	var err error
	if len(domains) > 0 && len(tags) > 0 {
		// SES alone writes to the bucket, and only its word is taken.
		if o.Rules, err = mailroute.New(mailroute.Rules{Domains: domains, Tags: tags, Receivers: []mailhead.Receiver{mailhead.SES()}}); err != nil {
			fault(envDomains+" or "+envTags, "%v", err)
		}
	}
	if c.Region != "" && c.Bucket != "" {
		if o.Store, err = s3mail.Open(c, creds); err != nil {
			fault(envBucket+" or "+envAddress, "%v", err)
		}
	}
	if len(faults) > 0 {
		return settings{}, errors.Join(faults...)
	}
	return settings{c, creds, o}, nil
}
