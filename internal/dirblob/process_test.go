package dirblob

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

type syncCounter struct{ n atomic.Int64 }

func (c *syncCounter) odd() bool { return c.n.Add(1)%2 == 1 }

const (
	roleVar = "DIRBLOB_TEST_ROLE"
	dirVar  = "DIRBLOB_TEST_DIR"
)

// TestMain lets this binary be the other process of a test.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](os.Getenv(dirVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func(dir string) error{
	"count": countUp, "create": createAll, "store": storeForEver, "limited": withSizeLimit,
}

type process struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func child(t *testing.T, role, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	// The race detector waits a second at exit otherwise.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVar+"="+role, dirVar+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &process{cmd, bufio.NewScanner(out)}
}

func (p *process) lines() (all []string) {
	for p.out.Scan() {
		all = append(all, p.out.Text())
	}
	return all
}

func (p *process) wait(t *testing.T) (lines []string) {
	t.Helper()
	lines = p.lines()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%v: %v", p.cmd.Env[len(p.cmd.Env)-2], err)
	}
	return lines
}

const each = 60

func countUp(dir string) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	for range each {
		if err := vaulttest.Increment(context.Background(), d, key); err != nil {
			return err
		}
	}
	return nil
}

// createAll tries to create the same keys as everybody else, and prints those
// that it was the one to create.
func createAll(dir string) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	for i := range each {
		k := vaulttest.Key(2, fmt.Sprint("k", i))
		_, err := d.Put(context.Background(), k, []byte("x"), vault.Create())
		if err == nil {
			fmt.Println(k)
		} else if !errors.Is(err, vault.ErrConflict) {
			return err
		}
	}
	return nil
}

// TestProcesses lets three processes and this one count up one object and race
// to create others.
func TestProcesses(t *testing.T) {
	d := open(t)
	put(t, d, key, "0", vault.Create())
	var counting, creating []*process
	for range 3 {
		counting = append(counting, child(t, "count", d.t.root))
		creating = append(creating, child(t, "create", d.t.root))
	}
	if err := countUp(d.t.root); err != nil {
		t.Error(err)
	}
	for _, p := range counting {
		p.wait(t)
	}
	winners := map[string]int{}
	for _, p := range creating {
		for _, k := range p.wait(t) {
			winners[k]++
		}
	}
	data, _, err := d.Get(t.Context(), key)
	if err != nil || string(data) != strconv.Itoa(4*each) {
		t.Errorf("counted %s, %v, want %d", data, err, 4*each)
	}
	for k, n := range winners {
		if n != 1 {
			t.Errorf("%d processes created %s", n, k)
		}
	}
	if len(winners) != each {
		t.Errorf("%d keys were created, want %d", len(winners), each)
	}
}

type silent struct{}

func (silent) Record(context.Context, grant.Event) error { return nil }
func (silent) Note(grant.Event) error                    { return nil }

func permit(a grant.Action) grant.Permit {
	d := grant.NewDecider(grant.NewLedger(), silent{})
	p, err := d.Own(context.Background(), a, key.Wallet(), key.Service(), grant.Event{Time: time.Unix(1, 0), Op: "test"})
	if err != nil {
		panic(err)
	}
	return p
}

// openVault opens a whole vault below dir.
func openVault(dir string) (*vault.Vault, error) {
	k, err := signer.RandomKey(secret.New(make([]byte, 32)))
	if err != nil {
		return nil, err
	}
	roots, err := signer.OpenFile(filepath.Join(dir, "roots.age"), k)
	if err != nil {
		return nil, err
	}
	d, err := Open(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	m, err := OpenMarks(filepath.Join(dir, "marks"))
	if err != nil {
		return nil, err
	}
	return vault.New(d, signer.New(roots), m), nil
}

// storeForEver stores, and now and then deletes, and prints what was
// acknowledged, until it is killed.
func storeForEver(dir string) error {
	v, err := openVault(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := 0; ; i++ {
		if i%5 == 4 {
			if err := v.Delete(ctx, permit(grant.ActDelete)); err != nil {
				return err
			}
			fmt.Println("deleted")
			continue
		}
		s := fmt.Sprint(os.Getpid(), "-", i)
		rec := envelope.Record{Secret: secret.FromString(s), Kind: "api-key", Route: "import"}
		if _, err := v.Store(ctx, permit(grant.ActStore), rec); err != nil {
			return err
		}
		fmt.Println(s)
	}
}

// TestKill kills a process that stores and deletes, again and again: what it
// acknowledged is there, or what it was about to do next, and no false alarm.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	k, err := signer.RandomKey(secret.New(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.CreateFile(filepath.Join(dir, "roots.age"), signer.NewRoots(), k); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for range 20 {
		p := child(t, "store", dir)
		if !p.out.Scan() {
			t.Fatal("the process stored nothing")
		}
		first := p.out.Text()
		time.Sleep(rand.N(20 * time.Millisecond))
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		acks := append([]string{first}, p.lines()...)
		_ = p.cmd.Wait()
		acknowledged += len(acks)

		v, err := openVault(dir)
		if err != nil {
			t.Fatal(err)
		}
		rec, _, err := v.Load(t.Context(), permit(grant.ActReveal))
		got := string(rec.Secret.Expose())
		if errors.Is(err, vault.ErrNotFound) {
			got, err = "deleted", nil
		}
		last := acks[len(acks)-1]
		if err != nil || got != last && got != after(acks) {
			t.Fatalf("acknowledged %s, read %q, %v", last, got, err)
		}
	}
	t.Log(acknowledged, "acknowledged")
}

// after is what storeForEver does after the lines it printed.
func after(acks []string) string {
	n := len(acks)
	if n%5 == 4 {
		return "deleted"
	}
	pid, _, _ := strings.Cut(acks[0], "-")
	return fmt.Sprint(pid, "-", n)
}

func withSizeLimit(dir string) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	v, err := d.Put(context.Background(), key, []byte("old"), vault.Create())
	if err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1000, Max: 1000}); err != nil {
		return err
	}
	if _, err := d.Put(context.Background(), key, make([]byte, 5000), vault.Replace(v)); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("replace: %w", err)
	}
	data, _, err := d.Get(context.Background(), key)
	if err != nil || string(data) != "old" {
		return fmt.Errorf("%q %w", data, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "bots", "*", "credentials", "*"))
	if err != nil || len(left) != 1 {
		return fmt.Errorf("%v %w", left, err)
	}
	return nil
}
