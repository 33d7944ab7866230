package pgstate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
)

var _ broker.State = (*State)(nil)

// shows reports what of a DSN an error shows.
func shows(err error, dsn string) []string {
	var seen []string
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, part := range append(strings.FieldsFunc(dsn, func(r rune) bool { return strings.ContainsRune(" =:/@?&", r) }), dsn) {
			if len(part) > 9 && part != "verify-full" && strings.Contains(text, part) {
				seen = append(seen, part)
			}
		}
	}
	return seen
}

// TestDSNIsNeverShown: whatever goes wrong, no error has the password, nor the
// names in the address.
func TestDSNIsNeverShown(t *testing.T) {
	good, _ := postgres.Start(t)
	socket, _, _ := strings.Cut(strings.TrimPrefix(string(good.Expose()), "host="), " ")
	const pass, who = "canary-password-0123456789", "canary-user-0123456789"
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := nobody.Addr().(*net.TCPAddr)
	nobody.Close()
	for name, c := range map[string]struct {
		dsn  string
		want error
	}{
		"empty port":        {"postgres://" + who + ":" + pass + "@host:port/db", ErrAddress},
		"no address at all": {pass, ErrAddress},
		"odd escape":        {"postgres://" + who + ":" + pass + "%zz@host/db", ErrAddress},
		"odd setting":       {"host=x user=" + who + " password=" + pass + " pool_max_conns=" + pass, ErrAddress},
		"odd sslmode":       {"host=x user=" + who + " password=" + pass + " sslmode=canary-sslmode", ErrAddress},
		"no such file":      {"host=x user=" + who + " password=" + pass + " sslmode=verify-full sslrootcert=/nonexistent/canary-file", ErrAddress},
		"unclosed quote":    {"host=x user=" + who + " password='" + pass, ErrAddress},
		"no word on TLS":    {"postgres://" + who + ":" + pass + "@canary-host.invalid/canary-database", ErrAddress},
		"nor here":          {"host=192.0.2.1 user=" + who + " password=" + pass, ErrAddress},
		"second host":       {"host=localhost,192.0.2.1 user=" + who + " password=" + pass, ErrAddress},
		"prefers TLS":       {"host=192.0.2.1 sslmode=prefer user=" + who + " password=" + pass, ErrAddress},
		"a name like it":    {"host=192.0.2.1 application_name=sslmode user=" + who + " password=" + pass, ErrAddress},
		"wrong password":    {"host=" + socket + " user=agentkeys dbname=postgres password=" + pass, ErrUnreachable},
		"wrong user":        {"host=" + socket + " user=" + who + " dbname=postgres password=" + pass, ErrUnreachable},
		"wrong database":    {strings.Replace(string(good.Expose()), "dbname=", "dbname=canary-database-", 1), ErrUnreachable},
		"nobody listens":    {fmt.Sprintf("postgres://%s:%s@%s/canary-database", who, pass, closed), ErrUnreachable},
		"no such socket":    {"host=/nonexistent-canary-dir user=" + who + " password=" + pass, ErrUnreachable},
	} {
		s, err := Open(t.Context(), secret.FromString(c.dsn), time.Now)
		if s != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		if seen := shows(err, c.dsn); len(seen) > 0 {
			t.Errorf("%s: %q shows %q", name, err, seen)
		}
	}
}

// TestDSNIsNotShownLater: also the errors of calls whose server went away.
func TestDSNIsNotShownLater(t *testing.T) {
	dsn, server := postgres.Own(t)
	s := open(t, dsn)
	server.Kill(t)
	ctx := t.Context()
	_, gerr := s.Get(ctx, broker.Key{Kind: "a", Name: "b"})
	_, aerr := s.Apply(ctx, broker.Change{Writes: []broker.Write{{Key: broker.Key{Kind: "a", Name: "b"}}}})
	_, lerr := s.Last(ctx)
	for what, err := range map[string]error{"get": gerr, "apply": aerr, "last": lerr, "ping": s.Ping(ctx), "sweep": s.Sweep(ctx)} {
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v, want %v", what, err, ErrUnreachable)
			continue
		}
		if seen := shows(err, string(dsn.Expose())); len(seen) > 0 {
			t.Errorf("%s: %q shows %q", what, err, seen)
		}
	}
	server.Run(t)
	if err := s.Ping(ctx); err != nil {
		t.Errorf("after the server is back: %v", err)
	}
}

// TestManyStartAtOnce: replicas that start at once on an empty database make
// one set of tables.
func TestManyStartAtOnce(t *testing.T) {
	dsn, _ := postgres.Start(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), dsn, time.Now)
			if err != nil {
				t.Errorf("replica %d: %v", i, err)
				return
			}
			defer s.Close()
			if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: fmt.Sprint(i)}}}); err != nil {
				t.Errorf("replica %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if events, err := open(t, dsn).Events(t.Context(), 0, 100); err != nil || len(events) != 8 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestNewer(t *testing.T) {
	dsn, server := postgres.Start(t)
	s := open(t, dsn)
	server.Exec(t, dsn, `INSERT INTO state_migrations (version_id, is_applied) VALUES (99, true)`)
	for range 2 {
		if _, err := Open(t.Context(), dsn, time.Now); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%v, want %v", err, ErrNewer)
		}
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the one that runs: %v", err)
	}
}

// TestUnsafeServer: a server that acknowledges what it may lose is refused, and
// a database that is set so is overruled.
func TestUnsafeServer(t *testing.T) {
	dsn, server := postgres.Own(t)
	name := string(dsn.Expose()[strings.Index(string(dsn.Expose()), "dbname=")+len("dbname="):])
	name, _, _ = strings.Cut(name, " ")
	for _, text := range []string{"synchronous_commit = off", "default_transaction_isolation = serializable"} {
		server.Exec(t, dsn, "ALTER DATABASE "+name+" SET "+text)
	}
	s := open(t, dsn)
	var commit, idle string
	if err := s.pool.QueryRow(t.Context(), `SELECT current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')`).Scan(&commit, &idle); err != nil || commit != "on" || idle != idleInChange {
		t.Errorf("synchronous_commit is %s, and a change may be idle for %s, %v", commit, idle, err)
	}
	if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: "a"}}}); err != nil {
		t.Error(err)
	}
	server.Exec(t, dsn, `ALTER SYSTEM SET fsync = off`)
	server.Exec(t, dsn, `SELECT pg_reload_conf()`)
	for end := time.Now().Add(enough); ; time.Sleep(10 * time.Millisecond) {
		s, err := Open(t.Context(), dsn, time.Now)
		if err == nil {
			s.Close() // the server has not read its settings yet
		} else if errors.Is(err, ErrUnsafe) && strings.Contains(err.Error(), "fsync") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("fsync is off: %v, want %v", err, ErrUnsafe)
		}
	}
}

// TestTLS: what is demanded of TLS, and a machine's own servers, pass.
func TestTLS(t *testing.T) {
	for dsn, want := range map[string]bool{
		"host=192.0.2.1 sslmode=verify-full":           false,
		"host=192.0.2.1,192.0.2.2 sslmode=verify-full": false,
		"host=192.0.2.1 sslmode=disable":               false,
		"host=localhost":                               false,
		"host=/tmp":                                    false,
		"host=/tmp,192.0.2.1":                          true,
		"host=192.0.2.1,/tmp":                          true,
		"host=192.0.2.1 sslmode=allow":                 true,
	} {
		c, err := pgx.ParseConfig(dsn + " user=u dbname=d")
		if err != nil || loose(c) != want {
			t.Errorf("%s: %v, want %t", dsn, err, want)
		}
	}
}

// TestStandby: a server that only follows another is refused, at the start and
// later.
func TestStandby(t *testing.T) {
	dsn, server := postgres.Own(t)
	s := open(t, dsn)
	server.Exec(t, dsn, `CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'`)
	server.Exec(t, dsn, `DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET search_path = public, pg_catalog'; END $$`)
	s.pool.Reset()
	if _, err := s.Last(t.Context()); !errors.Is(err, ErrStandby) {
		t.Errorf("later: %v", err)
	}
	for _, dsn := range []string{string(dsn.Expose()), string(dsn.Expose()) + " target_session_attrs=any"} {
		if _, err := Open(t.Context(), secret.FromString(dsn), time.Now); !errors.Is(err, ErrStandby) {
			t.Errorf("at the start: %v", err)
		}
	}
}

// TestReadOnly: what takes no changes says so when asked.
func TestReadOnly(t *testing.T) {
	dsn, server := postgres.Start(t)
	s := open(t, dsn)
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	server.Exec(t, dsn, `DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$`)
	s.pool.Reset()
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("ping: %v", err)
	}
	if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: "a"}}}); err == nil {
		t.Error("a change was made")
	}
}

// TestWaitWithoutWord: an event of which the server tells nobody is found all
// the same.
func TestWaitWithoutWord(t *testing.T) {
	dsn, server := postgres.Start(t)
	s := open(t, dsn)
	server.Exec(t, dsn, `WITH l AS (UPDATE state_last SET seq = seq + 1 RETURNING seq)
		INSERT INTO state_events (seq, topic, value, at) SELECT seq, 'quiet', '', 0 FROM l`)
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := s.Wait(ctx, 0); err != nil {
		t.Error(err)
	}
}

// TestOlderCopy: where the database becomes an older one, whoever waits for what
// comes after its last event waits.
func TestOlderCopy(t *testing.T) {
	dsn, server := postgres.Start(t)
	s := open(t, dsn)
	if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: "a"}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := s.Wait(ctx, 0); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, dsn, `UPDATE state_last SET seq = 0`)
	for last := int64(1); last != 0; time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatal("it does not see that the database is another one")
		}
		s.mu.Lock()
		last = s.last
		s.mu.Unlock()
	}
	short, stop := context.WithTimeout(ctx, 2*pollEvery)
	defer stop()
	if s.Wait(short, 0) == nil {
		t.Error("it does not wait")
	}
}

// TestTold: the server tells of events, so that none waits for the next look.
func TestTold(t *testing.T) {
	dsn, _ := postgres.Start(t)
	s := open(t, dsn)
	conn, err := pgx.Connect(t.Context(), string(dsn.Expose()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "LISTEN "+channel); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: "secret-topic", Value: []byte("secret-value")}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil || n.Payload != "" {
		t.Errorf("%+v, %v: want word, and nothing in it", n, err)
	}
}

// TestFewConnections: a pool as small as an operator may make it does not keep
// itself waiting, and neither do changes that wait for each other's locks.
func TestFewConnections(t *testing.T) {
	dsn, _ := postgres.Start(t)
	s := open(t, secret.FromString(string(dsn.Expose())+" pool_max_conns=1"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: broker.Key{Kind: "a", Name: "b"}, Value: []byte{byte(i)}}}})
			if err != nil && !errors.Is(err, broker.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestURL: an address may be a URL too.
func TestURL(t *testing.T) {
	dsn, _ := postgres.Start(t)
	q := url.Values{}
	u := url.URL{Scheme: "postgres"}
	for _, f := range strings.Fields(string(dsn.Expose())) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "dbname":
			u.Path = "/" + v
		default:
			q.Set(k, v)
		}
	}
	u.RawQuery = q.Encode()
	if err := open(t, secret.FromString(u.String())).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkApply(b *testing.B) {
	dsn, _ := postgres.Start(b)
	statetest.BenchmarkApply(b, open(b, dsn))
}
