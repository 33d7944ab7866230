// Package versity starts a real S3 and STS that nobody here wrote, VersityGW
// 1.8.0: its IAM service, which speaks AssumeRoleWithWebIdentity against an
// OIDC issuer of ours, and its gateway, which enforces the policies of the
// session's role. It serves tests only, and depends on no other package of
// AgentKeys, nor on testing.
//
// The IAM service fetches an issuer's keys from public addresses only. So it
// runs in a network namespace of its own, where 198.51.100.7 (TEST-NET-2) is
// on the loopback interface, and in a mount namespace where /etc/hosts gives
// that address the issuer's name. A thread of this process enters both
// namespaces and stays: it makes the issuer's listening socket there, which the
// whole process may then serve, and starts the IAM service there. Nothing
// outside is changed and everything goes away with the process. It takes root
// (CAP_SYS_ADMIN) on Linux, and no program but mount namespaces' own system
// calls: neither iproute2 nor a helper.
//
// The gateway runs outside, on 127.0.0.1; STS and IAM are reached through a
// Unix socket, which needs no namespace, and a forwarder on 127.0.0.1.
//
// What this server cannot express, so what no test here shows; rendered
// documents, their evaluator and `cloud verify` stand for it:
//
//   - Session tags. It ignores the claim https://aws.amazon.com/tags, so that a
//     token without the tag gets a session here, if its subject is right;
//     sts:TagSession and aws:RequestTag are never there, and aws:PrincipalTag is
//     the tags of the role. So each wallet has its own role here, which trusts
//     that wallet's subject alone.
//   - ${aws:PrincipalTag/…} in a Resource or a condition: it stays as it is.
//   - Short times: a web identity token may be 5 minutes over, as on AWS, and a
//     session lasts 900 s at least.
//   - aws:SourceArn and aws:SourceAccount of SES, and Lambda.
//
// Its own faults that shape what may be tested: a conditional DeleteObject is
// checked and then done, not both at once, and answers 204 where there is no
// object, where AWS says 404; in a bucket with versions a deleted object still
// counts for If-Match and If-None-Match; STS gets slower with each session that
// it has given and throttles after some hundreds.
package versity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

const (
	// IssuerHost is the name of the issuer, known to the IAM service alone.
	IssuerHost = "issuer.agentkeys.test"
	// IssuerURL is what tokens must have as iss, and the discovery document as
	// issuer.
	IssuerURL = "https://" + IssuerHost
	// Account is the account of every ARN.
	Account = "000000000000"
	// Region is what requests are signed for.
	Region = "us-east-1"

	issuerIP = "198.51.100.7"
)

// Options say what a Server is.
type Options struct {
	// Issuer answers what is asked at IssuerURL: the discovery document and the
	// keys. It is served over TLS under an authority made for this Server.
	Issuer http.Handler
	// Log is told what there is to wait for, such as the build of the program;
	// nil writes it to os.Stderr. What the servers say is in the error of a start
	// that failed.
	Log func(string)
}

// Server is a running VersityGW. Any number of goroutines may use it.
type Server struct {
	// Endpoint of S3, with path-style addresses, and of STS and IAM.
	Endpoint, STS string

	root   aws.CredentialsProvider
	ca     []byte // the issuer's authority, DER
	dir    string
	ns     *namespace
	stop   []func()
	closed sync.Once

	mu    sync.Mutex
	procs []*exec.Cmd
	exits []chan struct{}
}

// TB is what Start wants of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
	Logf(string, ...any)
}

// Start is New for one test, which it fails if there is no server.
func Start(t TB, o Options) *Server {
	t.Helper()
	s, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// New starts a server with an empty store in a directory of its own. The first
// time on a machine it builds the program, which takes some minutes.
func New(ctx context.Context, o Options) (_ *Server, err error) {
	if o.Issuer == nil {
		return nil, errors.New("versity: no issuer")
	}
	program, err := Program(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "versity-") // short: sockets have 108 bytes for a name
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, d := range []string{"iam", "s3", "versions"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := attributes(filepath.Join(dir, "s3")); err != nil {
		return nil, err
	}
	id, secret := "ROOT"+random(8), random(20)
	s.root = credentials.NewStaticCredentialsProvider(id, secret, "")
	env := []string{"ROOT_ACCESS_KEY_ID=" + id, "ROOT_SECRET_ACCESS_KEY=" + secret, "PATH=" + os.Getenv("PATH"), "HOME=" + dir}

	if s.ns, err = enter(filepath.Join(dir, "hosts")); err != nil {
		return nil, err
	}
	if err := s.serveIssuer(o.Issuer); err != nil {
		return nil, err
	}
	socket, private := filepath.Join(dir, "sts.sock"), filepath.Join(dir, "private.sock")
	cmd := exec.Command(program, "--port", socket, "--health", "/healthz", "--region", Region, "--quiet", "iam",
		"--dir", filepath.Join(dir, "iam"), "--private-ports", private, "--disable-oidc-thumbprint-autofetch")
	cmd.Env = append(env, "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"), "SSL_CERT_DIR=/nonexistent")
	if err := s.start(ctx, cmd, "iam", true, unixProbe(socket)); err != nil {
		return nil, err
	}
	if s.STS, err = s.forward(socket); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		addr, err := freePort()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(program, "--port", addr, "--health", "/healthz", "--region", Region, "--quiet", "--keep-alive",
			"--iam-standalone-endpoint", private, "posix", "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "s3"))
		cmd.Env = env
		err = s.start(ctx, cmd, fmt.Sprint("gateway-", try), false, tcpProbe(addr))
		if err == nil {
			s.Endpoint = "http://" + addr
			return s, nil
		}
		if try == 3 { // somebody may have taken the port meanwhile, but not for ever
			return nil, err
		}
	}
}

// Root is the administrator, whom no policy restrains.
func (s *Server) Root() aws.CredentialsProvider { return s.root }

// Close ends the servers and removes what they stored.
func (s *Server) Close() {
	s.closed.Do(func() {
		for _, f := range s.stop {
			f()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, p := range s.procs {
			_ = p.Process.Kill()
			<-s.exits[i]
		}
		if s.ns != nil {
			s.ns.leave()
		}
		_ = os.RemoveAll(s.dir)
	})
}

// start runs cmd until probe succeeds.
func (s *Server) start(ctx context.Context, cmd *exec.Cmd, name string, inside bool, probe func() bool) error {
	log := filepath.Join(s.dir, name+".log")
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, s.dir
	run := func(f func() error) error { return s.ns.do(f) } // the thread also outlives its caller's, for the death signal
	if !inside {
		run = func(f func() error) error { return s.ns.outside(f) }
	}
	dieWithParent(cmd)
	if err := run(cmd.Start); err != nil {
		return fmt.Errorf("versity: %w", err)
	}
	exit := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exit)
	}()
	s.mu.Lock()
	s.procs, s.exits = append(s.procs, cmd), append(s.exits, exit)
	s.mu.Unlock()

	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case <-exit:
			return fmt.Errorf("versity: %s ended: %s", name, tail(log))
		case <-deadline.C:
			return fmt.Errorf("versity: %s is not up after 30 s: %s", name, tail(log))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
			if probe() {
				select {
				case <-exit: // somebody else answered
				default:
					return nil
				}
			}
		}
	}
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// forward listens on 127.0.0.1 for what listens on a Unix socket.
func (s *Server) forward(socket string) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.stop = append(s.stop, func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go join(c.(*net.TCPConn), socket)
		}
	}()
	return "http://" + l.Addr().String(), nil
}

func join(c *net.TCPConn, socket string) {
	defer c.Close()
	d, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return
	}
	defer d.Close()
	go func() {
		_, _ = io.Copy(d, c)
		_ = d.CloseWrite()
	}()
	_, _ = io.Copy(c, d)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func tcpProbe(addr string) func() bool {
	return probe(func() (net.Conn, error) { return net.Dial("tcp", addr) })
}

func unixProbe(socket string) func() bool {
	return probe(func() (net.Conn, error) { return net.Dial("unix", socket) })
}

func probe(dial func() (net.Conn, error)) func() bool {
	c := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return dial() },
	}}
	return func() bool {
		res, err := c.Get("http://versity/healthz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	}
}

// ErrNamespace: this process may not make namespaces.
var ErrNamespace = errors.New("versity: no network and mount namespace can be made: run the tests as root on Linux, or under `unshare --map-root-user --net --mount`")

func namespaceError(what string, err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%w (%s: %w)", ErrNamespace, what, err)
	}
	return fmt.Errorf("versity: %s: %w", what, err)
}
