package statetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

// Set is a number of tokens that can be used once each, for writers that race
// for them while something crashes. Who uses one leaves two items and an event
// in the same change.
type Set struct {
	Name string
	N    int
}

func (s Set) token(i int) broker.Key {
	return broker.Key{Kind: "token", Name: fmt.Sprint(s.Name, "-", i)}
}
func (s Set) used(i int) broker.Key {
	return broker.Key{Kind: "used", Name: fmt.Sprint(s.Name, "-", i)}
}
func (s Set) also(i int) broker.Key {
	return broker.Key{Kind: "also", Name: fmt.Sprint(s.Name, "-", i)}
}

// Make puts the tokens there.
func (s Set) Make(t *testing.T, state broker.State) {
	t.Helper()
	for from := 0; from < s.N; from += broker.MaxChanges {
		var c broker.Change
		for i := from; i < min(from+broker.MaxChanges, s.N); i++ {
			c.Writes = append(c.Writes, broker.Write{Key: s.token(i), Value: []byte("token")})
		}
		applied(t, state, c)
	}
}

// Use uses as many tokens as it gets, by several writers, and tells of each
// that was acknowledged. It ends when no token is left or ctx is done. Errors
// are those of a crash: it tries the token again.
func (s Set) Use(ctx context.Context, state broker.State, who string, acknowledged func(i int)) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			first := rand.IntN(s.N)
			for n := 0; n < s.N && ctx.Err() == nil; {
				i := (first + n) % s.N
				switch err := s.use(ctx, state, who, i); {
				case err == nil:
					acknowledged(i)
					n++
				case errors.Is(err, broker.ErrConflict), errors.Is(err, broker.ErrAbsent):
					n++
				default:
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
}

func (s Set) use(ctx context.Context, state broker.State, who string, i int) error {
	item, err := state.Get(ctx, s.token(i))
	if err != nil {
		return err
	}
	_, err = state.Apply(ctx, broker.Change{
		Writes: []broker.Write{
			{Key: s.used(i), Value: []byte(who)},
			{Key: s.token(i), Expect: item.Version},
			{Key: s.also(i), Value: []byte(who)},
		},
		Events: []broker.NewEvent{{Topic: s.used(i).Name, Value: []byte(who)}},
	})
	return err
}

// Verify demands that every token is there or was used once, wholly, and that
// the acknowledged ones were used by who was told so.
func (s Set) Verify(t *testing.T, state broker.State, acknowledged map[int]string) (used int) {
	t.Helper()
	told := map[string][]string{}
	for after := int64(0); ; {
		events, err := state.Events(t.Context(), after, broker.MaxList)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			told[e.Topic] = append(told[e.Topic], string(e.Value))
			after = e.Seq
		}
		if len(events) == 0 {
			break
		}
	}
	read := func(k broker.Key) string {
		item, err := state.Get(t.Context(), k)
		if err != nil && !errors.Is(err, broker.ErrAbsent) {
			t.Fatal(err)
		}
		return string(item.Value)
	}
	for i := range s.N {
		token, by, also, events := read(s.token(i)), read(s.used(i)), read(s.also(i)), told[s.used(i).Name]
		who, acked := acknowledged[i]
		switch {
		case acked && by != who:
			t.Errorf("token %d was acknowledged to %s, and is used by %q", i, who, by)
		case (token == "") == (by == ""), by != also, by == "" && len(events) > 0, by != "" && (len(events) != 1 || events[0] != by):
			t.Errorf("token %d is %q, used by %q and %q, and events tell of %q", i, token, by, also, events)
		}
		if by != "" {
			used++
		}
	}
	return used
}

// Acknowledged collects what several were told.
type Acknowledged struct {
	mu sync.Mutex
	by map[int]string
	// Twice has the tokens that two were told to have used.
	twice []int
}

// Add says that who was told to have used token i.
func (a *Acknowledged) Add(who string, i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int]string{}
	}
	if _, ok := a.by[i]; ok {
		a.twice = append(a.twice, i)
	}
	a.by[i] = who
}

// Len returns how many tokens were acknowledged.
func (a *Acknowledged) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.by)
}

// All returns what was acknowledged, each token to one.
func (a *Acknowledged) All(t *testing.T) map[int]string {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.twice) > 0 {
		t.Errorf("tokens %v were acknowledged twice", a.twice)
	}
	return a.by
}

// Variables that tell a child what to do.
const (
	whoVar = "STATETEST_WHO"
	setVar = "STATETEST_SET"
	nVar   = "STATETEST_N"
)

// Child is this test binary, using tokens in a process of its own, so that it
// can be killed.
type Child struct {
	cmd *exec.Cmd
	out io.Reader
	who string
}

// Spawn starts a child; env tells it where the state is. The binary's TestMain
// must call RunChild.
func (s Set) Spawn(t *testing.T, who string, command []string, env ...string) *Child {
	t.Helper()
	command = append(command, os.Args[0])
	cmd := exec.Command(command[0], command[1:]...)
	// The race detector waits a second at exit otherwise.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", whoVar+"="+who, setVar+"="+s.Name, nVar+"="+strconv.Itoa(s.N)), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &Child{cmd, out, who}
}

// RunChild is what a child does, if this process is one.
func RunChild(open func() (broker.State, error)) (isChild bool) {
	if os.Getenv(whoVar) == "" {
		return false
	}
	n, err := strconv.Atoi(os.Getenv(nVar))
	var state broker.State
	if err == nil {
		state, err = open()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // not longer than whoever started it
		for os.Getppid() != 1 {
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
	}()
	Set{os.Getenv(setVar), n}.Use(ctx, state, os.Getenv(whoVar), func(i int) { fmt.Println(i) })
	if err := state.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// Follow hears what the child is told until it ends, and kills it after kill
// acknowledgements, if kill is not 0.
func (c *Child) Follow(t *testing.T, a *Acknowledged, kill int) {
	lines := bufio.NewScanner(c.out)
	for n := 1; lines.Scan(); n++ {
		i, err := strconv.Atoi(strings.TrimSpace(lines.Text()))
		if err != nil {
			t.Errorf("%s: %v", c.who, err)
			continue
		}
		a.Add(c.who, i)
		if n == kill {
			_ = c.cmd.Process.Kill() // what it printed before is still heard
		}
	}
}
