// Package postgres runs a real PostgreSQL server for tests, on a Unix socket
// and with fsync on, as another account where the test is root. Nothing is left
// of it when the test is over, however that ended.
//
// Servers of one test binary are shared, with a database for each test; tests
// that stop one or break it ask for one of their own.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/litentry/agentkeys/internal/secret"
)

const (
	patience = 60 * time.Second
	account  = "agentkeys"
)

// Server is a running server, or one that was stopped and may start again.
type Server struct {
	dir      string // has data, the socket and log.txt
	bin      string
	password string
	cred     *syscall.Credential
	janitor  *os.File // what the janitor reads: closed, it cleans up

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended

	databases atomic.Int64
}

var shared struct {
	once sync.Once
	s    *Server
	err  error
}

// Start returns a new database on the server that the tests of this binary
// share. The server ends with the binary.
func Start(t testing.TB) (dsn secret.Value, s *Server) {
	t.Helper()
	shared.once.Do(func() { shared.s, shared.err = launch() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.s.Database(t), shared.s
}

// Own returns a new database on a server of the test's own.
func Own(t testing.TB) (dsn secret.Value, s *Server) {
	t.Helper()
	s, err := launch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s.Database(t), s
}

// Database makes an empty database.
func (s *Server) Database(t testing.TB) secret.Value {
	t.Helper()
	name := fmt.Sprint("test", s.databases.Add(1))
	s.Exec(t, s.dsn("postgres"), "CREATE DATABASE "+name)
	return s.dsn(name)
}

// Exec executes a statement as the server's owner.
func (s *Server) Exec(t testing.TB, dsn secret.Value, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, string(dsn.Expose()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text); err != nil {
		t.Fatal(err)
	}
}

// Disconnect terminates what serves the connections to the database of dsn.
func (s *Server) Disconnect(t testing.TB, dsn secret.Value) {
	t.Helper()
	s.Exec(t, dsn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
}

// Kill ends the server and all of its processes by SIGKILL, as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		t.Fatal("the server is not running")
	}
	// Held first: a process that it makes meanwhile would live on, with the
	// shared memory.
	pid := s.cmd.Process.Pid
	_ = s.cmd.Process.Signal(syscall.SIGSTOP)
	for end := time.Now().Add(5 * time.Second); !held(pid) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	children := childrenOf(pid)
	_ = s.cmd.Process.Kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.done
	s.cmd = nil
}

// held reports whether a process is stopped.
func held(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "T")
}

// Run starts a server that was killed.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) dsn(database string) secret.Value {
	return secret.FromString(fmt.Sprintf("host=%s user=%s password=%s dbname=%s sslmode=disable", s.dir, account, s.password, database))
}

func launch() (_ *Server, err error) {
	s := &Server{password: rand.Text()}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	if s.cred, err = credential(); err != nil {
		return nil, err
	}
	parent := os.TempDir()
	if s.cred != nil || len(parent) > 40 {
		parent = "/tmp" // where the other account gets to; and sockets have short names
	}
	if s.dir, err = os.MkdirTemp(parent, "agentkeys-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password+"\n"), 0o600); err != nil {
		return nil, err
	}
	for _, path := range []string{s.dir, passwordFile} {
		if s.cred == nil {
			break
		}
		if err := os.Chown(path, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	if err := s.hireJanitor(); err != nil {
		return nil, err
	}
	init := s.command("initdb", "--pgdata="+s.data(), "--username="+account, "--auth=scram-sha-256",
		"--pwfile="+passwordFile, "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, s.run()
}

// hireJanitor starts a process that, when this one is gone, stops the server
// and removes its directory. Unlike a signal at the death of a parent, it does
// not depend on which thread started it, and it can clean up.
func (s *Server) hireJanitor() error {
	const script = `
cat >/dev/null
i=0
while [ $i -lt 100 ]; do
	pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
	if [ -n "$pid" ] && { [ ! -d /proc/self ] || [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; }; then
		kill -QUIT "$pid" 2>/dev/null
	fi
	rm -rf "$1" 2>/dev/null
	[ -e "$1/data" ] || exit 0
	sleep 0.1
	i=$((i+1))
done`
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	c := exec.Command("/bin/sh", "-c", script, "janitor", s.dir)
	c.Dir, c.Stdin, c.SysProcAttr = "/", r, &syscall.SysProcAttr{Setsid: true, Credential: s.cred}
	if err := c.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	go func() { _ = c.Wait() }()
	s.janitor = w
	return nil
}

func (s *Server) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.done
		s.cmd = nil
	}
	_ = os.RemoveAll(s.dir)
	if s.janitor != nil {
		_ = s.janitor.Close()
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, program), args...)
	c.Dir, c.Env = s.dir, []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.cred}
	return c
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("the server is running already")
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if s.cmd == nil {
			// After a kill the last of the old processes may be about to end.
			c := s.command("postgres", "-D", s.data(), "-k", s.dir, "-h", "",
				"-c", "shared_buffers=16MB", "-c", "max_connections=120", "-c", "max_wal_senders=0", "-c", "wal_level=minimal")
			c.Stdout, c.Stderr = log, log
			if err := c.Start(); err != nil {
				return err
			}
			done := make(chan struct{})
			go func() { _ = c.Wait(); close(done) }()
			s.cmd, s.done = c, done
		}
		err = s.answers()
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			s.cmd = nil
		default:
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, text)
		}
	}
}

func (s *Server) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, string(s.dsn("postgres").Expose()))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// programs returns the directory of initdb and postgres.
func programs() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(dirs)
	slices.Reverse(dirs)
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append([]string{filepath.Dir(path)}, dirs...)
		}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("this test needs PostgreSQL, and there is neither initdb in PATH nor /usr/lib/postgresql/*/bin: run `make setup`")
}

// credential returns who the server runs as: PostgreSQL refuses root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if uerr == nil && gerr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses root, and there is no account postgres or nobody to run it as: run the tests as another user")
}

// childrenOf returns the processes that pid started, where /proc says so; the
// others of a server end by themselves when its first is gone.
func childrenOf(pid int) (children []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (name) state ppid …, and the name may have spaces.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}
