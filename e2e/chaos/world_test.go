package chaos_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
	"github.com/litentry/agentkeys/internal/token"
)

// patience is how long anything may take that is not measured.
const patience = 60 * time.Second

// The audiences that tokens are asked for.
const (
	audienceES = "https://es.example.com"
	audienceRS = "https://rs.example.com"
)

// world is one installation: a signer, and replicas of one broker behind a
// front that sends each request to the replica that its client names.
type world struct {
	t        *testing.T
	dir      string
	origin   string
	signer   string // URL and audience
	pg       *postgres.Server
	dsn      secret.Value
	replicas []*replica

	ledger
	published
	figures

	// disturbed is odd while something is broken on purpose.
	disturbed atomic.Int64
	// beats counts those that were held against what was acknowledged.
	beats atomic.Int64
}

// replica is one broker process after the other at the same address.
type replica struct {
	w             *world
	name          string
	addr, metrics string
	life          atomic.Int64 // how often it was started or killed
	p             *process
	head          []byte // the last checkpoint of its log that was looked at
	next          int64  // the first entry of its log that was not
}

func (r *replica) config() string { return r.w.path("broker", r.name+".yaml") }
func (r *replica) audit() string  { return r.w.path("broker", "audit-"+r.name) }

// newWorld starts so many replicas over PostgreSQL, or one over SQLite.
func newWorld(t *testing.T, replicas int, shared bool) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "akx-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, dir: dir}
	w.ledger.init()
	w.published.init()
	addrs := freePorts(t, 2+2*replicas)
	w.signer = "https://" + addrs[0]
	for i := range replicas {
		w.replicas = append(w.replicas, &replica{w: w, name: strconv.Itoa(i), addr: addrs[2+2*i], metrics: addrs[3+2*i]})
	}
	state := "{sqlite: state.db}"
	if shared {
		w.dsn, w.pg = postgres.Own(t)
		w.write("broker/dsn", append(bytes.Clone(w.dsn.Expose()), '\n'))
		state = "{postgres: {dsn_file: dsn}}"
	}
	proxied := ""
	w.origin = "http://" + w.replicas[0].addr // or of the front
	if replicas > 1 {
		proxied = "behind_proxy: {trusted: [127.0.0.0/8]}"
		w.front()
	}
	w.install(addrs[0], addrs[1], state, proxied)
	signer := w.start("signer", "signer", "--config", w.path("signer/signer.yaml"))
	w.await("the signer", func() bool {
		select {
		case <-signer.done:
			t.Fatalf("the signer does not start: %s", &signer.said)
		default:
		}
		c, err := net.Dial("tcp", addrs[0])
		return err == nil && c.Close() == nil
	})
	for _, r := range w.replicas {
		r.start()
	}
	for _, r := range w.replicas {
		r.ready()
	}
	return w
}

// freePorts returns addresses on loopback that nobody listens on: not even a
// connection has one by chance while a replica is down.
func freePorts(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		port, err := ports.Take(t.Cleanup)
		must(t, err)
		addrs = append(addrs, fmt.Sprint("127.0.0.1:", port))
	}
	return addrs
}

// front serves the origin: the user agent names the replica.
func (w *world) front() {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	w.origin = "http://" + ln.Addr().String()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			i := 0
			if n, err := strconv.Atoi(strings.TrimPrefix(r.In.UserAgent(), "chaos/")); err == nil {
				i = n % len(w.replicas)
			}
			r.SetURL(&url.URL{Scheme: "http", Host: w.replicas[i].addr})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		// A request is sent once: what became of it is for the client to ask.
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	srv := &http.Server{Handler: proxy, ErrorLog: proxy.ErrorLog}
	go func() { _ = srv.Serve(ln) }()
	w.t.Cleanup(func() { _ = srv.Close() })
}

// install makes the keys and configurations of everybody.
func (w *world) install(signerAddr, signerMetrics, state, proxied string) {
	w.t.Helper()
	file := w.write("passphrase", []byte("an obviously fake passphrase\n"))
	w.ok("signer", "init", w.path("signer"), "--host", signerAddr, "--broker", "https://broker.test", "--passphrase-file", file)
	var made struct {
		Thumb string `json:"signer_client"`
	}
	must(w.t, json.Unmarshal(w.ok("broker", "init", w.path("broker"), "--origin", w.origin, "--json"), &made))
	yaml, err := os.ReadFile(w.path("signer/signer.yaml"))
	must(w.t, err)
	// Nobody has a key sealed here, so the signer need not believe the broker's
	// tokens, whose keys it would fetch over TLS alone.
	other, err := token.NewKey(token.ES256, time.Now())
	must(w.t, err)
	ring, err := token.NewRing([]token.Key{other}, 48*time.Hour)
	must(w.t, err)
	jwks, err := ring.JWKS(time.Now())
	must(w.t, err)
	text := strings.NewReplacer(
		"# jwks_file: jwks.json", "jwks_file: "+w.write("signer/jwks.json", jwks)+" #",
		"https://broker.test", w.origin, "listen: 0.0.0.0:8443", "listen: "+signerAddr, "127.0.0.1:9465", signerMetrics, "brokers: []", "brokers: ["+made.Thumb+"]",
	).Replace(string(yaml))
	w.write("signer/signer.yaml", []byte(text))
	for _, r := range w.replicas {
		w.write("broker/"+r.name+".yaml", fmt.Appendf(nil, `
origin: %s
listen: %s
metrics_listen: %s
%s
keys: keys
audit: audit-%s
state: %s
signer: {url: %q, ca_file: %s, key_file: signer-client.key}
audiences: [{name: %q}, {name: %q, alg: RS256}]
logins: {wallet: {}}
limits: {requests_per_second: 1000000, burst: 1000000, logins_per_hour: 1000000}
`, w.origin, r.addr, r.metrics, proxied, r.name, state, w.signer, w.path("signer/server.crt"), audienceES, audienceRS))
	}
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := w.path(name)
	must(w.t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(w.t, os.WriteFile(path, data, 0o600))
	return path
}

func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"HOME=" + w.dir, "AGENTKEYS_HOME=" + w.path("ak"), "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TMPDIR=" + w.dir}
	return cmd
}

// ok runs a command that must succeed.
func (w *world) ok(args ...string) []byte {
	w.t.Helper()
	var said bytes.Buffer
	cmd := w.command(args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		w.t.Errorf("agentkeys %s: %v\n%s", strings.Join(args, " "), err, &said)
	}
	return out
}

// await waits until ok.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// process is a program that runs until it is stopped, or the test ends.
type process struct {
	cmd  *exec.Cmd
	said said
	done chan struct{}
}

// said is the end of what a program prints.
type said struct {
	mu    sync.Mutex
	text  []byte
	fresh []byte // what nobody has looked at
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.fresh = append(s.text, b...), append(s.fresh, b...)
	if len(s.text) > 1<<20 {
		s.text = slices.Clone(s.text[len(s.text)-1<<19:])
	}
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text[max(0, len(s.text)-8<<10):])
}

// faults are the lines since the last call in which a service says that
// something is wrong.
func (s *said) faults() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(s.fresh)) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, "panic") || strings.Contains(line, "fatal error") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	s.fresh = nil
	return lines
}

func (w *world) start(name string, args ...string) *process {
	w.t.Helper()
	p := &process{cmd: w.command(args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(w.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if w.t.Failed() {
			w.t.Logf("%s, process %d, printed at last:\n%s", name, p.cmd.Process.Pid, &p.said)
		}
	})
	return p
}

// stop signals the process and waits for its end.
func (p *process) stop(sig syscall.Signal) {
	select {
	case <-p.done:
		return // the number may be somebody else's by now
	default:
	}
	_ = p.cmd.Process.Signal(sig)
	<-p.done
}

func (r *replica) start() {
	r.w.t.Helper()
	r.life.Add(1)
	r.p = r.w.start("broker "+r.name, "broker", "--config", r.config())
}

func (r *replica) kill() {
	r.life.Add(1)
	r.p.stop(syscall.SIGKILL)
	r.w.listen(r.p)
}

// listen looks at what a broker has printed: it may complain of what was
// broken, and not of itself.
func (w *world) listen(p *process) {
	w.t.Helper()
	for _, line := range p.said.faults() {
		w.errors.add("log: " + message(line))
		if strings.Contains(line, "panic") || strings.Contains(line, "fatal error") {
			w.t.Errorf("a broker says: %s", line)
		}
	}
}

func message(line string) string {
	var l struct {
		Msg string `json:"msg"`
		Err string `json:"err"`
	}
	if json.Unmarshal([]byte(line), &l) != nil {
		return line
	}
	return l.Msg + " " + l.Err
}

var once = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

func (r *replica) isReady() bool {
	res, err := once.Get("http://" + r.metrics + "/readyz")
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

// ready waits until the replica says that it is.
func (r *replica) ready() {
	r.w.t.Helper()
	r.w.await("broker "+r.name, func() bool {
		select {
		case <-r.p.done:
			r.w.t.Fatalf("broker %s does not start: %s", r.name, &r.p.said)
		default:
		}
		return r.isReady()
	})
}
