package s3mail_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
)

// apart is set in the process that serves the stand-in to a measurement, whose
// own time and memory it must not be part of.
const apart = "AGENTKEYS_TEST_STANDIN"

var sizes = map[string]int{"m-5KB": 5 << 10, "m-1MB": 1 << 20, "m-30MB": 30 << 20}

func TestMain(m *testing.M) {
	if os.Getenv(apart) == "" {
		os.Exit(m.Run())
	}
	s := &standIn{objects: map[string]object{}, forget: true}
	for name, size := range sizes {
		s.put("inbound/"+name, mailstoretest.Mail{Shape: mailstoretest.Shapes[0], ID: name, Envelope: mailstoretest.Address(wallet), Sender: "a@sender.example", Size: size}.Bytes())
	}
	s.listen()
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// serveApart starts the stand-in in a process of its own, and returns its
// address.
func serveApart(t testing.TB) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func benchBucket(t testing.TB, url string) *s3mail.Bucket {
	return open(t, s3mail.Config{Region: "eu-central-1", Bucket: bucket, Endpoint: url, PathStyle: true}, s3mail.Credentials{Router: static("router")})
}

// BenchmarkRoute is one message, from its event to its inbox: "route" all that
// the router does, "calls" its two calls of the store, and "hand" those two as
// somebody would write them for this alone. cpu-µs/op is this process's only.
func BenchmarkRoute(b *testing.B) {
	url := serveApart(b)
	store := benchBucket(b, url)
	hand := &byHand{url: url + "/" + bucket, id: "router", secret: "example", token: "example"}
	for _, name := range []string{"m-5KB", "m-1MB", "m-30MB"} {
		id := mid(name)
		b.Run("hand/"+name, func(b *testing.B) { measure(b, func() (int64, error) { return 2048, hand.route(name, wallet) }) })
		b.Run("calls/"+name, func(b *testing.B) {
			measure(b, func() (int64, error) {
				p, err := store.Read(context.Background(), id, 0, 2048, "")
				if err != nil {
					return 0, err
				}
				created, err := store.Place(context.Background(), id, p.Version, wallet)
				if err == nil && !created {
					err = fmt.Errorf("not created")
				}
				return int64(len(p.Data)), err
			})
		})
		b.Run("route/"+name, func(b *testing.B) {
			r, err := mailrouter.New(mailrouter.Options{Store: store, Rules: mailstoretest.Rules()})
			if err != nil {
				b.Fatal(err)
			}
			measure(b, func() (int64, error) {
				e, err := r.Handle(context.Background(), mailrouter.Event{ID: id})
				if err == nil && e.Outcome != mailrouter.Placed {
					err = fmt.Errorf("%s", e.Outcome)
				}
				return e.Fetched, err
			})
		})
	}
}

func measure(b *testing.B, route func() (int64, error)) {
	if _, err := route(); err != nil { // connections
		b.Fatal(err)
	}
	b.ReportAllocs()
	fetched := int64(0)
	before := cpu()
	for b.Loop() {
		n, err := route()
		if err != nil {
			b.Fatal(err)
		}
		fetched += n
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(fetched)/float64(b.N), "fetched-B/op")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// TestMemory: what routing takes does not grow with the message, of which the
// first 2,048 bytes are fetched.
func TestMemory(t *testing.T) {
	store := benchBucket(t, serveApart(t))
	r, err := mailrouter.New(mailrouter.Options{Store: store, Rules: mailstoretest.Rules()})
	if err != nil {
		t.Fatal(err)
	}
	const each = 20
	took := func(name string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range each {
			e, err := r.Handle(t.Context(), mailrouter.Event{ID: mid(name)})
			if err != nil || e.Outcome != mailrouter.Placed || e.Fetched != 2048 || e.Reads != 1 || e.Size != int64(sizes[name]) {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / each
	}
	took("m-1MB") // connections
	var small, large []uint64
	for range 5 {
		small, large = append(small, took("m-1MB")), append(large, took("m-30MB"))
	}
	slices.Sort(small)
	slices.Sort(large)
	t.Logf("%d bytes for 1 MiB, %d for 30 MiB", small[2], large[2])
	if float64(large[2]) > 1.1*float64(small[2]) {
		t.Errorf("%d bytes for 1 MiB, and %d for 30 MiB", small[2], large[2])
	}
}

// byHand is what somebody would write for these two calls without an SDK.
type byHand struct{ url, id, secret, token string }

var wire = s3wire()

func s3wire() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	return &http.Client{Transport: t}
}

func (h *byHand) route(name string, w agentkeys.Wallet) error {
	res, err := h.do("GET", "/inbound/"+name, "range", "bytes=0-2047")
	if err != nil {
		return err
	}
	head, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusPartialContent || len(head) != 2048 {
		return fmt.Errorf("%s: %d bytes, %w", res.Status, len(head), err)
	}
	res, err = h.do("PUT", "/bots/"+w.String()+"/inbound/"+name,
		"if-none-match", "*", "x-amz-copy-source", bucket+"/inbound/"+name, "x-amz-copy-source-if-match", res.Header.Get("ETag"))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "<CopyObjectResult") {
		return fmt.Errorf("%s: %s, %w", res.Status, body, err)
	}
	return nil
}

// do signs all headers given, in pairs, in the order of their names.
func (h *byHand) do(method, path string, headers ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, h.url+path, nil)
	if err != nil {
		return nil, err
	}
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	all := append([]string{"host", req.URL.Host, "x-amz-content-sha256", empty, "x-amz-date", stamp, "x-amz-security-token", h.token}, headers...)
	type pair struct{ k, v string }
	var pairs []pair
	for i := 0; i < len(all); i += 2 {
		pairs = append(pairs, pair{all[i], all[i+1]})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.k, b.k) })
	var lines, names strings.Builder
	for i, p := range pairs {
		lines.WriteString(p.k + ":" + p.v + "\n")
		if i > 0 {
			names.WriteByte(';')
		}
		names.WriteString(p.k)
		if p.k != "host" {
			req.Header.Set(p.k, p.v)
		}
	}
	canonical := method + "\n" + req.URL.EscapedPath() + "\n\n" + lines.String() + "\n" + names.String() + "\n" + empty
	scope := day + "/eu-central-1/s3/aws4_request"
	sum := sha256.Sum256([]byte(canonical))
	k := []byte("AWS4" + h.secret)
	for _, s := range []string{day, "eu-central-1", "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + hex.EncodeToString(sum[:])} {
		m := hmac.New(sha256.New, k)
		m.Write([]byte(s))
		k = m.Sum(nil)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+h.id+"/"+scope+", SignedHeaders="+names.String()+", Signature="+hex.EncodeToString(k))
	return wire.Do(req)
}
