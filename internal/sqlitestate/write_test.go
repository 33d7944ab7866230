package sqlitestate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

// writeOn makes one item after another, tells of each that was acknowledged
// and each that failed, and ends when writing has stopped or all are made.
func writeOn() error {
	s, err := Open(os.Getenv(pathVar), time.Now)
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := 0; i < 200; {
		_, err := s.Apply(ctx, broker.Change{Writes: []broker.Write{item(i)}, Events: []broker.NewEvent{{Topic: "made"}}})
		switch {
		case err == nil:
			fmt.Println("made", i)
			i++
		case errors.Is(err, ErrStopped):
			if perr := s.Ping(ctx); !errors.Is(perr, ErrStopped) {
				return fmt.Errorf("writing has stopped, and a ping says %v", perr)
			}
			if _, gerr := s.Get(ctx, item(0).Key); gerr != nil {
				return fmt.Errorf("writing has stopped, and a read says %w", gerr)
			}
			fmt.Println("stopped", i)
			return s.Close()
		case errors.Is(err, broker.ErrConflict):
			return fmt.Errorf("item %d was made by a change that failed, without a stop", i)
		default:
			fmt.Println("failed", i)
		}
	}
	return s.Close()
}

func item(i int) broker.Write {
	return broker.Write{Key: broker.Key{Kind: "item", Name: fmt.Sprint(i)}, Value: make([]byte, 3000)}
}
