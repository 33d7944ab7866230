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

// Told is what one of the writers was told of its change: that it was made, or
// that it was refused and nothing was changed.
type Told struct {
	Token int
	By    string
	Made  bool
}

// Use uses as many tokens as it gets, by several writers whose names begin with
// who. It ends when no token is left or ctx is done. Other errors than refusals
// are those of a crash: it tries the token again.
func (s Set) Use(ctx context.Context, state broker.State, who string, told func(Told)) {
	var wg sync.WaitGroup
	for w := range 4 {
		by := fmt.Sprint(who, ".", w)
		wg.Go(func() {
			first, unsure := rand.IntN(s.N), false
			for n := 0; n < s.N && ctx.Err() == nil; {
				i := (first + n) % s.N
				err := s.use(ctx, state, by, i)
				switch {
				case err == nil:
					told(Told{i, by, true})
				case errors.Is(err, broker.ErrConflict):
					if !unsure { // else it may be that it was made before
						told(Told{i, by, false})
					}
				case !errors.Is(err, broker.ErrAbsent):
					unsure = true
					time.Sleep(10 * time.Millisecond)
					continue
				}
				unsure = false
				n++
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
// what the writers were told of it is so.
func (s Set) Verify(t *testing.T, state broker.State, heard *Heard) (used int) {
	t.Helper()
	heard.mu.Lock()
	defer heard.mu.Unlock()
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
		for _, h := range heard.of[i] {
			if h.Made != (h.By == by) {
				t.Errorf("token %d is used by %q, and %s was told %v", i, by, h.By, h.Made)
			}
		}
		switch {
		case (token == "") == (by == ""), by != also, by == "" && len(events) > 0, by != "" && (len(events) != 1 || events[0] != by):
			t.Errorf("token %d is %q, used by %q and %q, and events tell of %q", i, token, by, also, events)
		}
		if by != "" {
			used++
		}
	}
	return used
}

// Heard collects what writers were told.
type Heard struct {
	mu   sync.Mutex
	of   map[int][]Told
	made int
}

// Add adds to it.
func (h *Heard) Add(t Told) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[int][]Told{}
	}
	h.of[t.Token] = append(h.of[t.Token], t)
	if t.Made {
		h.made++
	}
}

// Made returns how many changes were acknowledged.
func (h *Heard) Made() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.made
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
	Set{os.Getenv(setVar), n}.Use(ctx, state, os.Getenv(whoVar), func(t Told) {
		fmt.Println(t.Token, t.By, t.Made)
	})
	if err := state.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// Follow hears what the child is told until it ends, and kills it after kill
// acknowledgements, if kill is not 0.
func (c *Child) Follow(t *testing.T, h *Heard, kill int) {
	made := 0
	for lines := bufio.NewScanner(c.out); lines.Scan(); {
		var told Told
		if _, err := fmt.Sscan(lines.Text(), &told.Token, &told.By, &told.Made); err != nil {
			t.Errorf("%s says %q: %v", c.who, lines.Text(), err)
			continue
		}
		h.Add(told)
		if told.Made {
			if made++; made == kill {
				_ = c.cmd.Process.Kill() // what it said before is still heard
			}
		}
	}
}
