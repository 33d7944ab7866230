package mailsrv

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailstore"
)

// TestSweepWalks: where all can be gone through at once it is, and not page by
// page, each of which would read all of a directory.
func TestSweepWalks(t *testing.T) {
	c := configuration(t.TempDir())
	s, err := Open(t.Context(), c, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.sweeper.waiting = nil // it is not asked
	store := openDir(t, c.Store.Directory)
	for n := range 3 {
		if err := store.Write(t.Context(), number(n), strings.NewReader(""), 0); err != nil {
			t.Fatal(err)
		}
	}
	background, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	b := &book{say: func(*post, int) verdict { return settled }}
	s.sweeper.office = newOffice(b.handle, time.Now, slog.New(slog.DiscardHandler))
	go func() {
		s.sweeper.office.run(background, t.Context())
		close(done)
	}()
	found, err := s.sweeper.sweep(t.Context())
	end()
	<-done
	if err != nil || found != 3 || len(b.of(2)) != 1 {
		t.Errorf("%d found, %v", found, err)
	}
	broken := errors.New("broken")
	s.sweeper.walk = func(context.Context) iter.Seq2[mailstore.Item, error] {
		return func(yield func(mailstore.Item, error) bool) { yield(mailstore.Item{}, broken) }
	}
	if _, err := s.sweeper.sweep(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}
