package brokerhttp_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/pgstate"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
)

// replicaEnv has the database that a child process serves a replica over.
const replicaEnv = "AGENTKEYS_TEST_REPLICA"

func openPG(t *testing.T, w *brokertest.World, dsn secret.Value) broker.State {
	t.Helper()
	s, err := pgstate.Open(context.Background(), dsn, w.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestReplicaProcess is no test: it is the other process of those below.
func TestReplicaProcess(t *testing.T) {
	dsn := os.Getenv(replicaEnv)
	if dsn == "" {
		return
	}
	w := brokertest.NewWorld(t)
	b, _ := w.Replica(t, openPG(t, w, secret.FromString(dsn)))
	h, err := brokerhttp.New(options(w, b))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	fmt.Printf("at %s\n", srv.URL)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent is gone
	srv.Close()
}

// process is a replica in another process.
type process struct {
	url  string
	kill func()
}

func startReplica(t *testing.T, dsn secret.Value) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestReplicaProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), replicaEnv+"="+string(dsn.Expose()))
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
	p := &process{kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})}
	t.Cleanup(p.kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), "at "); ok {
			p.url = url
			return p
		}
	}
	t.Fatal("the other replica did not start")
	return nil
}

// contest is one thing that is good once, and a try to use it.
type contest struct {
	name string
	make func(n *node) func() call
}

func contests(t *testing.T) []contest {
	people := 0
	somebody := func() string { // anew, for mails are counted
		people++
		return fmt.Sprintf("p%d@example.org", people)
	}
	return []contest{
		{"mail link", func(n *node) func() call {
			n.begin(brokertest.NewKey(t), brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: somebody()})
			id, secret := n.w.Mail.Link(t)
			return func() call {
				return call{method: "POST", path: "/v1/logins/" + id + "/mail", body: brokerapi.MailProof{Token: secret}}
			}
		}},
		{"hand-off code", func(n *node) func() call {
			key := brokertest.NewKey(t)
			n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: somebody()})
			id, h := n.mailed()
			return func() call {
				return call{method: "POST", path: "/v1/logins/" + id + "/session", key: key, body: brokerapi.HandoffProof{Code: h.Code}}
			}
		}},
		{"enrolment code", func(n *node) func() call {
			master := n.login(somebody())
			master.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"})
			e := into[brokerapi.Enrolment](master.do("POST", "/v1/agents/ci/enrolment", nil))
			return func() call {
				return call{method: "POST", path: brokerapi.PathEnrol, key: brokertest.NewKey(t), body: brokerapi.EnrolRequest{Code: e.Code}}
			}
		}},
		{"wallet nonce", func(n *node) func() call {
			owner := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("ab", 20)))
			l := n.begin(brokertest.NewKey(t), brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: owner.String()})
			return func() call {
				return call{method: "POST", path: "/v1/logins/" + l.ID + "/wallet", body: brokerapi.WalletProof{
					Message: l.Message, Signature: brokertest.SignWallet(owner, l.Message),
				}}
			}
		}},
	}
}

// TestOneWinner: of a hundred that use one link, code or nonce, half of them at
// each of two replicas on one PostgreSQL, one wins; with one replica killed in
// the middle, one at most, and the thing is used up all the same.
func TestOneWinner(t *testing.T) {
	dsn, _ := postgres.Start(t)
	w := brokertest.NewWorld(t)
	here := serve(t, w, openPG(t, w, dsn))
	for _, c := range contests(t) {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, killed %t", c.name, killed), func(t *testing.T) {
				other := startReplica(t, dsn)
				try := c.make(here)
				calls := make([]call, 100)
				for i := range calls {
					calls[i] = try()
				}
				var wins, lost, gone, answers atomic.Int32
				var wg sync.WaitGroup
				start := make(chan struct{})
				for i := range calls {
					n := here
					if i%2 == 0 {
						n = &node{t: t, w: w, url: other.url}
					}
					wg.Go(func() {
						<-start
						r, err := n.try(context.Background(), calls[i])
						switch {
						case err != nil && killed && n != here:
							gone.Add(1)
						case err != nil:
							t.Error(err)
						case r.status == 200:
							wins.Add(1)
						case r.status == 403:
							lost.Add(1)
						default:
							t.Errorf("%d %s", r.status, r.body)
						}
						if answers.Add(1) == 10 && killed {
							other.kill()
						}
					})
				}
				close(start)
				wg.Wait()
				t.Logf("%d won, %d lost, %d were cut off", wins.Load(), lost.Load(), gone.Load())
				if got := wins.Load(); got > 1 || got == 0 && !killed {
					t.Fatalf("%d winners", got)
				}
				// The killed one may have won, and told nobody. What nobody won is
				// still there, and good once.
				last := here.send(try())
				if last.status == 200 && wins.Load() > 0 {
					t.Error("it was good again")
				}
				here.send(try()).problem(403, brokerapi.CodeLogin)
			})
		}
	}
}

// TestOneAccount: first logins that race make one account.
func TestOneAccount(t *testing.T) {
	dsn, _ := postgres.Start(t)
	w := brokertest.NewWorld(t)
	nodes := []*node{serve(t, w, openPG(t, w, dsn)), serve(t, w, openPG(t, w, dsn))}
	owner := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("cd", 20)))
	type ready struct {
		n        *node
		key      *ecdsa.PrivateKey
		id, code string
	}
	var all []ready
	for i := range 20 {
		n, key := nodes[i%2], brokertest.NewKey(t)
		l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: owner.String()})
		h := into[brokerapi.Handoff](n.send(call{method: "POST", path: "/v1/logins/" + l.ID + "/wallet", body: brokerapi.WalletProof{
			Message: l.Message, Signature: brokertest.SignWallet(owner, l.Message),
		}}))
		all = append(all, ready{n, key, l.ID, h.Code})
	}
	var accounts sync.Map
	var wg sync.WaitGroup
	for _, r := range all {
		wg.Go(func() {
			if got := r.n.end(r.key, r.id, r.code); got.status == 200 {
				s := into[brokerapi.Session](got)
				accounts.Store(s.Account+s.Wallet.String(), true)
			} else {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	n := 0
	accounts.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d accounts", n)
	}
}

// TestThreat13AcrossReplicas: what is revoked through one replica is heard at
// the stream of the other, and binds it at once.
func TestThreat13AcrossReplicas(t *testing.T) {
	dsn, _ := postgres.Start(t)
	w := brokertest.NewWorld(t)
	here, there := serve(t, w, openPG(t, w, dsn)), serve(t, w, openPG(t, w, dsn))
	master := here.login("ada@example.org")
	agent := master.agent("ci").at(there)
	g := into[grant.Grant](master.grant("ci", "openrouter"))
	heard := agent.listen()
	var snap brokerapi.Snapshot
	if heard.want(brokerapi.EventSnapshot, &snap); len(snap.Grants) != 1 {
		t.Errorf("%+v", snap)
	}
	agent.mint(brokertest.STS).want(200)
	var r brokerapi.Revoked
	master.do("DELETE", "/v1/agents/ci/grants/openrouter", nil).want(204)
	if heard.want(brokerapi.EventRevoked, &r); r.Grant != g.ID {
		t.Errorf("heard of %+v", r)
	}
	master.do("DELETE", "/v1/devices/"+agent.s.Device, nil).want(204)
	heard.want(brokerapi.EventEnded, nil)
	agent.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
	// A proof that one has taken, the other refuses.
	c := master.as("GET", brokerapi.PathDevices, nil)
	req, _, err := here.request(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.proof = req.Header.Get("DPoP")
	here.send(c).want(http.StatusOK)
	there.send(c).problem(401, brokerapi.CodeProof)
}
