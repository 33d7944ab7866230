package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/litentry/agentkeys/internal/cloud"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/testsrv/aws"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

const cloudYAML = `account: "012345678901"
region: eu-central-1
bucket: %s
issuer: https://broker.example.com
broker: {principal: ecs-tasks.amazonaws.com}
keep: {mail_days: 7}
mail:
  domains: [%s]
  tags: [%s]
  function: {name: the-router, package: router.zip, architecture: %s}
  remove_source: true
  limits: {wallet_messages_per_hour: 3}
`

// applied is a cloud that ` + "`agentkeys cloud apply`" + ` has made, with this very
// program in it, and the function's environment.
func applied(t *testing.T) (*aws.Server, map[string]string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	code, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Store}
	h.SetMode(0o755)
	if w, err := z.CreateHeader(h); err != nil {
		t.Fatal(err)
	} else if _, err := w.Write(code); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write("router.zip", zipped.Bytes())
	conf, err := cloud.Load(write("cloud.yaml", fmt.Appendf(nil, cloudYAML, cloudtest.Bucket, mailstoretest.Domain, mailstoretest.Tag, runtime.GOARCH)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := aws.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	c, err := cloud.Open(t.Context(), conf, credentials.NewStaticCredentialsProvider(aws.AdminKey, "x", ""), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Pause = time.Millisecond
	silent := func(string) {}
	plan, err := c.Plan(t.Context(), silent)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), plan, silent); err != nil {
		t.Fatal(err)
	}
	return s, s.Functions["the-router"].Environment
}

func environ(env map[string]string) (list []string) {
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// TestAsCloudSets runs the process with what ` + "`agentkeys cloud apply`" + ` tells the
// function, and what Lambda does; only where S3 is had to be added. Its alarms
// look at metrics that are there.
func TestAsCloudSets(t *testing.T) {
	s, env := applied(t)
	w := prepare(t)
	w.env = slices.DeleteFunc(w.env, func(e string) bool {
		return strings.HasPrefix(e, prefix) && !strings.HasPrefix(e, envAddress) && !strings.HasPrefix(e, envProfile)
	})
	w.env = append(w.env, environ(env)...)
	w.start()
	a := mailstoretest.Address(w.wallets[0])
	var keys []string
	for range 4 {
		keys = append(keys, w.put(mailstoretest.Mail{Envelope: a}))
	}
	other := w.put(mailstoretest.Mail{Envelope: "hello@" + mailstoretest.Domain})
	w.expect("first", w.invoke(30*time.Second, told(keys[0])), "", "Placed=1 Reads=1 FetchedBytes=2048")
	if got := w.inbox(0); !slices.Equal(got, keys[:1]) {
		t.Errorf("the wallet has %q", got)
	}
	log := lines(t, w.log)
	directive := log[len(log)-1]["_aws"].(object)["CloudWatchMetrics"].([]any)[0].(object)
	looked := 0
	for name, alarm := range s.Alarms {
		of := func(key string) string { v, _ := alarm.Fields[key].(cbor.String); return string(v) }
		if strings.HasPrefix(of("Namespace"), "AWS/") {
			continue
		}
		looked++
		there := slices.ContainsFunc(directive["Metrics"].([]any), func(m any) bool { return m.(object)["Name"] == of("MetricName") })
		dimensions, _ := alarm.Fields["Dimensions"].(cbor.List)
		if directive["Namespace"] != of("Namespace") || !there || len(dimensions) != 0 {
			t.Errorf("%s looks at %s of %s, which is not among %v", name, of("MetricName"), of("Namespace"), directive)
		}
	}
	if looked == 0 {
		t.Error("no alarm looks at what the router counts")
	}
	// What is set is heeded: sorted mail goes, and the fourth in an hour waits.
	if got := w.invoke(30*time.Second, told(keys[1]), told(keys[2]), told(other)); got != "" {
		t.Errorf("%q failed", got)
	}
	w.expect("flood", w.invoke(30*time.Second, told(keys[3])), "q0", "Deferred=1 Reads=1 FetchedBytes=2048")
	if got := w.keys(); slices.Contains(got, keys[0]) || !slices.Contains(got, keys[3]) || !slices.Contains(got, other) {
		t.Errorf("%q", got)
	}
}

// TestMailExpires routes under the policies in force, which the stand-in for AWS
// evaluates: what was sorted or refused carries the tag by which the bucket's
// lifecycle knows it, and no sealed key does.
func TestMailExpires(t *testing.T) {
	s, env := applied(t)
	key, err := s.Key("the-router")
	if err != nil {
		t.Fatal(err)
	}
	set, err := readSettings(append(environ(env), "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=x"))
	if err != nil {
		t.Fatal(err)
	}
	set.store.Endpoint, set.store.PathStyle = s.URL, true // the one thing that is not as at AWS
	if set.options.Store, err = s3mail.Open(set.store, set.creds); err != nil {
		t.Fatal(err)
	}
	h, err := set.handler(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	wallet := cloudtest.Wallet(1)
	put := func(id, to string) string {
		s.Objects["inbound/"+id] = mailstoretest.Mail{ID: id, Envelope: to, Shape: mailstoretest.Shapes[0]}.Bytes()
		return "inbound/" + id
	}
	good := put("m1", mailstoretest.Address(wallet))
	bad := put("m2", "or-0x12@"+mailstoretest.Domain)
	put("m3", "hello@"+mailstoretest.Domain)
	sealed := "bots/" + wallet.String() + "/credentials/openrouter.enc"
	s.Objects[sealed] = []byte("sealed")
	// A tag of somebody else's on what has arrived is not taken over, which would
	// take a permission that the role has not.
	s.ObjectTags[good] = "theirs=1"
	answer, err := h.Invoke(t.Context(), []byte(queued(notification(set.store.Bucket, good), notification(set.store.Bucket, bad), notification(set.store.Bucket, "inbound/m3"), notification(set.store.Bucket, "inbound/gone"))))
	if err != nil || failures(t, answer) != "" {
		t.Fatalf("%s, %v", answer, err)
	}
	want := map[string]int{"bots/" + wallet.String() + "/inbound/m1": 7, "refused/malformed-address/m2": 7, "inbound/m3": 7, "inbound/" + aws.SetupObject: 7}
	if got := s.Expires(); !maps.Equal(got, want) {
		t.Errorf("what expires: %v, want %v", got, want)
	}
	for k, tag := range s.ObjectTags {
		if tag != s3mail.Tag {
			t.Errorf("%s carries %s", k, tag)
		}
	}
	for k := range s.Objects {
		if want[k] == 0 && k != sealed {
			t.Errorf("%s stays for ever", k)
		}
	}
}
