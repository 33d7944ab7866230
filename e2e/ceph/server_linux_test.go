package ceph_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// account is a tenant of Ceph's, which stands where AWS has the account.
	account   = "123456789012"
	region    = "us-east-1"
	endpoint  = "http://127.0.0.1:8000"
	accessKey = "agentkeys-admin"
	secretKey = "agentkeys-admin-of-a-test"
)

const configuration = `[global]
fsid = 6b1ef9ee-5a0f-4c56-9d5e-000000000001
mon_initial_members = a
mon_host = 127.0.0.1
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = /etc/ceph/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 1073741824
log_to_stderr = true
log_file =

[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:8000
rgw_s3_auth_use_sts = true
rgw_sts_key = agentkeys-tests-
debug_rgw = 1
`

// cluster is Ceph in its chroot: one monitor, one OSD in memory, one gateway.
type cluster struct {
	root    string // of the chroot
	dir     string // of the logs
	version string
}

// private prepares what start needs: a loopback interface, and file systems in
// memory wherever Ceph writes, so that the chroot stays as it was made. It
// fails outside namespaces of the test's own, where mounts would last.
func private(t *testing.T, root string, ca []byte) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Name != "lo" {
		t.Fatal("AGENTKEYS_CEPH is set, and this is no network namespace of its own: run 'make test-ceph'")
	}
	if err := loopback(); err != nil {
		t.Fatalf("bring up lo: %v", err)
	}
	must := func(err error, what string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), "make mounts private")
	for _, d := range []string{"etc/ceph", "etc/ssl/certs", "run", "tmp", "var/lib/ceph", "var/log/ceph"} {
		d = filepath.Join(root, d)
		must(os.MkdirAll(d, 0o755), "make")
		must(unix.Mount("tmpfs", d, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""), "mount "+d)
	}
	must(unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""), "mount proc")
	for _, f := range []string{"null", "zero", "random", "urandom"} {
		at := filepath.Join(root, "dev", f)
		if _, err := os.Stat(at); err != nil {
			must(os.WriteFile(at, nil, 0o644), "make")
		}
		must(unix.Mount("/dev/"+f, at, "", unix.MS_BIND, ""), "mount "+at)
	}
	must(os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost "+issuerHost+"\n"), 0o644), "write hosts")
	must(os.WriteFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), ca, 0o644), "write the authority")
	must(os.WriteFile(filepath.Join(root, "etc/ceph/ceph.conf"), []byte(configuration), 0o644), "write ceph.conf")
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// start runs Ceph in the chroot until the test ends.
func start(t *testing.T, root string, ca []byte) *cluster {
	t.Helper()
	private(t, root, ca)
	c := &cluster{root: root, dir: t.TempDir()}
	c.version = strings.TrimSpace(c.run(t, "radosgw", "--version"))
	for _, d := range []string{"mon/ceph-a", "osd/ceph-0"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/ceph", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const fsid, osd = "6b1ef9ee-5a0f-4c56-9d5e-000000000001", "6b1ef9ee-5a0f-4c56-9d5e-000000000002"
	c.run(t, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", "[v2:127.0.0.1:3300,v1:127.0.0.1:6789]", "/tmp/monmap")
	for n, who := range [][]string{
		{"mon.", "mon", "allow *"},
		{"client.admin", "mon", "allow *", "osd", "allow *", "mgr", "allow *"},
		{"client.rgw", "mon", "allow rw", "osd", "allow rwx"},
		{"osd.0", "mon", "allow profile osd", "osd", "allow *"},
	} {
		args := []string{"/etc/ceph/keyring", "--gen-key", "-n", who[0]}
		if n == 0 {
			args = append(args, "--create-keyring")
		}
		for i := 1; i < len(who); i += 2 {
			args = append(args, "--cap", who[i], who[i+1])
		}
		c.run(t, "ceph-authtool", args...)
	}
	c.run(t, "ceph-mon", "--mkfs", "-i", "a", "--monmap", "/tmp/monmap", "--keyring", "/etc/ceph/keyring")
	c.daemon(t, "ceph-mon", "-f", "-i", "a")
	c.run(t, "ceph", "osd", "new", osd)
	c.run(t, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
	c.daemon(t, "ceph-osd", "-f", "-i", "0")
	c.daemon(t, "radosgw", "-f", "-n", "client.rgw")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		res, err := http.Get(endpoint)
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not come up: %v\n%s", err, c.log("radosgw"))
		}
	}
	c.run(t, "radosgw-admin", "-n", "client.rgw", "user", "create", "--tenant", account, "--uid", "admin", "--display-name", "admin",
		"--access-key", accessKey, "--secret-key", secretKey, "--caps", "roles=*;oidc-provider=*;user-policy=*")
	return c
}

func (c *cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/"+name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.root, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (c *cluster) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := c.command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, args[0], err, out.String(), errs.String())
	}
	return out.String()
}

// daemon is killed with the test: all it has is in memory.
func (c *cluster) daemon(t *testing.T, name string, args ...string) {
	t.Helper()
	f, err := os.Create(filepath.Join(c.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := c.command(context.WithoutCancel(t.Context()), name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		f.Close()
	})
}

// log is the end of what a daemon said.
func (c *cluster) log(name string) string {
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(b[max(0, len(b)-4000):])
}
