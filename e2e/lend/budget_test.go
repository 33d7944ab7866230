package lend_test

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// grants are those of the home, by service.
func grants(t *testing.T, h *rig.Home) map[string]local.GrantInfo {
	t.Helper()
	var list []local.GrantInfo
	if err := json.Unmarshal([]byte(h.OK("grants", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	by := map[string]local.GrantInfo{}
	for _, g := range list {
		by[g.Svc.String()] = g
	}
	return by
}

// spend has several clients ask until they are refused with a code, and
// returns how many were served.
func spend(t *testing.T, clients int, ask func() (rig.Answer, error), code string) int64 {
	t.Helper()
	var served atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for refused := 0; refused < 3; {
				ans, err := ask()
				switch {
				case err != nil:
					t.Error(err)
					return
				case ans.Status == 200:
					served.Add(1)
				case ans.Code == code:
					refused++
				default:
					t.Errorf("%v", ans)
					return
				}
			}
		})
	}
	wg.Wait()
	return served.Load()
}

// settled waits until nothing is under way, and so everything is charged.
func settled(t *testing.T, h *rig.Home, service string) grant.Usage {
	t.Helper()
	var u grant.Usage
	within(t, 5*time.Second, "every use is charged", func() bool {
		u = grants(t, h)[service].Usage
		return u.Held == 0
	})
	return u
}

// TestRequestBudget: of so many requests, by however many clients, exactly so
// many are served, whatever happens to the daemon.
func TestRequestBudget(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter})
	checks := len(s.Requests())
	a := h.NewAgent("coder")
	h.OK("grant", "coder", s.Name, "--budget", "100req/total")
	models := func() (rig.Answer, error) { return a.Do("GET", s.Name, "/models", "") }
	if n := spend(t, 8, models, "requests-spent"); n != 100 {
		t.Errorf("%d served of 100", n)
	}
	if n := len(s.Requests()) - checks; n != 100 {
		t.Errorf("the service saw %d", n)
	}

	// A kill in the middle gives nothing back, and takes no more than what was
	// under way.
	h.OK("grant", "coder", s.Name, "--budget", "300req/total")
	const clients = 8
	var served atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				ans, err := models()
				if err != nil {
					return // the daemon is gone
				}
				if ans.Status == 200 {
					served.Add(1)
				}
			}
		})
	}
	within(t, 20*time.Second, "some requests are served", func() bool { return served.Load() > 60 })
	h.Kill()
	wg.Wait()
	before := served.Load()
	h.Up()
	used := grants(t, h)[s.Name].Usage.Requests
	if used < before || used > before+clients {
		t.Errorf("%d served before the kill, %d used after it", before, used)
	}
	if n := spend(t, clients, models, "requests-spent"); n != 300-used {
		t.Errorf("%d used after the kill, then %d more of 300", used, n)
	}
	// A proper end counts exactly.
	h.Down()
	h.Up()
	if used := grants(t, h)[s.Name].Usage.Requests; used != 300 {
		t.Errorf("%d used after a restart", used)
	}
	ans, err := models()
	want(t, "after a restart", ans, err, 403, "requests-spent")
	h.OK("audit", "verify")
}

// TestMoneyBudget: a budget in money is overshot by less than the cost of a
// request when they come one after the other, and otherwise by no more than
// that and what each one under way costs beyond its hold.
func TestMoneyBudget(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter})
	a := h.NewAgent("coder")
	chat := func() (rig.Answer, error) { return a.Chat(s.Name, "what does this cost?") }

	h.OK("grant", "coder", s.Name)
	ans, err := chat()
	want(t, "a first request", ans, err, 200, "")
	cost := settled(t, h, s.Name).Spent
	if cost <= 0 {
		t.Fatalf("a request costs %v", cost)
	}
	t.Logf("a request costs %v", cost)

	const text = "0.005usd"
	limit := grant.USD / 200
	for _, clients := range []int{1, 8} {
		h.OK("grant", "coder", s.Name, "--budget", text+"/total")
		served := spend(t, clients, chat, "budget-spent")
		u := settled(t, h, s.Name)
		if u.Spent != cost*grant.Money(served) {
			t.Errorf("%d clients: %v spent for %d requests of %v", clients, u.Spent, served, cost)
		}
		// Before any cost is seen a hold is a hundredth of the budget.
		bound := limit + cost
		if clients > 1 {
			bound += grant.Money(clients) * max(0, cost-limit/100)
		}
		if u.Spent < limit-cost || u.Spent >= bound {
			t.Errorf("%d clients: %v spent of %v, the bound is %v", clients, u.Spent, limit, bound)
		}
		t.Logf("%d clients: %v spent of %v", clients, u.Spent, limit)
	}

	// A kill gives nothing back. The hold, a hundredth of the budget, is more
	// than a request costs here, so what was under way costs no less.
	h.OK("grant", "coder", s.Name, "--budget", "1usd/total")
	var served atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				ans, err := chat()
				if err != nil {
					return
				}
				if ans.Status == 200 {
					served.Add(1)
				}
			}
		})
	}
	within(t, 20*time.Second, "some requests are served", func() bool { return served.Load() > 40 })
	h.Kill()
	wg.Wait()
	spent := cost * grant.Money(served.Load())
	h.Up()
	if u := grants(t, h)[s.Name].Usage; u.Spent < spent || u.Held != 0 {
		t.Errorf("%v spent before the kill, %+v after it", spent, u)
	}
	first := grants(t, h)[s.Name].Usage
	h.Kill()
	h.Up()
	if u := grants(t, h)[s.Name].Usage; u != first {
		t.Errorf("%+v after one kill, %+v after the next", first, u)
	}
}
