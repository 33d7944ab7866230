package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// newKey makes a key that looks like one of the service's and is nobody's.
// It is made at run time so that no scanner ever finds one in this repository.
func newKey(shape testsrv.Shape) string {
	switch shape {
	case testsrv.OpenRouter:
		return "sk-or-v1-" + randomHex(32)
	case testsrv.OpenAI:
		return "sk-proj-" + randomHex(30) + "T3Blbk" + "FJ" + randomHex(30)
	default:
		return "sk-ant-" + "api03-" + randomHex(46) + "-" + "AA"
	}
}

// standin [-gap D] [-port PORT] NAME…
// standin -stop NAME
//
// starts a local server in the place of each service. It sets $NAME to its base
// URL and $NAME_addr to its address, and writes NAME.pem, NAME.key, a second
// good key NAME.key2, and NAME.wrong, a key that the server does not know.
func cmdStandin(ts *testscript.TestScript, neg bool, args []string) {
	f := flag.NewFlagSet("standin", flag.ContinueOnError)
	gap := f.Duration("gap", 0, "")
	stop := f.Bool("stop", false, "")
	if err := f.Parse(args); neg || err != nil || f.NArg() == 0 {
		ts.Fatalf("usage: standin [-gap D] [-stop] NAME…")
	}
	s := scriptOf(ts)
	for _, name := range f.Args() {
		if *stop {
			ts.Check(s.standins[name].Close())
			continue
		}
		shape := testsrv.Shape(name)
		good, second, wrong := newKey(shape), newKey(shape), newKey(shape)
		srv, err := testsrv.Start(testsrv.Options{
			Shape: shape, Gap: *gap, Keys: map[string]string{"key": good, "key2": second},
		})
		ts.Check(err)
		s.standins[name] = srv
		base := srv.BaseURL()
		if shape == testsrv.Anthropic {
			base = srv.URL()
		}
		ts.Setenv(name, base)
		ts.Setenv(name+"_addr", srv.Addr())
		for suffix, text := range map[string]string{"key": good + "\n", "key2": second + "\n", "wrong": wrong + "\n", "pem": string(srv.CAPEM())} {
			ts.Check(os.WriteFile(filepath.Join(s.work, name+"."+suffix), []byte(text), 0o600))
			if suffix != "pem" {
				s.canaries[name+"."+suffix] = strings.TrimSpace(text)
			}
		}
	}
}

// world NAME… is how most scripts begin: stand-ins for the services, the
// background process, a stored key for each, and the agent coder.
func cmdWorld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: world NAME…")
	}
	cmdStandin(ts, false, args)
	s := scriptOf(ts)
	agentkeys := func(args ...string) {
		if err := ts.Exec("agentkeys", args...); err != nil {
			ts.Fatalf("world: agentkeys %s: %v", args[0], err)
		}
	}
	ts.Check(cheapRoots(s.home, ts.Getenv("AGENTKEYS_PASSPHRASE_FILE")))
	agentkeys("up", "--port", ts.Getenv("port"))
	for _, name := range args {
		agentkeys("services", "set", name, "--base-url", ts.Getenv(name),
			"--ca", filepath.Join(s.work, name+".pem"), "--allow-address", ts.Getenv(name+"_addr"))
		// The key comes from the environment because a custom command cannot
		// give its child a standard input.
		key, err := os.ReadFile(filepath.Join(s.work, name+".key"))
		ts.Check(err)
		ts.Setenv("KEY", strings.TrimSpace(string(key)))
		agentkeys("store", name, "--from-env", "KEY")
		ts.Setenv("KEY", "")
	}
	agentkeys("agent", "create", "coder")
}

// cheapRoots makes the roots of a new home, with little work for scrypt: what
// guesses at a passphrase cost is the affair of the scripts that have up make
// the roots, and each of the many starts in the others would cost it too.
func cheapRoots(home, passphraseFile string) error {
	data := filepath.Join(home, "data")
	if _, err := os.Lstat(data); err == nil {
		return nil // there is a home already
	}
	passphrase, err := os.ReadFile(passphraseFile)
	if err != nil {
		return err
	}
	recipient, err := age.NewScryptRecipient(strings.TrimSuffix(string(passphrase), "\n"))
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(10)
	plain, err := signer.EncodeRoots(signer.NewRoots())
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		return err
	}
	_, err = w.Write(plain.Expose())
	return errors.Join(err, w.Close(), os.MkdirAll(data, 0o700),
		os.WriteFile(filepath.Join(data, "roots.age"), sealed.Bytes(), 0o600),
		os.WriteFile(filepath.Join(data, "custody.json"), []byte(`{"version":1,"keeper":"passphrase"}`+"\n"), 0o600))
}

// seen [-count=N] NAME PATTERN looks for a request that reached a stand-in. Each
// is a line "METHOD PATH CREDENTIAL": the name of a known key, or -.
func cmdSeen(ts *testscript.TestScript, neg bool, args []string) {
	want := -1
	if len(args) > 0 && strings.HasPrefix(args[0], "-count=") {
		var err error
		want, err = strconv.Atoi(strings.TrimPrefix(args[0], "-count="))
		ts.Check(err)
		args = args[1:]
	}
	if len(args) != 2 || neg && want >= 0 {
		ts.Fatalf("usage: [!] seen [-count=N] NAME PATTERN")
	}
	srv := scriptOf(ts).standins[args[0]]
	if srv == nil {
		ts.Fatalf("no stand-in %s", args[0])
	}
	re, err := regexp.Compile(`(?m)` + args[1])
	ts.Check(err)
	var lines []string
	for _, r := range srv.Requests() {
		label := r.Key
		if label == "" {
			label = "-"
		}
		lines = append(lines, r.Method+" "+r.Path+" "+label)
	}
	all := strings.Join(lines, "\n")
	n := len(re.FindAllString(all, -1))
	switch {
	case neg && n > 0, !neg && n == 0 && want != 0, want >= 0 && n != want:
		ts.Fatalf("%d requests match %#q:\n%s", n, args[1], all)
	}
}

// failure is the shape of every complaint: one line that says what is wrong,
// and one that says what to do.
var failure = regexp.MustCompile(`\Aagentkeys: \S[^\n]*\n(  fix: \S[^\n]*\n)?\z`)

// fails [-nofix] [-changes] CODE PROGRAM [ARG…]
//
// The program ends with CODE and nothing on standard output; standard error is
// a problem and its fix; no canary is in either, or in any file; and nothing
// that is kept, the log aside, has changed.
func cmdFails(ts *testscript.TestScript, neg bool, args []string) {
	f := flag.NewFlagSet("fails", flag.ContinueOnError)
	nofix := f.Bool("nofix", false, "")
	changes := f.Bool("changes", false, "")
	if err := f.Parse(args); neg || err != nil || f.NArg() < 2 {
		ts.Fatalf("usage: fails [-nofix] [-changes] CODE PROGRAM [ARG…]")
	}
	s := scriptOf(ts)
	before := s.state(ts)
	code := execCode(ts, f.Args()[1:])
	if want := f.Arg(0); strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a failure has something on standard output")
	}
	fix, ok := fixOf(ts.ReadFile("stderr"), slices.Contains(f.Args(), "--json"), code)
	switch {
	case !ok:
		ts.Fatalf("standard error is not of the form of a failure")
	case fix == "" && !*nofix:
		ts.Fatalf("the failure does not say what to do")
	case fix != "" && *nofix:
		ts.Fatalf("the failure says what to do: drop -nofix")
	}
	cmdNoCanary(ts, false, nil)
	if after := s.state(ts); after != before && !*changes {
		ts.Fatalf("the failure left something behind:\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// fixOf takes a complaint apart.
func fixOf(text string, isJSON bool, code int) (fix string, ok bool) {
	if !isJSON {
		m := failure.FindStringSubmatch(text)
		if m == nil {
			return "", false
		}
		return m[1], true
	}
	var e struct {
		Error struct {
			Code, Problem, Fix string
			Exit               int
		}
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if dec.Decode(&e) != nil || dec.More() || e.Error.Code == "" || e.Error.Problem == "" || e.Error.Exit != code {
		return "", false
	}
	return e.Error.Fix, true
}

// exits CODE PROGRAM [ARG…] checks an exit code that another program chose.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	if code := execCode(ts, args[1:]); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func execCode(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%s: %v", args[0], err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// flip FILE [OFFSET] inverts one byte of a file, counted from its end if
// OFFSET is negative. FILE may be a pattern that one file matches.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: flip FILE [OFFSET]")
	}
	path := oneFile(ts, args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	at := len(data) / 2
	if len(args) == 2 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
		if at < 0 {
			at += len(data)
		}
	}
	data[at] ^= 0xff
	ts.Check(os.WriteFile(path, data, 0o600))
}

// truncate FILE SIZE cuts a file.
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncate FILE SIZE")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(oneFile(ts, args[0]), size))
}

func oneFile(ts *testscript.TestScript, pattern string) string {
	found, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%d files match %s", len(found), pattern)
	}
	return found[0]
}

// copytree FROM TO puts a copy of FROM in the place of TO.
func cmdCopyTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: copytree FROM TO")
	}
	from, to := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	ts.Check(os.RemoveAll(to))
	ts.Check(os.CopyFS(to, os.DirFS(from)))
	// CopyFS adds what the umask lets through.
	ts.Check(filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if d.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	}))
}

// signal NAME daemon, or a program in the background by its name
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	sigs := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "USR1": syscall.SIGUSR1}
	if neg || len(args) != 2 || sigs[args[0]] == 0 {
		ts.Fatalf("usage: signal INT|TERM|KILL|USR1 daemon|PIDFILE")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(args[1]))
	if args[1] == "daemon" {
		log, rerr := os.ReadFile(filepath.Join(scriptOf(ts).home, "state", "daemon.log"))
		ts.Check(rerr)
		all := startedLine.FindAllSubmatch(log, -1)
		pid, err = strconv.Atoi(string(all[len(all)-1][1]))
	} else if err != nil {
		pid, err = strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	}
	ts.Check(err)
	ts.Check(syscall.Kill(pid, sigs[args[0]]))
}

// sleep DURATION, for what only time can show.
func cmdSleep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sleep DURATION")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// waitfor FILE PATTERN waits until a file has what matches.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE PATTERN")
	}
	re, err := regexp.Compile(`(?m)` + args[1])
	ts.Check(err)
	var data []byte
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if data, err = os.ReadFile(ts.MkAbs(args[0])); err == nil && re.Match(data) {
			return
		}
	}
	ts.Fatalf("%s never had what matches %#q:\n%s", args[0], args[1], data)
}

// isjson [-lines] stdout|stderr [PATH=VALUE…] checks that the output is JSON, one
// value or one a line, and that it has these values, where PATH is of names
// and indices joined by dots. VALUE * stands for any.
func cmdIsJSON(ts *testscript.TestScript, neg bool, args []string) {
	lines := len(args) > 0 && args[0] == "-lines"
	if lines {
		args = args[1:]
	}
	if neg || len(args) < 1 {
		ts.Fatalf("usage: isjson [-lines] FILE [PATH=VALUE…]")
	}
	text := ts.ReadFile(args[0])
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var last any
	n := 0
	for ; dec.More(); n++ {
		if err := dec.Decode(&last); err != nil {
			ts.Fatalf("not JSON: %v:\n%s", err, text)
		}
	}
	if n != 1 && !lines || n == 0 {
		ts.Fatalf("%d JSON values, want one:\n%s", n, text)
	}
	for _, arg := range args[1:] {
		path, want, _ := strings.Cut(arg, "=")
		v := last
		for name := range strings.SplitSeq(path, ".") {
			switch x := v.(type) {
			case map[string]any:
				var ok bool
				if v, ok = x[name]; !ok {
					ts.Fatalf("no %s in:\n%s", path, text)
				}
			case []any:
				i, err := strconv.Atoi(name)
				if err != nil || i >= len(x) {
					ts.Fatalf("no %s in:\n%s", path, text)
				}
				v = x[i]
			default:
				ts.Fatalf("no %s in:\n%s", path, text)
			}
		}
		if got := fmt.Sprint(v); got != want && want != "*" {
			ts.Fatalf("%s is %s, want %s", path, got, want)
		}
	}
}

// mode MODE FILE… checks permissions.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] mode MODE FILE…")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, file := range args[1:] {
		fi, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := fi.Mode().Perm(); (uint64(got) == want) == neg {
			ts.Fatalf("%s has mode %04o", file, got)
		}
	}
}

// alike FILE FILE compares lines in any order.
func cmdAlike(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] alike FILE FILE")
	}
	sorted := func(name string) string {
		lines := bytes.Split([]byte(strings.TrimSpace(ts.ReadFile(name))), []byte("\n"))
		texts := make([]string, len(lines))
		for i, l := range lines {
			texts[i] = string(l)
		}
		return strings.Join(sortedStrings(texts), "\n")
	}
	if a, b := sorted(args[0]), sorted(args[1]); (a == b) == neg {
		ts.Fatalf("%s:\n%s\n\n%s:\n%s", args[0], a, args[1], b)
	}
}

// processes N waits until N background processes of this script's home run.
func cmdProcesses(ts *testscript.TestScript, neg bool, args []string) {
	if runtime.GOOS != "linux" {
		return
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: processes N")
	}
	var found []string
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if found = backgroundOf(ts); strconv.Itoa(len(found)) == args[0] {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%d background processes, want %s: %q", len(found), args[0], found)
		}
	}
}

// backgroundOf finds the background processes of a home. Only root can tell by
// their environment, which they hide from others: for everybody else those
// count that came so far as to say so in the log.
func backgroundOf(ts *testscript.TestScript) (found []string) {
	home := ts.Getenv("AGENTKEYS_HOME")
	if os.Getuid() == 0 {
		all, err := filepath.Glob("/proc/[0-9]*/environ")
		ts.Check(err)
		for _, path := range all {
			env, err := os.ReadFile(path)
			if err == nil && bytes.Contains(env, []byte("AGENTKEYS_HOME="+home+"\x00")) && bytes.Contains(env, []byte(childVariable+"=")) {
				found = append(found, path)
			}
		}
		return found
	}
	log, _ := os.ReadFile(filepath.Join(home, "state", "daemon.log"))
	for _, m := range startedLine.FindAllSubmatch(log, -1) {
		path := "/proc/" + string(m[1]) + "/cmdline"
		if cmdline, err := os.ReadFile(path); err == nil && bytes.Contains(cmdline, []byte("agentkeys\x00up")) {
			found = append(found, path)
		}
	}
	return found
}

// needs PROGRAM… skips the script if one is missing, and fails it where all are
// meant to be there.
func cmdNeeds(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			ts.Fatalf("there is no %s: run make setup", name)
		}
		scriptOf(ts).t.Skipf("SKIPPED: there is no %s: run make setup", name)
	}
}

// damaged says that the script leaves a log that does not verify.
func cmdDamaged(ts *testscript.TestScript, _ bool, _ []string) { scriptOf(ts).damaged = true }
