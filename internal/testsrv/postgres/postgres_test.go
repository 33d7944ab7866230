package postgres

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/litentry/agentkeys/internal/secret"
)

const roleVar = "POSTGRES_TEST_ROLE"

// TestMain lets this binary be one that is killed.
func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		s, err := launch()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.dir)
		select {}
	}
	os.Exit(m.Run())
}

func query(t *testing.T, dsn secret.Value, text string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), string(dsn.Expose()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), text).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestDatabasesAreApart(t *testing.T) {
	a, s := Start(t)
	b, again := Start(t)
	if s != again {
		t.Error("two servers in one binary")
	}
	s.Exec(t, a, "CREATE TABLE mine ()")
	s.Exec(t, b, "CREATE TABLE mine ()")
	if got := query(t, a, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
}

func TestKill(t *testing.T) {
	dsn, s := Own(t)
	s.Exec(t, dsn, "CREATE TABLE kept AS SELECT 'yes' AS it")
	s.Kill(t)
	if conn, err := pgx.Connect(t.Context(), string(dsn.Expose())); err == nil {
		conn.Close(t.Context())
		t.Error("a killed server answers")
	}
	s.Run(t)
	if got := query(t, dsn, "SELECT it FROM kept"); got != "yes" {
		t.Errorf("%q", got)
	}
}

// TestNothingIsLeft kills a test binary that has a server.
func TestNothingIsLeft(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVar+"=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	dir, err := bufio.NewReader(out).ReadString('\n')
	dir = strings.TrimSpace(dir)
	if err != nil || !strings.HasPrefix(dir, "/") {
		more, _ := io.ReadAll(out)
		t.Fatalf("%s%s", dir, more)
	}
	pid, err := os.ReadFile(dir + "/data/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(pid), "\n")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, derr := os.Stat(dir)
		_, perr := os.Stat("/proc/" + first)
		if os.IsNotExist(derr) && os.IsNotExist(perr) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left: %s (%v), process %s (%v)", dir, derr, first, perr)
		}
	}
}
