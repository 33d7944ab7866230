package pgstate

import (
	"fmt"

	"github.com/litentry/agentkeys/internal/broker"
)

// maxYear keeps a time within what counts in milliseconds.
const maxYear = 9999

func checkChange(c broker.Change) error {
	if len(c.Writes) > broker.MaxChanges || len(c.Events) > broker.MaxChanges {
		return fmt.Errorf("%w: %d writes and %d events", broker.ErrInvalid, len(c.Writes), len(c.Events))
	}
	seen := make(map[broker.Key]bool, len(c.Writes))
	for _, w := range c.Writes {
		if err := w.Key.Valid(); err != nil {
			return err
		}
		switch {
		case seen[w.Key]:
			return fmt.Errorf("%w: two writes of one item of kind %s", broker.ErrInvalid, w.Key.Kind)
		case w.Expect < 0:
			return fmt.Errorf("%w: version %d", broker.ErrInvalid, w.Expect)
		case len(w.Value) > broker.MaxValue:
			return fmt.Errorf("%w: a value of %d bytes", broker.ErrInvalid, len(w.Value))
		case !w.Expires.IsZero() && (w.Expires.Year() < 1970 || w.Expires.Year() > maxYear):
			return fmt.Errorf("%w: it expires in the year %d", broker.ErrInvalid, w.Expires.Year())
		}
		seen[w.Key] = true
	}
	for _, e := range c.Events {
		if err := (broker.Key{Kind: "event", Name: e.Topic}).Valid(); err != nil {
			return err
		}
		if len(e.Value) > broker.MaxValue {
			return fmt.Errorf("%w: an event of %d bytes", broker.ErrInvalid, len(e.Value))
		}
	}
	return nil
}

func checkList(kind, prefix, after string, limit int) error {
	for _, name := range []string{prefix, after} {
		if name == "" {
			name = "-"
		}
		if err := (broker.Key{Kind: kind, Name: name}).Valid(); err != nil {
			return err
		}
	}
	return checkLimit(limit)
}

func checkLimit(limit int) error {
	if limit < 1 || limit > broker.MaxList {
		return fmt.Errorf("%w: limit %d", broker.ErrInvalid, limit)
	}
	return nil
}
