package mailsrv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const service = "service.example"

// verification is a mail as services send them.
func verification(to, token string) []byte {
	return []byte(strings.ReplaceAll(`From: Service <no-reply@mail.service.example>
To: <`+to+`>
Subject: Verify your address
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <`+token+`@service.example>
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Welcome!</p><p><a href=3D"https://app.service.example/verify?token=3D`+token+`">Verify=
 your address</a></p>
`, "\n", "\r\n"))
}

var rules = verifymail.Rules{
	Senders: []string{service}, LinkHosts: []string{"app.service.example"}, LinkPaths: []string{"/verify"}, Receiver: mailhead.Host(hostname),
}

// story is a sign-up of wallet 1's, from the service's mail server to the link;
// others try the same.
func story(t *testing.T, c *mailconf.Config, bucket func(context.Context, *mailconf.S3) (Store, error), inbox func() mailstore.Inbox) {
	zone, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = zone.Close() })
	honest, err := mailer.New(zone, "mail.service.example")
	if err != nil {
		t.Fatal(err)
	}
	c.Resolver = zone.Addr()
	r := start(t, c, bucket)
	w := wallet(1)
	a, err := mailroute.NewAddress("or", w, time.Now(), 77)
	if err != nil {
		t.Fatal(err)
	}
	to := a.At(domainName)
	ctx := t.Context()
	if err := honest.Send(ctx, r.Addr().String(), "bounce@mail.service.example", to, verification(to, "honesttoken0123456789")); err != nil {
		t.Fatal(err)
	}
	// Somebody who knows the address, and says to be the service: without its
	// key, and with a signature of his own.
	thief, err := mailer.New(zone, "thief.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := thief.Send(ctx, r.Addr().String(), "bounce@thief.example", to, verification(to, "stolentoken0123456789")); err != nil {
		t.Fatal(err)
	}
	thief.Unsigned = true
	forged := append([]byte("Authentication-Results: "+hostname+"; spf=pass smtp.mailfrom=service.example; dkim=pass header.i=@service.example; dmarc=pass header.from=service.example\r\n"), verification(to, "forgedtoken0123456789")...)
	if err := thief.Send(ctx, r.Addr().String(), "", to, forged); err != nil {
		t.Fatal(err)
	}
	// Another wallet's mail of the same service.
	second := address(t, "or", wallet(2), 78)
	if err := honest.Send(ctx, r.Addr().String(), "bounce@mail.service.example", second, verification(second, "secondtoken0123456789")); err != nil {
		t.Fatal(err)
	}

	in := inbox()
	eventually(t, "all are placed", func() bool {
		return len(inboxOf(t, in, w)) == 3 && len(inboxOf(t, in, wallet(2))) == 1
	})
	links, refusals := 0, map[string]int{}
	for _, item := range inboxOf(t, in, w) {
		msg, err := in.Fetch(ctx, w, item.ID, mailstore.MaxMessage)
		if err != nil {
			t.Fatal(err)
		}
		res, err := verifymail.Extract(msg, verifymail.Query{To: a, Domain: domainName}, rules)
		var refusal *verifymail.Refusal
		switch {
		case err == nil:
			links++
			if got := string(res.Link.Expose()); got != "https://app.service.example/verify?token=honesttoken0123456789" {
				t.Errorf("the link is %s", got)
			}
			if v := res.Verdicts; v.SPF != "pass" || v.DMARC != "pass" || !v.Aligned {
				t.Errorf("verdicts %+v", v)
			}
		case errors.As(err, &refusal):
			refusals[string(refusal.Reason)]++
		default:
			t.Error(err)
		}
	}
	if links != 1 || len(refusals) == 0 {
		t.Errorf("%d links, refused: %v", links, refusals)
	}
	t.Logf("refused: %v", refusals)
	for _, canary := range []string{"honesttoken", "stolentoken", "service.example", "thief", a.Digits()} {
		if strings.Contains(r.log.String(), canary) {
			t.Errorf("the log has %q in it", canary)
		}
	}
}

// TestStory over a directory.
func TestStory(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	story(t, c, nil, func() mailstore.Inbox { return openDir(t, c.Store.Directory) })
}

func itself(w agentkeys.Wallet) agentkeys.Wallet { return w }

// cloud is a real S3 server with a bucket for a mail server, and roles for
// wallets.
func cloud(t *testing.T) (world *cloudtest.Cloud, open func(endpoint string) func(context.Context, *mailconf.S3) (Store, error), read func(as func(agentkeys.Wallet) agentkeys.Wallet) *s3mail.Bucket) {
	world = cloudtest.Start(t, wallet(1), wallet(2), wallet(3))
	at := func(endpoint string) s3mail.Config {
		return s3mail.Config{Region: versity.Region, Bucket: cloudtest.Bucket, Endpoint: endpoint, PathStyle: true, StreamCopies: true}
	}
	open = func(endpoint string) func(context.Context, *mailconf.S3) (Store, error) {
		return func(context.Context, *mailconf.S3) (Store, error) {
			return s3mail.Open(at(endpoint), s3mail.Credentials{Router: world.Root()})
		}
	}
	read = func(as func(agentkeys.Wallet) agentkeys.Wallet) *s3mail.Bucket {
		s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: world.STS, RoleARN: cloudtest.Roles}, world.Token)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s3mail.Open(at(world.Endpoint), s3mail.Credentials{Wallet: func(w agentkeys.Wallet) aws.CredentialsProvider { return s.Credentials(as(w)) }})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return world, open, read
}

// inBucket is a configuration with a bucket.
func inBucket(t *testing.T) *mailconf.Config {
	c := configuration(t.TempDir())
	c.Store = mailconf.Store{S3: &mailconf.S3{}}
	return c
}

// TestStoryInTheCloud over a real server, which each wallet reads with a
// session of its own.
func TestStoryInTheCloud(t *testing.T) {
	t.Parallel()
	world, open, read := cloud(t)
	own := read(itself)
	story(t, inBucket(t), open(world.Endpoint), func() mailstore.Inbox { return own })

	// A session of wallet 2's gets nowhere near wallet 1's mail.
	other := read(func(agentkeys.Wallet) agentkeys.Wallet { return wallet(2) })
	if n := len(inboxOf(t, other, wallet(2))); n != 1 {
		t.Errorf("it reads %d messages of its own", n)
	}
	if page, err := other.List(t.Context(), wallet(1), agentkeys.MessageID{}, 10); err == nil {
		t.Errorf("another wallet's session lists %d messages", len(page.Items))
	}
	id := inboxOf(t, own, wallet(1))[0].ID
	if _, err := other.Fetch(t.Context(), wallet(1), id, mailstore.MaxMessage); err == nil {
		t.Error("another wallet's session reads a message")
	}
	if _, err := own.Waiting(t.Context(), agentkeys.MessageID{}, 10); err == nil {
		t.Error("a wallet's session lists what has arrived")
	}
}
