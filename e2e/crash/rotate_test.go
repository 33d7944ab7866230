package crash_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
)

// TestKillRotation kills a rotation, the process it talks to or both, at a
// random moment and while keys are stored, and goes on: every key and every
// copy opens, and in the end under the newest root alone.
func TestKillRotation(t *testing.T) {
	rounds := max(6, int(number(t, "AGENTKEYS_CRASH_ROUNDS", 0))/20)
	if testing.Short() {
		rounds = 2
	}
	seed := number(t, "AGENTKEYS_CRASH_SEED", rand.Uint64())
	t.Logf("%d rounds, AGENTKEYS_CRASH_SEED=%d", rounds, seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	h := rig.New(t)
	seller := newSeller(t)
	addr := h.Up().Address
	client := h.Client()
	var services []agentkeys.Service
	var storers []*storer
	w := &world{t: t, h: h, seller: seller, client: client, addr: addr}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: seller.Certificate().Raw})
	for i := range 6 {
		name := fmt.Sprint("plain-", i)
		h.CustomAt(name, seller.URL, ca)
		s := &storer{w: w, svc: service(name), key: func(n int) string { return plainKey(name, n) }}
		storers, services = append(storers, s), append(services, s.svc)
		must(t, s.store(t.Context(), 1))
	}
	var agents []agentkeys.Agent
	for i := range 3 {
		a := agent(fmt.Sprint("agent-", i))
		agents = append(agents, a)
		_, err := client.CreateAgent(t.Context(), a)
		must(t, err)
		for _, s := range services {
			_, err := client.Grant(t.Context(), a, s, control.GrantRequest{Expires: time.Now().Add(time.Hour)})
			must(t, err)
		}
	}

	finished, cut := 0, map[string]int{}
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		rotate := h.Command(ctx, "rotate")
		must(t, rotate.Start())
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := 2; ctx.Err() == nil; n++ {
				s := storers[n%len(storers)]
				if err := s.store(ctx, s.next+1); err != nil {
					return
				}
			}
		})
		done := make(chan error, 1)
		go func() { done <- rotate.Wait() }()
		// Opening and closing the file of the roots takes most of its time.
		wait := time.Duration(rng.IntN(1400)) * time.Millisecond
		whom := []string{"rotation", "process", "both", "process"}[rng.IntN(4)]
		var err error
		select {
		case err = <-done:
		case <-time.After(wait):
			if whom != "process" {
				_ = rotate.Process.Signal(syscall.SIGKILL)
			}
			if whom != "rotation" {
				h.Kill()
			}
			err = <-done
		}
		if err == nil {
			finished++
			whom = "nothing"
		}
		cut[whom]++
		cancel()
		wg.Wait()
		h.Kill()
		if st := h.Up(); st.Address != addr {
			t.Fatal(st)
		}
		for _, s := range storers {
			s.check(t)
		}
		infos, err := client.Credentials(t.Context())
		must(t, err)
		if len(infos) != len(services) {
			t.Errorf("%d keys of %d", len(infos), len(services))
		}
		openCopies(t, w, agents, storers)
		if t.Failed() {
			t.Fatalf("round %d of AGENTKEYS_CRASH_SEED=%d, killed: %s after %v", round+1, seed, whom, wait)
		}
	}
	t.Logf("killed: %v", cut)

	// It ends, and what is under the old roots is nothing.
	before := h.Status().Epoch
	h.OK("rotate")
	h.Down()
	st := h.Up()
	if st.Epoch < before || st.Epoch < 2 {
		t.Errorf("epoch %d after %d", st.Epoch, before)
	}
	infos, err := client.Credentials(t.Context())
	must(t, err)
	for _, i := range infos {
		if i.Epoch != st.Epoch {
			t.Errorf("%s is under epoch %d of %d", i.Service, i.Epoch, st.Epoch)
		}
	}
	for _, s := range storers {
		s.check(t)
	}
	openCopies(t, w, agents, storers)
	h.OK("audit", "verify")
}

// openCopies has every agent use every key, and looks at what the service was
// shown.
func openCopies(t *testing.T, w *world, agents []agentkeys.Agent, storers []*storer) {
	t.Helper()
	for _, a := range agents {
		sess, err := w.client.StartSession(t.Context(), control.SessionRequest{Agent: a, TTL: 60})
		must(t, err)
		for _, s := range storers {
			path := fmt.Sprintf("/open/%s/%s", a, s.svc)
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+w.addr+"/"+s.svc.String()+path, nil)
			must(t, err)
			req.Header.Set("Authorization", "Bearer agentkeys."+sess.Token)
			resp, err := anyhow.Do(req)
			must(t, err)
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s at %s: %d %s", a, s.svc, resp.StatusCode, body)
				continue
			}
			w.seller.mu.Lock()
			shown := w.seller.opened[path]
			w.seller.mu.Unlock()
			if shown != "Bearer "+s.key(s.n) {
				t.Errorf("%s used %q for %s, where key %d is", a, shown, s.svc, s.n)
			}
		}
	}
	anyhow.CloseIdleConnections()
}
