package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// post has a message come into w's inbox in a directory, as the receiver and
// the router bring it there.
func post(ctx context.Context, d *dirmail.Dir, name string, m mail, w agentkeys.Wallet) error {
	text := m.bytes(id(name))
	if err := d.Write(ctx, id(name), bytes.NewReader(text), int64(len(text))); err != nil {
		return err
	}
	p, err := d.Read(ctx, id(name), 0, 1, "")
	if err != nil {
		return err
	}
	_, err = d.Place(ctx, id(name), p.Version, w)
	return err
}

// In a directory that another process writes to, mail is told of: polls come
// too late here.
func TestDirectory(t *testing.T) {
	root := t.TempDir() + "/mail"
	reader, err := dirmail.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer, err := dirmail.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	const runs = 8
	type end struct {
		n   int
		f   Found
		err error
	}
	ends, looked := make(chan end), make(chan int, 100*runs)
	for n := range runs {
		o := options(reader)
		o.Query.To = address(wallet, uint64(n))
		o.First, o.Last = time.Hour, time.Hour
		o.Progress = func(Seen) { looked <- n }
		go func() {
			f, err := Wait(ctx, o)
			ends <- end{n, f, err}
		}()
	}
	for range runs {
		<-looked // each has seen that nothing is there
	}
	for n := range runs {
		if err := post(ctx, writer, fmt.Sprintf("m%d", n), mail{to: address(wallet, uint64(n)), at: time.Now(), token: fmt.Sprintf("token-%d-0123456789", n)}, wallet); err != nil {
			t.Fatal(err)
		}
		// Of another wallet: not even seen.
		if err := post(ctx, writer, fmt.Sprintf("x%d", n), mail{to: address(wallet, uint64(n)), at: time.Now(), token: "of another wallet"}, other); err != nil {
			t.Fatal(err)
		}
	}
	for range runs {
		e := <-ends
		if e.err != nil {
			t.Fatal(e.err)
		}
		if want := fmt.Sprintf("token-%d-0123456789", e.n); linked(t, e.f) != want {
			t.Errorf("run %d found a link of another", e.n)
		}
	}
	// The file is as it was: what was read of it is cleared, and is a copy.
	o := options(reader)
	o.Query.To = address(wallet, 0)
	for range 2 {
		if _, err := Find(ctx, o); err != nil {
			t.Error(err)
		}
	}
	o.Wallet, o.Query.To = other, address(other, 0)
	if _, err := Find(ctx, o); err == nil {
		t.Error("mail for one wallet's address counts for another")
	}
	o.Wallet, o.Query.To = agentkeys.Wallet{}, address(other, 0)
	if _, err := Find(ctx, o); !errors.Is(err, ErrOptions) || errors.Is(err, mailstore.ErrInvalid) {
		t.Error(err)
	}
}
