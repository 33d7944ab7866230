// Package ceph_test is the campaign against Ceph RADOS Gateway 20, the one
// server at hand that takes a token's tags as session tags and enforces
// sts:TagSession and aws:RequestTag: one role for all wallets, as on AWS. It
// runs in namespaces of its own: make test-ceph.
//
// What Ceph 20 gets wrong, and what stands in its place. Each but the last is
// among the probes, as known: a Ceph that does better fails the campaign.
//   - A token without exp opens a session. The broker always sets it.
//   - A tag of two values opens both wallets to a role that only its own policy
//     holds. The broker issues one value.
//   - It knows no aws:PrincipalArn, so that the bucket's policy as it is
//     rendered denies nobody. One that names the role as Principal denies what
//     it should, a tag of two values included, but for a listing without a
//     prefix and reading the policy. The role's own policy is what holds.
//   - It takes transitive_tag_keys for one more tag of the token, which the
//     trust policy has to allow beside the wallet's: see trust.
//   - Several win a race of If-None-Match on a bucket with versions. That is
//     not tried: the campaign's bucket has none, and there one wins.
package ceph_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/vault"
)

// TestIsolation is the campaign. What is allowed comes first: where nothing at
// all is, every denial passes.
func TestIsolation(t *testing.T) {
	root := os.Getenv("AGENTKEYS_CEPH")
	if root == "" {
		t.Skip("a campaign: 'make test-ceph' installs Ceph into a chroot and runs it")
	}
	w := &world{issuer: newIssuer(t), a: cloudtest.Wallet(1), b: cloudtest.Wallet(2)}
	w.wallets = []agentkeys.Wallet{w.a, w.b}
	w.cluster = start(t, root, w.ca)
	w.serve(t)
	w.provision(t)
	defer w.table(t)
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		for _, wallet := range w.wallets {
			w.own(t, "own, "+string(alg), wallet, alg)
		}
	}
	if t.Failed() {
		t.Fatalf("what is allowed is not: no denial means anything\n%s", w.log("radosgw"))
	}
	w.cross(t, "cross", w.a, w.b)
	w.cross(t, "cross", w.b, w.a)
	w.twoValues(t, "two values", true)
	w.tokens(t)
	w.race(t)
	w.bucketAlone(t)
}

// bucketAlone has a role whose own policy allows everything, and looks at what
// the bucket's still denies.
func (w *world) bucketAlone(t *testing.T) {
	t.Helper()
	_, err := w.iam().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String(w.names.DataRole), PolicyName: aws.String("agentkeys"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::` + bucket + `","arn:aws:s3:::` + bucket + `/*"]}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := cloudpolicy.BucketPolicy(w.names, cloudpolicy.Unrolled(w.wallets...))
	w.putBucketPolicy(t, d)
	creds, err := w.ask(t, w.with(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	const allowed, denied, known = "allowed", "denied", "allowed (known)"
	try := func(group, theirs string) {
		for i, r := range []request{
			{method: "GET", key: keysOf(w.a)[0]},
			{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(prefix(w.a))},
			{method: "GET", key: keysOf(w.b)[0]},
			{method: "PUT", key: prefix(w.b) + "credentials/planted.enc", body: "planted"},
			{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(prefix(w.b))},
			{method: "GET", key: arrived},
			{method: "PUT", key: prefix(w.a) + "inbound/forged", body: "forged"},
			{method: "GET", query: "list-type=2"},
			{method: "GET", query: "policy"},
		} {
			want := theirs
			switch {
			case i < 2:
				want = allowed
			case i > 6:
				want = known
			}
			a := send(t, creds, bucket, r)
			w.note(t, group, describe(r), want, fmt.Sprint(a.status, " ", a.code()), a.ok() == (want != denied))
		}
		w.twoValues(t, group, theirs == known)
	}
	try("bucket alone", known)
	for i, s := range d.Statements {
		var rest []cloudpolicy.Condition
		for _, c := range s.Condition {
			if c.Key == "aws:PrincipalArn" {
				d.Statements[i].Principal = &cloudpolicy.Principals{AWS: c.Values}
				continue
			}
			rest = append(rest, c)
		}
		d.Statements[i].Condition = rest
	}
	d.Statements = slices.DeleteFunc(d.Statements, func(s cloudpolicy.Statement) bool {
		return s.Principal.AWS != nil && s.Principal.AWS[0] != w.names.RoleARN(w.names.DataRole)
	})
	w.putBucketPolicy(t, d)
	try("bucket alone, naming the role", denied)
}

// own is what a wallet may do, through the parts that do it.
func (w *world) own(t *testing.T, group string, wallet agentkeys.Wallet, alg token.Alg) {
	t.Helper()
	ctx := t.Context()
	s := w.sessions(t, w.token(alg))
	creds, err := s.Credentials(wallet).Retrieve(ctx)
	w.note(t, group, "session at STS", "allowed", said(err), err == nil)
	if err != nil {
		return
	}
	b, k := open(t, s.Credentials), key(t, wallet, "mine")
	try := func(what string, err error) {
		t.Helper()
		w.note(t, group, what, "allowed", said(err), err == nil)
	}
	v, err := b.Put(ctx, k, []byte("one"), vault.Create())
	try("create", err)
	data, _, err := b.Get(ctx, k)
	if err == nil && string(data) != "one" {
		err = fmt.Errorf("read %q", data)
	}
	try("get", err)
	if _, err = b.Put(ctx, k, []byte("two"), vault.Create()); errors.Is(err, vault.ErrConflict) {
		err = nil
	} else {
		err = fmt.Errorf("a second create: %v", err)
	}
	try("create no second", err)
	v2, err := b.Put(ctx, k, []byte("two"), vault.Replace(v))
	try("replace", err)
	page, err := b.List(ctx, vault.CredentialPrefix(wallet), vault.Key{}, 10)
	if err == nil && !slices.ContainsFunc(page.Items, func(i vault.Item) bool { return i.Key == k }) {
		err = errors.New("the object is not listed")
	}
	try("list", err)
	if err = b.Delete(ctx, k, v); errors.Is(err, vault.ErrConflict) {
		err = nil
	} else {
		err = fmt.Errorf("a deletion of what was replaced: %v", err)
	}
	try("delete no other version", err)
	try("delete", b.Delete(ctx, k, v2))
	if _, _, err = b.Get(ctx, k); errors.Is(err, vault.ErrNotFound) {
		err = nil
	} else {
		err = fmt.Errorf("after the deletion: %v", err)
	}
	try("gone", err)
	for _, r := range []request{
		{method: "GET", key: prefix(wallet) + "inbound/message-1"},
		{method: "HEAD", key: keysOf(wallet)[0]},
		{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(prefix(wallet))},
		{method: "PUT", key: prefix(wallet) + "credentials/copy.enc", header: map[string]string{"X-Amz-Copy-Source": bucket + "/" + keysOf(wallet)[0]}},
		{method: "DELETE", key: prefix(wallet) + "credentials/copy.enc"},
	} {
		a := send(t, creds, bucket, r)
		w.note(t, group, describe(r), "allowed", fmt.Sprint(a.status, " ", a.code()), a.ok())
	}
}

func describe(r request) string {
	s := r.method + " " + r.key
	if r.query != "" {
		s += "?" + r.query
	}
	for _, k := range slices.Sorted(maps.Keys(r.header)) {
		s += " " + k + ": " + r.header[k]
	}
	return s
}

// denied tries r with a session that must not.
func (w *world) denied(t *testing.T, group string, creds aws.Credentials, own string, r request) {
	t.Helper()
	a := send(t, creds, bucket, r)
	got := fmt.Sprint(a.status, " ", a.code())
	ok := a.status == http.StatusForbidden && (a.code() == "AccessDenied" || r.method == "HEAD")
	if strings.Contains(a.body, canary) && !strings.HasPrefix(a.body, canary+own) {
		got, ok = got+", and the bytes", false
	}
	if bad := w.harmed(t); bad != nil {
		got, ok = got+", and "+strings.Join(bad, ", ")+" is changed", false
		w.restore(t)
	}
	w.note(t, group, describe(r), "denied", got, ok)
}

// cross has one wallet's session try the other's objects and everybody's.
func (w *world) cross(t *testing.T, group string, thief, victim agentkeys.Wallet) {
	t.Helper()
	ctx := t.Context()
	s := w.sessions(t, w.token(token.ES256))
	creds, err := s.Credentials(thief).Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The program's own client, with a session that is not the key's.
	b, k := open(t, func(agentkeys.Wallet) aws.CredentialsProvider { return s.Credentials(thief) }), key(t, victim, "openrouter")
	etag := vault.Version(strings.Repeat("0", 32))
	_, _, get := b.Get(ctx, k)
	_, create := b.Put(ctx, key(t, victim, "planted"), []byte("stolen"), vault.Create())
	_, replace := b.Put(ctx, k, []byte("stolen"), vault.Replace(etag))
	_, list := b.List(ctx, vault.CredentialPrefix(victim), vault.Key{}, 10)
	for what, err := range map[string]error{"get": get, "create": create, "replace": replace, "delete": b.Delete(ctx, k, etag), "list": list} {
		w.note(t, group, "s3blob: "+what, "denied", said(err), errors.Is(err, s3blob.ErrDenied))
	}
	if bad := w.harmed(t); bad != nil {
		t.Fatalf("changed: %v", bad)
	}

	own, theirs := prefix(thief), prefix(victim)
	upper := "bots/0x" + strings.ToUpper(victim.String()[2:]) + "/"
	copied := own + "credentials/copied.enc"
	for _, k := range append(keysOf(victim), arrived) {
		for _, r := range []request{
			{method: "GET", key: k},
			{method: "HEAD", key: k},
			{method: "GET", key: k, header: map[string]string{"Range": "bytes=0-3"}},
			{method: "GET", key: k, query: "versionId=null"},
			{method: "GET", key: k, query: "acl"},
			{method: "GET", key: k, query: "tagging"},
			{method: "PUT", key: k, body: "stolen"},
			{method: "PUT", key: k, body: "stolen", header: map[string]string{"If-None-Match": "*"}},
			{method: "PUT", key: k, query: "acl", header: map[string]string{"X-Amz-Acl": "public-read-write"}},
			{method: "PUT", key: k, query: "tagging", body: `<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>`},
			{method: "DELETE", key: k},
			{method: "DELETE", key: k, query: "versionId=null"},
			{method: "POST", key: k, query: "uploads"},
			{method: "PUT", key: copied, header: map[string]string{"X-Amz-Copy-Source": bucket + "/" + k}},
			{method: "PUT", key: copied, header: map[string]string{"X-Amz-Copy-Source": "/" + bucket + "/" + escape(k)}},
			{method: "PUT", key: k, header: map[string]string{"X-Amz-Copy-Source": bucket + "/" + keysOf(thief)[0]}},
			{method: "GET", key: strings.ReplaceAll(k, "/", "%2F")},
			{method: "PUT", key: strings.ReplaceAll(k, "/", "%2f"), body: "stolen"},
			{method: "GET", key: strings.ReplaceAll(k, "b", "%62")},
			{method: "GET", key: "/" + k},
			{method: "GET", key: "./" + k},
		} {
			w.denied(t, group, creds, own, r)
		}
	}
	for _, r := range []request{
		{method: "GET", key: upper + "credentials/openrouter.enc"},
		{method: "PUT", key: upper + "credentials/openrouter.enc", body: "stolen"},
		{method: "GET", key: strings.ToUpper(keysOf(victim)[0])},
		{method: "GET", key: "Bots/" + victim.String() + "/credentials/openrouter.enc"},
		{method: "PUT", key: "BOTS/" + thief.String() + "/credentials/x.enc", body: "stolen"},
		{method: "PUT", key: own + "inbound/forged", body: "stolen"},
		{method: "DELETE", key: own + "inbound/message-1"},
		{method: "PUT", key: own + "other", body: "stolen"},
		{method: "PUT", key: "bots/" + thief.String() + "0/credentials/x.enc", body: "stolen"},
		{method: "PUT", key: "bots/" + thief.String()[:41] + "/credentials/x.enc", body: "stolen"},
		{method: "PUT", key: "bots/x", body: "stolen"},
		{method: "PUT", key: "x", body: "stolen"},
		{method: "GET"},
		{method: "GET", query: "list-type=2"},
		{method: "GET", query: "list-type=2&prefix="},
		{method: "GET", query: "list-type=2&prefix=bots"},
		{method: "GET", query: "list-type=2&prefix=bots%2F"},
		{method: "GET", query: "list-type=2&delimiter=%2F&prefix=bots%2F"},
		{method: "GET", query: "list-type=2&prefix=bots%2F0x"},
		{method: "GET", query: "list-type=2&prefix=inbound%2F"},
		{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(theirs)},
		{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(strings.TrimSuffix(own, "/"))},
		{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(upper)},
		{method: "GET", query: "prefix=" + url.QueryEscape(theirs)},
		{method: "GET", query: "versions&prefix=" + url.QueryEscape(theirs)},
		{method: "GET", query: "uploads&prefix=" + url.QueryEscape(theirs)},
		{method: "GET", query: "versions&prefix=" + url.QueryEscape(own)},
		{method: "GET", query: "policy"},
		{method: "GET", query: "acl"},
		{method: "PUT", query: "acl", header: map[string]string{"X-Amz-Acl": "public-read-write"}},
		{method: "PUT", query: "policy", body: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::` + bucket + `/*"}]}`},
		{method: "PUT", query: "versioning", body: `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`},
		{method: "DELETE", query: "policy"},
		{method: "DELETE"},
	} {
		w.denied(t, group, creds, own, r)
	}
	// Each of these keys is literally the thief's own, or another's: whatever
	// the answer, nobody's bytes come back and nobody's object changes.
	for _, k := range []string{
		own + "credentials/../../" + victim.String() + "/credentials/openrouter.enc",
		own + "credentials/..%2F..%2F" + victim.String() + "%2Fcredentials%2Fopenrouter.enc",
		own + "credentials/%2e%2e/%2e%2e/" + victim.String() + "/credentials/openrouter.enc",
		own + "credentials/%252e%252e%252f%252e%252e%252f" + victim.String() + "%252fcredentials%252fopenrouter.enc",
		own + "credentials//../../" + victim.String() + "/inbound/message-1",
		own + "credentials/../../../inbound/message-2",
		own + "credentials/%00/../../../" + theirs + "credentials/openrouter.enc",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r := request{method: method, key: k}
			if method == "PUT" {
				r.body = "stolen"
			}
			a := send(t, creds, bucket, r)
			bad := w.harmed(t)
			got := fmt.Sprint(a.status, " ", a.code())
			if bad != nil {
				got += ", and " + strings.Join(bad, ", ") + " is changed"
				w.restore(t)
			}
			w.note(t, group, describe(r), "no harm", got, bad == nil && !strings.Contains(a.body, canary))
		}
	}
	for _, p := range []string{theirs + "&prefix=" + own, own + "&prefix=" + theirs} { // which of two does it mean?
		r := request{method: "GET", query: "list-type=2&prefix=" + strings.ReplaceAll(p, "/", "%2F")}
		a := send(t, creds, bucket, r)
		w.note(t, group, describe(r), "no harm", fmt.Sprint(a.status, " ", a.code()), !strings.Contains(a.body, theirs+"credentials") && !strings.Contains(a.body, theirs+"inbound"))
	}
	r := request{method: "POST", query: "delete", body: "<Delete><Object><Key>" + keysOf(victim)[0] + "</Key></Object><Object><Key>" + arrived + "</Key></Object></Delete>"}
	a := send(t, creds, bucket, r)
	bad := w.harmed(t)
	w.note(t, group, "batch delete", "denied", fmt.Sprint(a.status, " ", a.code(), bad), bad == nil && strings.Contains(a.body, "AccessDenied"))
	// Nobody's request has no tenant, so that the bucket is named with it.
	a = send(t, aws.Credentials{}, account+":"+bucket, request{method: "GET", key: keysOf(victim)[0]})
	w.note(t, group, "get without a session", "denied", fmt.Sprint(a.status, " ", a.code()), a.status == http.StatusForbidden && !strings.Contains(a.body, canary))
}

// with is a good token's claims with some changed, or taken away if nil.
func (w *world) with(t *testing.T, change object) string {
	t.Helper()
	all := w.claims(w.a)
	for k, v := range change {
		if v == nil {
			delete(all, k)
		} else {
			all[k] = v
		}
	}
	return w.sign(t, all, w.key)
}

// ask asks STS with any token.
func (w *world) ask(t *testing.T, raw string) (aws.Credentials, error) {
	t.Helper()
	s := w.sessions(t, func(context.Context, agentkeys.Wallet) (string, error) { return raw, nil })
	return s.Credentials(w.a).Retrieve(t.Context())
}

// twoValues: Ceph's session then has both tags.
func (w *world) twoValues(t *testing.T, group string, opens bool) {
	t.Helper()
	creds, err := w.ask(t, w.with(t, object{tagsClaim: tagged(w.a.String(), w.b.String())}))
	if err != nil {
		t.Errorf("a tag of two values is refused now: say so in the comment of this package: %v", err)
		return
	}
	want := "denied"
	if opens {
		want = "allowed (known)"
	}
	for _, wallet := range w.wallets {
		for _, k := range keysOf(wallet) {
			a := send(t, creds, bucket, request{method: "GET", key: k})
			w.note(t, group, "GET "+k, want, fmt.Sprint(a.status, " ", a.code()), a.ok() == opens)
		}
		a := send(t, creds, bucket, request{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(prefix(wallet))})
		w.note(t, group, "list "+prefix(wallet), want, fmt.Sprint(a.status, " ", a.code()), a.ok() == opens)
	}
}

// tokens are refused by STS, each for one reason.
func (w *world) tokens(t *testing.T) {
	t.Helper()
	const group = "tokens"
	good := w.with(t, nil)
	_, err := w.ask(t, good)
	w.note(t, group, "the claims that are spoilt below", "allowed", said(err), err == nil)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	session, err := w.Session(token.Session{
		ID: token.NewID(), Account: strings.Repeat("a", 32), Wallet: w.a, Role: token.Master, Device: token.Thumbprint{1}, Expires: now.Add(time.Hour).Truncate(time.Second),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	parts, others := strings.Split(good, "."), strings.Split(w.sign(t, w.claims(w.b), w.key), ".")
	upper := "0x" + strings.ToUpper(w.a.String()[2:])
	for _, c := range []struct{ what, raw string }{
		{"signed by another", w.sign(t, w.claims(w.a), foreign)},
		{"another's claims", parts[0] + "." + others[1] + "." + parts[2]},
		{"no signature", parts[0] + "." + parts[1] + "."},
		{"alg none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."},
		{"another audience", w.with(t, object{"aud": "https://example.com"})},
		{"no audience", w.with(t, object{"aud": nil})},
		{"another issuer", w.with(t, object{"iss": "https://other.agentkeys.test"})},
		{"the issuer and a path", w.with(t, object{"iss": issuerURL + "/x"})},
		{"no issuer", w.with(t, object{"iss": nil})},
		{"over", w.with(t, object{"exp": now.Add(-6 * time.Minute).Unix()})},
		{"not yet", w.with(t, object{"nbf": now.Add(time.Hour).Unix()})},
		{"no subject", w.with(t, object{"sub": nil})},
		{"a subject that is no wallet", w.with(t, object{"sub": "agentkeys:account:1"})},
		{"a subject with more", w.with(t, object{"sub": cloudpolicy.SubjectPrefix + w.a.String() + "0"})},
		{"no tags", w.with(t, object{tagsClaim: nil})},
		{"another tag", w.with(t, object{tagsClaim: object{"principal_tags": object{"other": []string{w.a.String()}}}})},
		{"an empty tag", w.with(t, object{tagsClaim: tagged("")})},
		{"a tag in capitals", w.with(t, object{tagsClaim: tagged(upper)})},
		{"a tag with a star", w.with(t, object{tagsClaim: tagged("*")})},
		{"a tag with a slash", w.with(t, object{tagsClaim: tagged(w.a.String()[:41] + "/")})},
		{"a tag with a dot", w.with(t, object{tagsClaim: tagged("0x../" + w.a.String()[5:])})},
		{"a longer tag", w.with(t, object{tagsClaim: tagged(w.a.String() + "0")})},
		{"a second tag", w.with(t, object{tagsClaim: object{"principal_tags": object{cloudpolicy.Tag: []string{w.a.String()}, "admin": []string{"yes"}}}})},
		{"a session token", session},
		{"no token", "not-a-token"},
	} {
		_, err := w.ask(t, c.raw)
		w.note(t, group, c.what, "refused", said(err), errors.Is(err, awssts.ErrRefused))
	}
	_, err = w.ask(t, w.with(t, object{"exp": nil}))
	if err != nil {
		t.Errorf("a token without exp is refused now: say so in the comment of this package: %v", err)
	}
	w.note(t, group, "no exp", "allowed (known)", said(err), err == nil)
}

// race has many create one key at once.
func (w *world) race(t *testing.T) {
	t.Helper()
	const rounds, writers = 20, 8
	b := open(t, w.sessions(t, w.token(token.ES256)).Credentials)
	worst := 0
	for n := range rounds {
		k := key(t, w.a, fmt.Sprint("race-", n))
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range writers {
			wg.Go(func() {
				_, err := b.Put(t.Context(), k, fmt.Append(nil, i), vault.Create())
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, vault.ErrConflict) {
					t.Errorf("race: %v", err)
				}
			})
		}
		wg.Wait()
		if won == 0 {
			t.Errorf("round %d: nobody won", n)
		}
		worst = max(worst, won)
	}
	w.note(t, "race", fmt.Sprintf("%d creates at once, %d rounds, without versions", writers, rounds), "one wins", fmt.Sprint("at most ", worst), worst == 1)
}
