package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		// The real program: a copy of the test binary under this name, which
		// os.Executable finds again when it starts the background process.
		"agentkeys": func() { os.Exit(run(os.Args[1:])) },
		"ask":       func() { os.Exit(ask(os.Args[1:])) },
		"dialog":    func() { os.Exit(dialog(os.Args[1:])) },
		"impostor": func() {
			fmt.Fprintln(os.Stderr, impostor(os.Args[1:]))
			os.Exit(1)
		},
		"unprivileged": func() {
			fmt.Fprintln(os.Stderr, unprivileged(os.Args[1:]))
			os.Exit(1)
		},
	})
}

// Every promise of the command line is a script. What the scripts can do beyond
// testscript's own commands is in testdata/script/README.md.
func TestScript(t *testing.T) {
	testscript.Run(t, scripts("testdata/script"))
}

func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir: dir, Setup: setup, Condition: condition, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"standin":   cmdStandin,
			"world":     cmdWorld,
			"seen":      cmdSeen,
			"fails":     cmdFails,
			"exits":     cmdExits,
			"canary":    cmdCanary,
			"nocanary":  cmdNoCanary,
			"flip":      cmdFlip,
			"truncate":  cmdTruncate,
			"copytree":  cmdCopyTree,
			"signal":    cmdSignal,
			"sleep":     cmdSleep,
			"waitfor":   cmdWaitFor,
			"isjson":    cmdIsJSON,
			"mode":      cmdMode,
			"alike":     cmdAlike,
			"processes": cmdProcesses,
			"damaged":   cmdDamaged,
			"needs":     cmdNeeds,
			"page":      cmdPage,
		},
	}
}

func condition(name string) (bool, error) {
	if name == "root" {
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// script is what the commands of one script share.
type script struct {
	t        testing.TB
	base     string
	home     string // AGENTKEYS_HOME, below base
	work     string
	standins map[string]*testsrv.Server
	canaries map[string]string // what must never be found, by what it is
	damaged  bool              // the script leaves a log behind that does not verify
}

type scriptKey struct{}

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

// setup gives a script a home, a passphrase and a port of its own. There is no
// keychain and no way to one.
func setup(env *testscript.Env) error {
	t := env.T().(testing.TB)
	// Below /tmp, whatever TMPDIR is: the paths of sockets have to be short.
	base, err := os.MkdirTemp("/tmp", "ak-")
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(base) })
	s := &script{
		t: t, base: base, home: filepath.Join(base, "state"), work: env.WorkDir,
		standins: map[string]*testsrv.Server{}, canaries: map[string]string{},
	}
	env.Values[scriptKey{}] = s
	port, err := ports.Take(env.Defer)
	if err != nil {
		return err
	}
	mailPort, err := ports.Take(env.Defer)
	if err != nil {
		return err
	}
	passphrase := randomHex(16)
	file := filepath.Join(env.WorkDir, "passphrase")
	s.canaries["the passphrase"] = passphrase
	home := filepath.Join(env.WorkDir, "home")
	if err := errors.Join(os.WriteFile(file, []byte(passphrase+"\n"), 0o600), os.Mkdir(home, 0o700)); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"AGENTKEYS_HOME":            s.home,
		"AGENTKEYS_PASSPHRASE_FILE": file,
		"HOME":                      home,
		"DBUS_SESSION_BUS_ADDRESS":  "unix:path=" + filepath.Join(env.WorkDir, "no-bus"),
		"TZ":                        "UTC",
		"TERM":                      "xterm",
		"port":                      strconv.Itoa(port),
		"mailport":                  strconv.Itoa(mailPort),
		"gitleaks":                  gitleaksProgram(),
		// The race detector waits a second at every exit.
		"GORACE": strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=5"),
	} {
		env.Setenv(name, value)
	}
	env.Defer(func() { s.cleanup(t, env) })
	return nil
}

// cleanup stops what the script started, whatever became of it, and looks at
// what is left.
func (s *script) cleanup(t testing.TB, env *testscript.Env) {
	for _, srv := range s.standins {
		_ = srv.Close()
	}
	others, _ := filepath.Glob(filepath.Join(s.work, "*", "data"))
	for _, data := range append(others, filepath.Join(s.home, "data")) {
		if _, err := os.Stat(data); err == nil {
			s.stop(t, env, filepath.Dir(data))
		}
	}
	for _, hit := range s.searchFiles() {
		t.Errorf("at the end: %s", hit)
	}
}

// stop stops the background process of one home and looks at what it left.
func (s *script) stop(t testing.TB, env *testscript.Env, home string) {
	vars := append(env.Vars, "AGENTKEYS_HOME="+home)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	down := exec.CommandContext(ctx, "agentkeys", "down")
	down.Env = vars
	if out, err := down.CombinedOutput(); err != nil {
		t.Errorf("agentkeys down at the end: %v\n%s", err, out)
	}
	killDaemon(t, home)
	log, _ := os.ReadFile(filepath.Join(home, "state", "daemon.log"))
	for _, bad := range []string{"panic", "fatal error:", "DATA RACE", "goroutine "} {
		if strings.Contains(string(log), bad) {
			t.Errorf("daemon.log has %q:\n%s", bad, log)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "data", "log.vkey")); err == nil && !s.damaged && !t.Failed() {
		verify := exec.CommandContext(ctx, "agentkeys", "audit", "verify")
		verify.Env = vars
		if out, err := verify.CombinedOutput(); err != nil {
			t.Errorf("agentkeys audit verify at the end: %v\n%s", err, out)
		}
	}
}

var startedLine = regexp.MustCompile(`msg=started pid=(\d+)`)

// killDaemon is for a background process that did not stop when asked.
func killDaemon(t testing.TB, home string) {
	if unlock, err := durable.Lock(filepath.Join(home, "data", "lock")); err == nil {
		unlock()
		return
	}
	log, _ := os.ReadFile(filepath.Join(home, "state", "daemon.log"))
	for _, m := range startedLine.FindAllSubmatch(log, -1) {
		pid, _ := strconv.Atoi(string(m[1]))
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(cmdline), "agentkeys\x00") || strings.Contains(string(cmdline), "/agentkeys\x00up") {
			t.Errorf("the background process %d outlived 'agentkeys down'; killed", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
