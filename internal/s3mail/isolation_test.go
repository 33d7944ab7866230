package s3mail_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/s3conn"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// TestIsolation is one story of three on the real server: a receiver that owns
// the bucket, the router in the very role that cloudpolicy writes, and two
// wallets with sessions of STS. What each may is tried first, or a server that
// denies everything would do.
func TestIsolation(t *testing.T) {
	ctx := t.Context()
	mine, other, routers := cloudtest.Wallet(1), cloudtest.Wallet(2), cloudtest.Wallet(3)
	cloud := cloudtest.Start(t, mine, other)
	names := cloudtest.Names(cloudtest.Bucket)
	names.RouterRole = "agentkeys-router"
	names.Mail.RemoveSource = true
	// Here every role is taken with a token: the router's, with one of a wallet
	// that has no mail.
	if _, err := cloud.PutRole(ctx, versity.Role{Name: names.RouterRole, Trust: cloudtest.Trust(routers), Policy: string(cloudpolicy.RouterPermissions(names).Compact())}); err != nil {
		t.Fatal(err)
	}
	router := sessions(t, cloud, "arn:aws:iam::"+versity.Account+":role/"+names.RouterRole)(routers)
	wallets := sessions(t, cloud, cloudtest.Roles)
	receiver := open(t, config(cloud), s3mail.Credentials{Router: cloud.Root()})
	for _, id := range []string{"m1", "m2", "m3", "m4"} {
		if err := receiver.Write(ctx, mid(id), strings.NewReader("CANARY-"+id), 9); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("router", func(t *testing.T) {
		// By streaming, as this server wants it, and by the server's own copy,
		// as AWS does it, of what is not there yet.
		for _, stream := range []bool{true, false} {
			c := config(cloud)
			c.StreamCopies = stream
			b := open(t, c, s3mail.Credentials{Router: router})
			for id, w := range map[string]agentkeys.Wallet{"m1": mine, "m2": other} {
				if !stream {
					id = map[string]string{"m1": "m3", "m2": "m4"}[id]
				}
				p, err := b.Read(ctx, mid(id), 0, 4, "")
				if err != nil || string(p.Data) != "CANA" {
					t.Fatalf("%q, %v", p.Data, err)
				}
				if created, err := b.Place(ctx, mid(id), p.Version, w); err != nil || !created {
					t.Fatalf("stream %t: %t, %v", stream, created, err)
				}
				if created, err := b.Refuse(ctx, mid(id), p.Version, "malformed"); err != nil || !created {
					t.Fatalf("stream %t: %t, %v", stream, created, err)
				}
				_, err = b.Place(ctx, mid(id), "0123456789abcdef0123456789abcdef", mine)
				is(t, "place another version", err, mailstore.ErrChanged)
			}
			// What is gone, the role may find out.
			_, err := b.Read(ctx, mid("gone"), 0, 4, "")
			is(t, "read what is gone", err, mailstore.ErrGone)
			_, err = b.Place(ctx, mid("gone"), "0123456789abcdef0123456789abcdef", mine)
			is(t, "place what is gone", err, mailstore.ErrGone)
		}
		b := open(t, config(cloud), s3mail.Credentials{Router: router, Wallet: func(agentkeys.Wallet) aws.CredentialsProvider { return router }})
		if err := b.Remove(ctx, mid("m4")); err != nil {
			t.Error(err)
		}
		is(t, "write as the receiver", b.Write(ctx, mid("new"), strings.NewReader("x"), 1), s3mail.ErrDenied)
		_, err := b.Fetch(ctx, mine, mid("m1"), 100)
		is(t, "read an inbox", err, s3mail.ErrDenied)
		_, err = b.List(ctx, mine, agentkeys.MessageID{}, 1)
		is(t, "list an inbox", err, s3mail.ErrDenied)
	})

	t.Run("wallet", func(t *testing.T) {
		b := open(t, config(cloud), s3mail.Credentials{Wallet: wallets, Router: wallets(mine)})
		p, err := b.List(ctx, mine, agentkeys.MessageID{}, 10)
		if err != nil || len(p.Items) != 2 {
			t.Fatalf("%v, %v", p, err)
		}
		for _, i := range p.Items {
			if got, err := b.Fetch(ctx, mine, i.ID, 9); err != nil || string(got) != "CANARY-"+i.ID.String() {
				t.Errorf("%q, %v", got, err)
			}
		}
		_, err = b.Fetch(ctx, mine, mid("gone"), 9)
		is(t, "fetch what is gone", err, mailstore.ErrGone)
		if got, err := b.Fetch(ctx, other, mid("m2"), 9); err != nil || string(got) != "CANARY-m2" {
			t.Fatalf("the other's own: %q, %v", got, err)
		}

		// With this session, all that is not its own.
		for _, where := range []struct {
			dir string
			ids []string
		}{
			{"inbound/", []string{"m1", "m2", "m3"}}, // of its own mail, too
			{"refused/malformed/", []string{"m1", "m2"}},
			{"bots/" + other.String() + "/inbound/", []string{"m2"}},
		} {
			for _, id := range where.ids {
				peek(t, cloud, wallets(mine), where.dir, id)
			}
		}
		_, err = b.Read(ctx, mid("m1"), 0, 4, "")
		is(t, "read inbound", err, s3mail.ErrDenied)
		_, err = b.Place(ctx, mid("m3"), "0123456789abcdef0123456789abcdef", mine)
		is(t, "place", err, s3mail.ErrDenied)
		is(t, "write", b.Write(ctx, mid("mine"), strings.NewReader("x"), 1), s3mail.ErrDenied)
		is(t, "remove", b.Remove(ctx, mid("m3")), s3mail.ErrDenied)
		_, err = b.Waiting(ctx, agentkeys.MessageID{}, 1)
		is(t, "list inbound", err, s3mail.ErrDenied)
		// Not even from within its own inbox can it give or take.
		thief := open(t, config(cloud), s3mail.Credentials{Wallet: func(agentkeys.Wallet) aws.CredentialsProvider { return wallets(mine) }})
		_, err = thief.List(ctx, other, agentkeys.MessageID{}, 1)
		is(t, "list the other's", err, s3mail.ErrDenied)
		_, err = thief.Fetch(ctx, other, mid("m2"), 9)
		is(t, "fetch the other's", err, s3mail.ErrDenied)
	})

	stored, err := cloud.Stored()
	if err != nil {
		t.Fatal(err)
	}
	want := 3 + 4 + 4 // inbound, placed, refused
	n := 0
	for k := range stored {
		if strings.Contains(k, "inbound/") || strings.Contains(k, "refused/") {
			n++
		}
	}
	if n != want {
		t.Errorf("%d messages, want %d: %v", n, want, stored)
	}
}

// peek tries to see a message in every way that the protocol has.
func peek(t *testing.T, cloud *cloudtest.Cloud, creds aws.CredentialsProvider, dir, id string) {
	t.Helper()
	ctx, key := t.Context(), dir+id
	conn, err := s3conn.New(s3conn.Config{Region: versity.Region, Bucket: cloudtest.Bucket, Endpoint: cloud.Endpoint, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	call, _ := conn.As(creds)
	denied := func(what string, err error) {
		t.Helper()
		var api interface{ ErrorCode() string }
		if err == nil || !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" && api.ErrorCode() != "Forbidden" {
			t.Errorf("%s %s: %v", what, key, err)
		}
	}
	_, err = conn.SDK.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key}, call)
	denied("get", err)
	_, err = conn.SDK.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key, Range: aws.String("bytes=0-3")}, call)
	denied("get a range of", err)
	_, err = conn.SDK.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key}, call)
	denied("head", err)
	_, err = conn.SDK.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(cloudtest.Bucket), Prefix: &dir}, call)
	denied("list", err)
	for _, to := range []string{"bots/" + cloudtest.Wallet(1).String() + "/inbound/stolen", "bots/" + cloudtest.Wallet(1).String() + "/credentials/stolen.enc"} {
		_, err = conn.SDK.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &to, CopySource: aws.String(cloudtest.Bucket + "/" + key)}, call)
		denied("copy", err)
	}
	_, err = conn.SDK.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key, Body: strings.NewReader("forged")}, call)
	denied("put", err)
	_, err = conn.SDK.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key}, call)
	denied("delete", err)
	c, err := creds.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	res, err := conn.Plain(ctx, http.MethodGet, key, http.Header{"Range": {"bytes=0-3"}}, c)
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("plain get of %s: %v, %v", key, res, err)
	}
	if err == nil {
		res.Body.Close()
	}
}

func mid(s string) agentkeys.MessageID { return agentkeys.Must(agentkeys.ParseMessageID(s)) }
