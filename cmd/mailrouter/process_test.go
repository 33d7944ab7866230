package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/testsrv/lambda"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// program is the bootstrap as it is delivered, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mailrouter-test-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "lambda.norpc", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

var built string

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// line to a server, which may be cut: then connections are refused or, dead,
// accepted and never answered.
type forwarder struct {
	addr, to string
	mu       sync.Mutex
	cut      bool
	dead     bool
	open     []net.Conn
}

func newForwarder(t *testing.T, to string) *forwarder {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{addr: l.Addr().String(), to: to}
	t.Cleanup(func() { l.Close(); f.set(true, false) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f
}

func (f *forwarder) serve(c net.Conn) {
	defer c.Close()
	f.mu.Lock()
	cut, dead := f.cut, f.dead
	f.open = append(f.open, c)
	f.mu.Unlock()
	if cut {
		return
	}
	if dead {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	to, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer to.Close()
	go func() { _, _ = io.Copy(to, c); to.Close() }()
	_, _ = io.Copy(c, to)
}

// set also ends what is open.
func (f *forwarder) set(cut, dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.dead = cut, dead
	for _, c := range f.open {
		c.Close()
	}
	f.open = nil
}

// world is a cloud, a function's process in its role, and what stands around.
type world struct {
	*cloudtest.Cloud
	t       *testing.T
	wallets []agentkeys.Wallet
	s3      *forwarder
	api     *lambda.Runtime
	root    *s3.Client
	inboxes *s3mail.Bucket
	env     []string
	stdout  buffer
	log     string // of the last invocation
	stderr  buffer
	alive   context.Context // ends with the process
	n       int
}

func newWorld(t *testing.T, more ...string) *world {
	w := prepare(t)
	w.env = append(w.env, more...)
	w.start()
	return w
}

// prepare is a world without its process.
func prepare(t *testing.T) *world {
	w := &world{t: t, wallets: []agentkeys.Wallet{cloudtest.Wallet(1), cloudtest.Wallet(2)}}
	routers := cloudtest.Wallet(3) // has no mail; with its token the router's role is taken here
	w.Cloud = cloudtest.Start(t, w.wallets...)
	names := cloudtest.Names(cloudtest.Bucket)
	names.RouterRole, names.Mail.RemoveSource = "agentkeys-router", true
	if _, err := w.PutRole(t.Context(), versity.Role{Name: names.RouterRole, Trust: cloudtest.Trust(routers), Policy: string(cloudpolicy.RouterPermissions(names).Compact())}); err != nil {
		t.Fatal(err)
	}
	sessions := func(role string) *awssts.Sessions {
		s, err := awssts.New(awssts.Config{Region: versity.Region, Endpoint: w.STS, RoleARN: role}, w.Token)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	creds, err := sessions("arn:aws:iam::" + versity.Account + ":role/" + names.RouterRole).Credentials(routers).Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := s3mail.Config{Region: versity.Region, Bucket: cloudtest.Bucket, Endpoint: w.Endpoint, PathStyle: true, StreamCopies: true}
	if w.inboxes, err = s3mail.Open(config, s3mail.Credentials{Wallet: sessions(cloudtest.Roles).Credentials}); err != nil {
		t.Fatal(err)
	}
	w.root = w.S3(w.Root())
	w.s3 = newForwarder(t, strings.TrimPrefix(w.Endpoint, "http://"))
	if w.api, err = lambda.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.api.Close)
	w.env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + w.api.Addr, "AWS_REGION=" + versity.Region,
		"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey, "AWS_SESSION_TOKEN=" + creds.SessionToken,
		"AGENTKEYS_BUCKET=" + cloudtest.Bucket, "AGENTKEYS_MAIL_DOMAINS=" + mailstoretest.Domain, "AGENTKEYS_MAIL_TAGS=" + mailstoretest.Tag,
		"AGENTKEYS_S3_ENDPOINT=http://" + w.s3.addr, "AGENTKEYS_S3_COMPATIBLE=versitygw",
	}
	return w
}

func (w *world) start() {
	path, err := program()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, &w.stdout, &w.stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	alive, died := context.WithCancel(context.Background())
	w.alive = alive
	go func() { _ = cmd.Wait(); died() }()
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); <-alive.Done() })
}

// put stores a message as SES would, and returns its key.
func (w *world) put(mail mailstoretest.Mail) string {
	w.t.Helper()
	w.n++
	mail.ID = fmt.Sprint("mail", w.n)
	if mail.Shape.EOL == "" {
		mail.Shape = mailstoretest.Shapes[0]
	}
	key := "inbound/" + mail.ID
	if _, err := w.root.PutObject(w.t.Context(), &s3.PutObjectInput{Bucket: aws.String(cloudtest.Bucket), Key: &key, Body: bytes.NewReader(mail.Bytes())}); err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) keys() (all []string) {
	w.t.Helper()
	out, err := w.root.ListObjectsV2(w.t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(cloudtest.Bucket)})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range out.Contents {
		all = append(all, *o.Key)
	}
	return all
}

// invoke returns what a queue is told to have failed.
func (w *world) invoke(within time.Duration, bodies ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.alive, time.Minute)
	defer cancel()
	body, err := w.api.Invoke(ctx, []byte(queued(bodies...)), within)
	if err != nil {
		w.t.Fatalf("%v; %s", err, w.stderr.take())
	}
	w.read()
	return failures(w.t, body)
}

// alone is an invocation by no queue.
func (w *world) alone(within time.Duration, payload string) error {
	_, err := w.api.Invoke(w.alive, []byte(payload), within)
	w.read()
	return err
}

// read waits for the log of an invocation, which ends with its metrics: what
// the process wrote before it answered may be on its way.
func (w *world) read() {
	w.t.Helper()
	w.log = ""
	for range 1000 {
		w.log += w.stdout.take()
		if i := strings.LastIndex(w.log, `{"_aws"`); i >= 0 && strings.HasSuffix(w.log[i:], "\n") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("no metrics in the log: %s", w.log)
}

// inbox lists a wallet's mail with its own session.
func (w *world) inbox(n int) (all []string) {
	w.t.Helper()
	p, err := w.inboxes.List(w.t.Context(), w.wallets[n], agentkeys.MessageID{}, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range p.Items {
		data, err := w.inboxes.Fetch(w.t.Context(), w.wallets[n], i.ID, mailstore.MaxMessage)
		if err != nil || !bytes.Contains(data, []byte(i.ID.String())) {
			w.t.Errorf("%s: %d bytes, %v", i.ID, len(data), err)
		}
		all = append(all, "inbound/"+i.ID.String())
	}
	return all
}

func told(key string) string { return notification(cloudtest.Bucket, key) }

func (w *world) expect(what, failed, wantFailed, wantCounts string) {
	w.t.Helper()
	log := w.log
	if got := counts(w.t, log); failed != wantFailed || got != wantCounts {
		w.t.Errorf("%s: %q failed, want %q; %s, want %s", what, failed, wantFailed, got, wantCounts)
	}
	if strings.Contains(log, "sender.example") || strings.Contains(log, mailstoretest.Domain) {
		w.t.Errorf("%s: an address is in the log", what)
	}
}

// TestProcess runs the delivered program against a real S3 server, in the role
// that cloudpolicy writes for it.
func TestProcess(t *testing.T) {
	w := newWorld(t)
	a, b := mailstoretest.Address(w.wallets[0]), mailstoretest.Address(w.wallets[1])
	m1 := w.put(mailstoretest.Mail{Envelope: a})
	m2 := w.put(mailstoretest.Mail{To: b, Shape: mailstoretest.Shapes[7]})
	other := w.put(mailstoretest.Mail{Envelope: "hello@" + mailstoretest.Domain})
	odd := w.put(mailstoretest.Mail{Envelope: "or-0x12@" + mailstoretest.Domain})
	large := w.put(mailstoretest.Mail{Envelope: a, Size: 3 << 20})

	// A batch of everything, in which one part cannot be read and one message
	// is told of twice.
	bodies := []string{told(m1), told(m2), "hello", told(other), told(odd), told(large), told("inbound/gone"), told("bots/x/inbound/m"), told(m1)}
	failed := w.invoke(30*time.Second, bodies...)
	w.expect("first", failed, "q2", "Placed=3 Already=1 Ignored=2 Refused=1 Gone=1 Failed=1 Reads=7 FetchedBytes="+w.fetched())
	checkInboxes := func() {
		t.Helper()
		if got := w.inbox(0); !slices.Equal(got, []string{m1, large}) {
			t.Errorf("the first wallet has %q", got)
		}
		if got := w.inbox(1); !slices.Equal(got, []string{m2}) {
			t.Errorf("the second wallet has %q", got)
		}
	}
	checkInboxes()
	before := w.keys()
	if !slices.Contains(before, "refused/malformed-address/"+strings.TrimPrefix(odd, "inbound/")) || len(before) != 5+4 {
		t.Errorf("%q", before)
	}
	// The whole of it again.
	if got := w.invoke(30*time.Second, bodies...); got != "q2" {
		t.Errorf("%q failed", got)
	}
	checkInboxes()
	if got := w.keys(); !slices.Equal(got, before) {
		t.Errorf("%q", got)
	}

	// S3 goes away, and what comes meanwhile has to come again.
	m3 := w.put(mailstoretest.Mail{Envelope: b})
	w.s3.set(true, false)
	if got := w.invoke(2*time.Second, told(m3), told("bots/x")); got != "q0" {
		t.Errorf("%q failed without a store", got)
	}
	w.expect("outage", "", "", "Ignored=1 Deferred=1")
	f := new(lambda.Failure)
	if err := w.alone(2*time.Second, told(m3)); !errors.As(err, &f) {
		t.Errorf("without a queue: %v", err)
	}
	// It answers no more: the invocation ends before its time does.
	w.s3.set(false, true)
	if got := w.invoke(2*time.Second, told(m3), told("inbound/"+strings.Repeat("x", 128))); got != "q0 q1" {
		t.Errorf("%q failed with a dead store", got)
	}
	w.s3.set(false, false)
	if got := w.invoke(30*time.Second, told(m3)); got != "" {
		t.Errorf("%q failed with the store back", got)
	}
	w.expect("recovery", "", "", "Placed=1 Reads=1 FetchedBytes=2048")
	if got := w.inbox(1); !slices.Equal(got, []string{m2, m3}) {
		t.Errorf("the second wallet has %q", got)
	}
	if err := w.alone(30*time.Second, `{"hello":1}`); !errors.As(err, &f) || !strings.Contains(f.Message, "not an event") {
		t.Errorf("nonsense: %v", err)
	}
	if err := w.alone(30*time.Second, told(m3)); err != nil {
		t.Errorf("it lives: %v", err)
	}
}

// fetched sums what the entries of the log say.
func (w *world) fetched() string {
	sum := 0.0
	for _, l := range lines(w.t, w.log) {
		if l["op"] == opRoute {
			sum += l["fetched"].(float64)
		}
	}
	if sum < 5*2048 {
		w.t.Errorf("%v bytes were fetched", sum)
	}
	return fmt.Sprint(sum)
}

// TestProcessRemoves: sorted mail leaves inbound/ if that is wanted, and other
// mail stays.
func TestProcessRemoves(t *testing.T) {
	w := newWorld(t, "AGENTKEYS_REMOVE_SOURCE=true", "AGENTKEYS_WALLET_MESSAGES_PER_HOUR=2")
	a := mailstoretest.Address(w.wallets[0])
	m1, other := w.put(mailstoretest.Mail{Envelope: a}), w.put(mailstoretest.Mail{Envelope: "hello@" + mailstoretest.Domain})
	w.expect("removing", w.invoke(30*time.Second, told(m1), told(other)), "", "Placed=1 Ignored=1 Reads=2 FetchedBytes=4096")
	w.expect("again", w.invoke(30*time.Second, told(m1), told(other)), "", "Ignored=1 Gone=1 Reads=1 FetchedBytes=2048")
	if got := w.inbox(0); !slices.Equal(got, []string{m1}) {
		t.Errorf("the wallet has %q", got)
	}
	if got := w.keys(); slices.Contains(got, m1) || !slices.Contains(got, other) || len(got) != 2 {
		t.Errorf("%q", got)
	}
	// A flood is held back, and is not lost.
	m2, m3 := w.put(mailstoretest.Mail{Envelope: a}), w.put(mailstoretest.Mail{Envelope: a})
	if got := w.invoke(30*time.Second, told(m2), told(m3)); got != "q0" && got != "q1" {
		t.Errorf("%q failed", got)
	}
	w.expect("flood", "", "", "Placed=1 Deferred=1 Reads=2 FetchedBytes=4096")
	if left := w.keys(); len(left) != 4 { // other, m1 and one more placed, one waiting
		t.Errorf("%q", left)
	}
}

// TestProcessFaults: what is wrong is said before anything is done.
func TestProcessFaults(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = []string{"AGENTKEYS_BUCKETS=x", "AWS_SECRET_ACCESS_KEY=hunter2"}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "AGENTKEYS_BUCKETS: there is no such setting") || strings.Contains(string(out), "hunter2") {
		t.Errorf("%v: %s", err, out)
	}
}
