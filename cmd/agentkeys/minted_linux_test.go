package main

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// management is the API that makes a script's keys.
type management struct{ *manage.Server }

type managementKey struct{}

// withManagement adds the commands of a script that has keys made.
func withManagement(p *testscript.Params) {
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		env.Values[managementKey{}] = &management{}
		return setup(env)
	}
	p.Cmds["manage"], p.Cmds["deleted"] = cmdManage, cmdDeleted
}

// manage starts OpenRouter's management API, at $mint, with the management key
// in $MANAGEMENT; manage down and manage up are an outage of it.
func cmdManage(ts *testscript.TestScript, neg bool, args []string) {
	m := ts.Value(managementKey{}).(*management)
	switch {
	case !neg && len(args) == 0 && m.Server == nil:
		srv, err := manage.Start(manage.Options{Shape: "openrouter"})
		ts.Check(err)
		ts.Defer(func() { _ = srv.Close() })
		m.Server = srv
		ts.Setenv("mint", srv.BaseURL())
		ts.Setenv("mint_addr", srv.Addr())
		ts.Setenv("MANAGEMENT", srv.Management())
		ts.Check(os.WriteFile(filepath.Join(scriptOf(ts).work, "manage.pem"), srv.CAPEM(), 0o600))
	case !neg && len(args) == 1 && args[0] == "down":
		m.Fail(manage.Unavailable)
	case !neg && len(args) == 1 && args[0] == "up":
		m.Fail(manage.Up)
	default:
		ts.Fatalf("usage: manage [down|up]")
	}
}

// deleted N waits until so many keys have been deleted at the service.
func cmdDeleted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: deleted N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	m := ts.Value(managementKey{}).(*management)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		n := 0
		for _, r := range m.Seen() {
			if r.Method == "DELETE" && r.Status < 300 {
				n++
			}
		}
		if n == want {
			return
		}
		if n > want || time.Now().After(end) {
			ts.Fatalf("%d keys were deleted", n)
		}
	}
}
