package book_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
)

func TestMain(m *testing.M) {
	ops := map[string]durabletest.Op{"live": live, "full": full}
	for _, c := range faulty {
		ops[c.name] = c.child
	}
	durabletest.Main(m, ops)
}

// faulty are the changes that are tried with every system call failing.
var faulty = append([]change{
	{"renew", false, func(b *book.Book, text string) error { return b.RenewToken(text, noon, noon.Add(3*time.Hour)) }},
	{"remove busy agent", true, changes[6].do},
}, changes...)

// The directory of a run has the state and, beside it, what the parent and the
// child both need to know.
const textFile = "text"

func prepared(c change) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		b, _, text := setUp(t, filepath.Join(dir, "state"))
		if c.name == "remove busy agent" {
			put(t, b, bot, brave, 20)
			issue(t, b, bot)
		}
		if err := os.WriteFile(filepath.Join(dir, textFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (c change) child(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, textFile))
	if err != nil {
		return err
	}
	b, err := book.Open(filepath.Join(dir, "state"), master, &tape{})
	if err != nil {
		return err
	}
	before := inForce(b)
	durabletest.Begin()
	err = c.do(b, string(text))
	if c.revokes && !c.dead(b, string(text)) {
		err = errors.Join(err, durabletest.Ack("still in force"))
	}
	if !c.revokes && err != nil && inForce(b) != before {
		err = errors.Join(err, durabletest.Ack("in force without success"))
	}
	return err
}

// lasting is what a state directory grants after a restart.
func lasting(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, textFile))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	b, _ := open(t, state)
	return inForce(b) + fmt.Sprintf("%d tokens, one for %q, later for %q", tokenFiles(t, state),
		speaksFor(b, string(text), noon), speaksFor(b, string(text), noon.Add(2*time.Hour)))
}

// TestEveryCall: whatever system call fails or is the last, a change that was
// acknowledged is there after a restart, one that failed is not, and neither
// is any other.
func TestEveryCall(t *testing.T) {
	for _, c := range faulty {
		t.Run(c.name, func(t *testing.T) {
			dir := durabletest.Dir(t)
			prepared(c)(t, dir)
			before := lasting(t, dir)
			if _, err := durabletest.Start(t, c.name, dir).Wait(); err != nil {
				t.Fatal(err)
			}
			after := lasting(t, dir)
			if before == after {
				t.Fatalf("it changes nothing: %s", before)
			}
			durabletest.Each(t, c.name, prepared(c), func(t *testing.T, r durabletest.Run) {
				if len(r.Acks) > 0 {
					t.Errorf("with %v: %s", r.Err, r.Acks)
				}
				got := lasting(t, r.Dir)
				switch {
				case r.Err == nil && got != after:
					t.Errorf("acknowledged, and there is\n%s\nwant\n%s", got, after)
				case r.Err != nil && !c.revokes && r.Errno != "" && got != before:
					t.Errorf("%v, and there is\n%s\nwant\n%s", r.Err, got, before)
				case r.Err != nil && c.name != "remove busy agent" && c.name != "remove agent" && got != before && got != after:
					t.Errorf("%v, and there is\n%s\nneither\n%s\nnor\n%s", r.Err, got, before, after)
				}
				if !strings.HasPrefix(c.name, "remove") {
					return
				}
				// What is left of an agent can be removed like an agent, and one
				// of its label begins with nothing.
				b, _ := open(t, filepath.Join(r.Dir, "state"))
				if _, err := b.RemoveAgent(ctx, bot, noon); err != nil && !errors.Is(err, book.ErrUnknownAgent) {
					t.Errorf("removed again: %v", err)
				}
				create(t, b, bot, 2)
				if got, want := lasting(t, r.Dir), `agent bot; 0 tokens, one for "", later for ""`; got != want {
					t.Errorf("a new agent has %s", got)
				}
			})
		})
	}
}

// live makes changes for ever and acknowledges each. An ack says what the
// agents are to have then: "label=requests of its grant, or - for none".
func live(dir string) error {
	b, err := book.Open(dir, master, &tape{})
	if err != nil {
		return err
	}
	for n := int64(1); ; n++ {
		i := rand.IntN(4)
		label := agentkeys.Must(agentkeys.ParseAgent(fmt.Sprintf("a%d", i)))
		_, exists := b.Agent(label)
		state := ""
		switch {
		case !exists:
			_, err = b.CreateAgent(ctx, label, wallet(byte(i+2)), noon)
			state = "-"
		case n%7 == 0:
			_, err = b.RemoveAgent(ctx, label, noon)
			state = "gone"
		case n%3 == 0 && b.Grant(label, or) != nil:
			_, err = b.RemoveGrant(ctx, label, or, noon)
			state = "-"
		default:
			_, err = b.PutGrant(ctx, label, or, terms(n), noon)
			state = fmt.Sprint(n)
		}
		if err == nil {
			err = durabletest.Ack(label.String() + "=" + state)
		}
		if err != nil {
			return err
		}
	}
}

// TestKilled: kill -9 at any moment loses nothing that was acknowledged. The
// one change that was under way may be there or not.
func TestKilled(t *testing.T) {
	for run := range 8 {
		dir := stateDir(t)
		acks := durabletest.KillAfter(t, "live", dir, 5+10*run, time.Duration(run)*311*time.Microsecond)
		want := map[string]string{"a0": "gone", "a1": "gone", "a2": "gone", "a3": "gone"}
		for _, ack := range acks {
			label, state, _ := strings.Cut(ack, "=")
			want[label] = state
		}
		b, _ := open(t, dir)
		odd := 0
		for s, state := range want {
			label := agentkeys.Must(agentkeys.ParseAgent(s))
			got := "gone"
			if _, ok := b.Agent(label); ok {
				got = "-"
			}
			if g := b.Grant(label, or); g != nil {
				got = fmt.Sprint(g.Requests.Limit)
			}
			if got != state {
				odd++
				t.Logf("%s is %s, acknowledged %s", s, got, state)
			}
		}
		if odd > 1 {
			t.Errorf("%d acks, and %d agents are not as acknowledged", len(acks), odd)
		}
	}
}

// full makes changes where nothing more can be written.
func full(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, textFile))
	if err != nil {
		return err
	}
	b, err := book.Open(filepath.Join(dir, "state"), master, &tape{})
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{}); err != nil {
		return err
	}
	for _, c := range changes {
		err := c.do(b, string(text))
		what := "fails"
		if err == nil {
			what = "works"
		} else if strings.Contains(err.Error(), "restart") {
			what = "fails and may be in force"
		}
		if err := durabletest.Ack(c.name + " " + what); err != nil {
			return err
		}
	}
	return nil
}

// TestFullDisk: what cannot be written is not said to be there nevertheless,
// and to revoke needs no room.
func TestFullDisk(t *testing.T) {
	dir := durabletest.Dir(t)
	prepared(faulty[0])(t, dir)
	acks, err := durabletest.Start(t, "full", dir).Wait()
	if err != nil {
		t.Fatal(err)
	}
	want := "create agent fails, grant fails, grant anew fails, issue fails, revoke works, end works, remove agent works"
	if got := strings.Join(acks, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
