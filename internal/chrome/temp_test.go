package chrome

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// longDir is a directory whose path leaves no room for a socket's.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(passableDir(t))
	for len(dir) < 120 {
		dir = filepath.Join(dir, strings.Repeat("d", 20))
		if err := os.Mkdir(dir, 0o711); err != nil { //nolint:gosec // Passing through is what it is for.
			t.Fatal(err)
		}
	}
	return dir
}

// tempOf is where the browser of a process has its temporary files.
func tempOf(t *testing.T, r *Browser) string {
	t.Helper()
	dir := r.profile.temp
	i, err := os.Stat(dir)
	if err != nil || i.Mode().Perm() != 0o700 || len(dir) > 40 {
		t.Errorf("temporary files are in %q: %v", dir, err)
	}
	uid := os.Getuid()
	if uid == 0 {
		uid = nobody
	}
	if err == nil && !isOf(i, uid) {
		t.Error("the directory for temporary files is somebody else's")
	}
	if sockets, _ := filepath.Glob(dir + "/*/SingletonSocket"); uid == os.Getuid() && len(sockets) == 0 {
		t.Error("the browser has its socket elsewhere")
	}
	return dir
}

func TestLongPath(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<p id=p>x`)
	t.Setenv("TMPDIR", longDir(t))
	r := launch(t, s, func(o *Options) { o.Dir = filepath.Join(longDir(t), "browser") })
	r.open(shop + "/")
	r.see("#p")
	dir := tempOf(t, r.Browser)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("temporary files stay: %v", err)
	}
}

// TestLongPathChild is no test: it is TestLongPathWithoutRoot's process.
func TestLongPathChild(t *testing.T) {
	dir := os.Getenv("CHROME_TEST_LONG")
	if dir == "" {
		t.Skip("run by TestLongPathWithoutRoot")
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Launch(context.Background(), Options{Hosts: []string{shop}, Site: netip.MustParseAddrPort(os.Getenv("CHROME_TEST_SITE")), CAPEM: ca, Dir: filepath.Join(dir, "browser")})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Page().Open(context.Background(), "https://"+shop+"/"); err != nil {
		t.Error(err)
	}
	tempOf(t, b)
	if os.Getenv("CHROME_TEST_DIE") != "" {
		fmt.Println("temp", b.profile.temp)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestLongPathWithoutRoot has a user who is not root launch the browser, and be
// killed; the next launch removes what that one left.
func TestLongPathWithoutRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("TestLongPath is that already")
	}
	s := newSite(t)
	s.page(shop+"/", `<p>x`)
	dir := longDir(t)
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), s.ca, 0o644); err != nil { //nolint:gosec // It is a certificate.
		t.Fatal(err)
	}
	// The program of the tests lies where root alone gets to.
	program := filepath.Join(dir, "program")
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755) //nolint:gosec // It is to be run.
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	child := func(die string) string {
		cmd := exec.Command(program, "-test.run=^TestLongPathChild$")
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "CHROME_TEST_LONG=" + dir, "CHROME_TEST_SITE=" + s.addr.String(), "CHROME_TEST_DIE=" + die}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		if (err != nil) != (die != "") {
			t.Fatalf("%v: %s", err, out)
		}
		_, temp, _ := strings.Cut(string(out), "temp ")
		return strings.TrimSpace(temp)
	}
	child("")
	left := child("yes")
	if _, err := os.Stat(left); left == "" || err != nil {
		t.Fatalf("a killed run left %q: %v", left, err)
	}
	child("")
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the next launch did not sweep: %v", err)
	}
}

// TestSweepRemovesOnlyOurs: what a lock file says is not believed beyond names
// of our own making.
func TestSweepRemovesOnlyOurs(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "ak-aaaaaaaaaaaaaaaa")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	inTemp, err := os.MkdirTemp(tempRoot, "ak-not-one-of-ours-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(inTemp) }()
	for _, says := range []string{victim, inTemp, "", "/", tempRoot, tempRoot + "/../etc", tempRoot + "/x/../ak-aaaaaaaaaaaaaaaa", "ak-aaaaaaaaaaaaaaaa"} {
		lock, err := os.CreateTemp(t.TempDir(), "lock")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = lock.WriteString(says)
		_, _ = lock.Seek(0, io.SeekStart)
		if got := remembered(lock); got != "" {
			t.Errorf("a lock file that says %q has %q removed", says, got)
		}
		_ = lock.Close()
	}
}
