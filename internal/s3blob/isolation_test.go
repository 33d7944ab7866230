package s3blob_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

const marker = "CANARY-" // begins every object that is somebody's

// world is a cloud in which several wallets have something to lose.
type world struct {
	*cloudtest.Cloud
	wallets []agentkeys.Wallet
	creds   map[agentkeys.Wallet]aws.Credentials
	root    aws.Credentials
}

func newWorld(t *testing.T) *world {
	w := &world{creds: map[agentkeys.Wallet]aws.Credentials{}}
	for n := range 5 {
		w.wallets = append(w.wallets, cloudtest.Wallet(n))
	}
	w.Cloud = cloudtest.Start(t, w.wallets...)
	var err error
	if w.root, err = w.Root().Retrieve(t.Context()); err != nil {
		t.Fatal(err)
	}
	creds := sessions(t, w.Cloud)
	for _, wallet := range w.wallets {
		if w.creds[wallet], err = creds(wallet).Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range keysOf(wallet.String()) {
			w.must(t, w.root, request{method: "PUT", key: k, body: marker + k})
		}
	}
	for _, k := range inbound {
		w.must(t, w.root, request{method: "PUT", key: k, body: marker + k})
	}
	return w
}

func keysOf(wallet string) []string {
	return []string{"bots/" + wallet + "/credentials/openrouter.enc", "bots/" + wallet + "/inbound/message-1"}
}

var inbound = []string{"inbound/message-2"}

func (w *world) must(t *testing.T, c aws.Credentials, r request) answer {
	t.Helper()
	a := send(t, w.Cloud, c, r)
	if !a.ok() {
		t.Fatalf("%s: %d %s", r, a.status, a.body)
	}
	return a
}

// op is one kind of request at an object. own is a key of the attacker's, with
// what is there, for operations that need one.
type op struct {
	name string
	at   func(key string) request
	// data says that the data role may do it in its own prefix; otherwise only
	// the administrator may.
	data bool
}

func plain(method, query string, header map[string]string, body string) func(string) request {
	return func(key string) request { return request{method, key, query, header, body} }
}

const tagging = `<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>`

func operations(own, upload string) []op {
	from := func(method, key, query string, source func(string) string) func(string) request {
		return func(k string) request {
			return request{method, key, query, map[string]string{"X-Amz-Copy-Source": source(k)}, ""}
		}
	}
	bucket := cloudtest.Bucket + "/"
	literal := func(k string) string { return bucket + k }
	slashed := func(k string) string { return "/" + bucket + k }
	versioned := func(k string) string { return bucket + k + "?versionId=null" }
	copied := own + "credentials/copied.enc"
	part := "partNumber=1&uploadId=" + upload
	return []op{
		{name: "get", data: true, at: plain("GET", "", nil, "")},
		{name: "head", data: true, at: plain("HEAD", "", nil, "")},
		{name: "get a range", data: true, at: plain("GET", "", map[string]string{"Range": "bytes=0-3"}, "")},
		{name: "get a part", data: true, at: plain("GET", "partNumber=1", nil, "")},
		{name: "get a version", at: plain("GET", "versionId=null", nil, "")},
		{name: "get if it is not", data: true, at: plain("GET", "", map[string]string{"If-None-Match": `"x"`}, "")},
		{name: "attributes", at: plain("GET", "attributes", map[string]string{"X-Amz-Object-Attributes": "ETag,ObjectSize"}, "")},
		{name: "get acl", at: plain("GET", "acl", nil, "")},
		{name: "get tagging", at: plain("GET", "tagging", nil, "")},
		{name: "put", data: true, at: plain("PUT", "", nil, "stolen")},
		{name: "put if there is none", data: true, at: plain("PUT", "", map[string]string{"If-None-Match": "*"}, "stolen")},
		{name: "put with acl", data: true, at: plain("PUT", "", map[string]string{"X-Amz-Acl": "public-read-write"}, "stolen")},
		{name: "put acl", at: plain("PUT", "acl", map[string]string{"X-Amz-Acl": "public-read-write"}, "")},
		{name: "put tagging", at: plain("PUT", "tagging", nil, tagging)},
		{name: "delete tagging", at: plain("DELETE", "tagging", nil, "")},
		{name: "put retention", at: plain("PUT", "retention", nil, `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>`)},
		{name: "put legal hold", at: plain("PUT", "legal-hold", nil, `<LegalHold><Status>ON</Status></LegalHold>`)},
		{name: "delete", data: true, at: plain("DELETE", "", nil, "")},
		{name: "delete with bypass", data: true, at: plain("DELETE", "", map[string]string{"X-Amz-Bypass-Governance-Retention": "true"}, "")},
		{name: "delete a version", at: plain("DELETE", "versionId=null", nil, "")},
		{name: "begin upload", data: true, at: plain("POST", "uploads", nil, "")},
		{name: "upload part", data: true, at: plain("PUT", part, nil, "stolen")},
		{name: "list parts", at: plain("GET", "uploadId="+upload, nil, "")},
		{name: "copy from", data: true, at: from("PUT", copied, "", literal)},
		{name: "copy from /", data: true, at: from("PUT", copied, "", slashed)},
		{name: "copy from a version", at: from("PUT", copied, "", versioned)},
		{name: "copy to", data: true, at: plain("PUT", "", map[string]string{"X-Amz-Copy-Source": bucket + own + "inbound/message-1"}, "")},
		{name: "copy onto itself", data: true, at: func(k string) request {
			return request{"PUT", k, "", map[string]string{"X-Amz-Copy-Source": bucket + k, "X-Amz-Metadata-Directive": "REPLACE"}, ""}
		}},
		{name: "copy a part from", data: true, at: from("PUT", own+"credentials/upload.enc", part, literal)},
		{name: "copy a part from a range", data: true, at: func(k string) request {
			return request{"PUT", own + "credentials/upload.enc", part, map[string]string{"X-Amz-Copy-Source": bucket + k, "X-Amz-Copy-Source-Range": "bytes=0-3"}, ""}
		}},
		{name: "abort upload", at: plain("DELETE", "uploadId="+upload, nil, "")},
		{name: "restore", at: plain("POST", "restore", nil, `<RestoreRequest><Days>1</Days></RestoreRequest>`)},
		{name: "select", at: plain("POST", "select&select-type=2", nil, `<SelectObjectContentRequest><Expression>select * from s3object</Expression><ExpressionType>SQL</ExpressionType></SelectObjectContentRequest>`)},
		{name: "batch delete", at: func(k string) request { return batch(k) }},
		{name: "batch delete, encoded", at: func(k string) request {
			u, _ := url.PathUnescape(k)
			return batch(u)
		}},
	}
}

func batch(keys ...string) request {
	var b strings.Builder
	b.WriteString("<Delete>")
	for _, k := range keys {
		b.WriteString("<Object><Key>")
		for _, c := range []byte(k) {
			switch {
			case c == '&':
				b.WriteString("&amp;")
			case c == '<':
				b.WriteString("&lt;")
			case c < ' ' || c >= 0x7f:
				b.WriteByte('_')
			default:
				b.WriteByte(c)
			}
		}
		b.WriteString("</Key></Object>")
	}
	b.WriteString("</Delete>")
	return withMD5(request{method: "POST", query: "delete", body: b.String()})
}

// bucketOperations are what may be tried on the bucket itself.
func bucketOperations(own, victim string) []op {
	var all []op
	add := func(method, query string, header map[string]string, body string) {
		all = append(all, op{name: method + " ?" + query, at: func(string) request { return withMD5(request{method, "", query, header, body}) }})
	}
	for _, p := range oddPrefixes(own, victim) {
		q := "prefix=" + url.QueryEscape(p)
		add("GET", "list-type=2&"+q, nil, "")
		add("GET", q, nil, "")
		add("GET", "list-type=2&delimiter=%2F&"+q, nil, "")
		add("GET", "list-type=2&max-keys=1&start-after="+url.QueryEscape("bots/"+victim)+"&"+q, nil, "")
		add("GET", q+"&versions", nil, "")
		add("GET", q+"&uploads", nil, "")
	}
	add("GET", "", nil, "")
	add("GET", "list-type=2", nil, "")
	add("HEAD", "", nil, "")
	for _, sub := range []string{"policy", "acl", "versioning", "tagging", "cors", "object-lock", "ownershipControls", "policyStatus", "lifecycle", "encryption", "logging", "notification", "website", "publicAccessBlock"} {
		add("GET", sub, nil, "")
		add("DELETE", sub, nil, "")
	}
	add("PUT", "policy", nil, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::`+cloudtest.Bucket+`","arn:aws:s3:::`+cloudtest.Bucket+`/*"]}]}`)
	add("PUT", "acl", map[string]string{"X-Amz-Acl": "public-read-write"}, "")
	add("PUT", "versioning", nil, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
	add("PUT", "tagging", nil, tagging)
	add("PUT", "ownershipControls", nil, `<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>`)
	add("DELETE", "", nil, "")
	return all
}

// testOwn comes first: where nothing at all is allowed, every denial passes.
// Each operation is done by whoever may do it: in a wallet's own
// prefix by its session, else by the administrator, so that it is known to be a
// good request.
func (w *world) testOwn(t *testing.T, wallet agentkeys.Wallet) {
	c, own := w.creds[wallet], "bots/"+wallet.String()+"/"
	key := own + "credentials/mine.enc"
	upload := w.upload(t, wallet)
	unsupported := 0
	for _, o := range operations(own, upload) {
		w.must(t, c, request{method: "PUT", key: key, body: "mine"})
		who := c
		if !o.data {
			who = w.root
		}
		k := key
		if strings.Contains(o.name, "upload part") || strings.Contains(o.name, "list parts") || strings.Contains(o.name, "abort") {
			k = own + "credentials/upload.enc"
		}
		if o.name == "put if there is none" {
			w.must(t, c, request{method: "DELETE", key: k})
		}
		r := o.at(k)
		a := send(t, w.Cloud, who, r)
		switch {
		case a.ok():
		case !o.data && slices.Contains([]int{400, 404, 405, 501}, a.status):
			// The request is understood, but there is no lock configured, no
			// archive, …: that it is not a denial is what counts here.
			unsupported++
		default:
			t.Errorf("%s in the own prefix: %d %s", o.name, a.status, a.body)
		}
		if o.name == "begin upload" {
			send(t, w.Cloud, w.root, request{method: "DELETE", key: k, query: "uploadId=" + uploadID(a)})
		}
	}
	if unsupported > 6 {
		t.Errorf("%d operations were never seen to work", unsupported)
	}
	w.must(t, c, request{method: "GET", key: own + "inbound/message-1"})
	for _, p := range ownPrefixes(wallet.String(), w.wallets[0].String()) {
		a := w.must(t, c, request{method: "GET", query: "list-type=2&prefix=" + url.QueryEscape(p)})
		for _, k := range listed(a) {
			if !strings.HasPrefix(k, own) {
				t.Errorf("listing %q showed %q", p, k)
			}
		}
	}
}

var (
	keyElement    = regexp.MustCompile(`<Key>([^<]*)</Key>`)
	uploadElement = regexp.MustCompile(`<UploadId>([^<]*)</UploadId>`)
)

func listed(a answer) (keys []string) {
	for _, m := range keyElement.FindAllSubmatch(a.body, -1) {
		keys = append(keys, string(m[1]))
	}
	return keys
}

func uploadID(a answer) string {
	if m := uploadElement.FindSubmatch(a.body); m != nil {
		return string(m[1])
	}
	return ""
}

// upload begins a multipart upload of the wallet's own.
func (w *world) upload(t *testing.T, wallet agentkeys.Wallet) string {
	return uploadID(w.must(t, w.creds[wallet], request{method: "POST", key: "bots/" + wallet.String() + "/credentials/upload.enc", query: "uploads"}))
}

// try is one request at what is somebody else's.
type try struct {
	who  agentkeys.Wallet
	name string
	req  request
	// own says that the text of the key is in the wallet's own prefix after
	// all, such as credentials/%2e%2e/ taken literally. It may succeed, and
	// must touch nothing that is not its own.
	own bool
}

// all makes every try of one wallet against another.
func (w *world) all(t *testing.T, who, victim agentkeys.Wallet) (tries []try) {
	own := "bots/" + who.String() + "/"
	keys := append(keysOf(victim.String()), inbound...)
	for _, o := range operations(own, w.upload(t, who)) {
		for _, s := range spellings {
			for _, k := range keys {
				spelt := s.of(who.String(), victim.String(), k)
				text, err := url.PathUnescape(spelt)
				if o.name == "batch delete" {
					text = spelt // which goes into XML, where nothing is decoded
				}
				tries = append(tries, try{who, o.name + ", " + s.name, o.at(spelt), err == nil && isOwn(text, own)})
			}
		}
	}
	for _, o := range bucketOperations(who.String(), victim.String()) {
		tries = append(tries, try{who, o.name, o.at(""), false})
	}
	return tries
}

// isOwn: as text and as a path.
func isOwn(key, own string) bool {
	in := func(s string) bool {
		return strings.HasPrefix(s, own+"credentials/") || strings.HasPrefix(s, own+"inbound/")
	}
	return in(key) && in(path.Clean(key))
}

// TestCrossWallet has sessions of five wallets try what they can at the objects
// of the others and at inbound/, on the real server: each operation with each
// spelling, by two of the wallets at one of the keys, or with
// AGENTKEYS_ISOLATION=all by each at each.
func TestCrossWallet(t *testing.T) {
	w := newWorld(t)
	for _, wallet := range w.wallets {
		w.testOwn(t, wallet)
	}
	if t.Failed() {
		t.Fatal("what must be allowed is not, so denials would prove nothing")
	}
	var foreign, own []try
	for i, who := range w.wallets {
		for _, y := range w.all(t, who, w.wallets[(i+1)%len(w.wallets)]) {
			if y.own {
				own = append(own, y)
			} else {
				foreign = append(foreign, y)
			}
		}
	}
	before := w.stored(t)
	some := foreign
	if os.Getenv("AGENTKEYS_ISOLATION") != "all" {
		some = twoOfEach(foreign)
	}
	codes := w.run(t, some, leak)
	t.Logf("%d tries of %d: %v", len(some), len(foreign), codes)
	// A request that is refused for its form says nothing about the policy.
	if n := codes["403 AccessDenied"] + codes["403 "]; n < len(some)*3/4 {
		t.Errorf("only %d of %d were denied by the policy", n, len(some))
	}
	if after := w.stored(t); !maps.Equal(before, after) {
		compare(t, before, after, func(string) bool { return false })
	}

	// What is one's own after all may be there afterwards, but only there.
	t.Logf("%d more, spread over %d: %v", 500, len(own), w.run(t, spread(own, 500), theirs))
	compare(t, before, w.stored(t), func(file string) bool {
		for _, wallet := range w.wallets {
			if strings.HasPrefix(file, "s3/"+cloudtest.Bucket+"/bots/"+wallet.String()+"/credentials/") && !slices.Contains(keysOf(wallet.String()), strings.TrimPrefix(file, "s3/"+cloudtest.Bucket+"/")) {
				return true
			}
		}
		return strings.HasPrefix(file, "s3/"+cloudtest.Bucket+"/.sgwtmp/multipart/") // uploads under way
	})
}

// twoOfEach picks two tries of each name, of other wallets and keys from name to
// name.
func twoOfEach(all []try) (some []try) {
	of := map[string][]try{}
	var names []string
	for _, y := range all {
		if of[y.name] == nil {
			names = append(names, y.name)
		}
		of[y.name] = append(of[y.name], y)
	}
	for i, name := range names {
		list := of[name]
		for _, k := range []int{i, i + len(list)/2} {
			some = append(some, list[k%len(list)])
		}
	}
	return some
}

// spread picks n of all at even distances.
func spread(all []try, n int) []try {
	var some []try
	for i := range n {
		some = append(some, all[i*len(all)/n])
	}
	return some
}

// run sends tries, a few at once, and counts the answers.
func (w *world) run(t *testing.T, tries []try, fault func(try, answer) string) map[string]int {
	codes := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(tries); i = next.Add(1) - 1 {
				y := tries[i]
				a := send(t, w.Cloud, w.creds[y.who], y.req)
				if f := fault(y, a); f != "" {
					t.Errorf("%s by %s: %s: %s: %d %s", y.name, y.who, f, y.req, a.status, a.body)
				}
				mu.Lock()
				codes[fmt.Sprint(a.status, " ", a.code())]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return codes
}

// leak says what is wrong with an answer to a try, "" if it is a denial.
func leak(y try, a answer) string {
	switch f := theirs(y, a); {
	case f != "":
		return f
	case strings.HasPrefix(y.name, "batch delete") && a.status == http.StatusOK:
		if bytes.Contains(a.body, []byte("<Deleted>")) || !bytes.Contains(a.body, []byte("<Code>")) {
			return "deleted"
		}
	case a.status < 400:
		return "allowed"
	}
	return ""
}

// theirs says what no answer may be.
func theirs(_ try, a answer) string {
	switch {
	case a.status == 0 || a.status >= 500 && a.status != http.StatusNotImplemented:
		return "an accident is no denial"
	case bytes.Contains(a.body, []byte(marker)):
		return "somebody's object came back"
	}
	return ""
}

// stored is what is on the server's disk, but for its locks.
func (w *world) stored(t *testing.T) map[string][sha256.Size]byte {
	t.Helper()
	all, err := w.Stored()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < len(w.wallets)*2 {
		t.Fatalf("%d files on the server's disk", len(all))
	}
	return all
}

// compare reports what differs, unless it may.
func compare(t *testing.T, before, after map[string][sha256.Size]byte, may func(string) bool) {
	t.Helper()
	for k, sum := range after {
		was, there := before[k]
		if (!there || was != sum) && !may(k) {
			t.Errorf("%q is new or changed", k)
		}
	}
	for k := range before {
		if _, there := after[k]; !there && !may(k) {
			t.Errorf("%q is gone", k)
		}
	}
}
