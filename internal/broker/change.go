package broker

import "fmt"

// maxYear keeps a time within what counts in milliseconds.
const maxYear = 9999

// Valid reports whether c can be asked of a State.
func (c Change) Valid() error {
	if len(c.Writes) > MaxChanges || len(c.Events) > MaxChanges {
		return fmt.Errorf("%w: %d writes and %d events", ErrInvalid, len(c.Writes), len(c.Events))
	}
	seen := make(map[Key]bool, len(c.Writes))
	for _, w := range c.Writes {
		if err := w.Key.Valid(); err != nil {
			return err
		}
		switch {
		case seen[w.Key]:
			return fmt.Errorf("%w: two writes of one item of kind %s", ErrInvalid, w.Key.Kind)
		case w.Expect < 0:
			return fmt.Errorf("%w: version %d", ErrInvalid, w.Expect)
		case len(w.Value) > MaxValue:
			return fmt.Errorf("%w: a value of %d bytes", ErrInvalid, len(w.Value))
		case !w.Expires.IsZero() && (w.Expires.Year() < 1970 || w.Expires.Year() > maxYear):
			return fmt.Errorf("%w: it expires in the year %d", ErrInvalid, w.Expires.Year())
		}
		seen[w.Key] = true
	}
	for _, e := range c.Events {
		if err := (Key{Kind: "event", Name: e.Topic}).Valid(); err != nil {
			return err
		}
		if len(e.Value) > MaxValue {
			return fmt.Errorf("%w: an event of %d bytes", ErrInvalid, len(e.Value))
		}
	}
	return nil
}

// ValidList reports whether a list can be asked of a State.
func ValidList(kind, prefix, after string, limit int) error {
	for _, name := range []string{prefix, after} {
		if name == "" {
			name = "-"
		}
		if err := (Key{Kind: kind, Name: name}).Valid(); err != nil {
			return err
		}
	}
	return ValidLimit(limit)
}

// ValidLimit reports whether so many items or events can be asked for at once.
func ValidLimit(limit int) error {
	if limit < 1 || limit > MaxList {
		return fmt.Errorf("%w: limit %d", ErrInvalid, limit)
	}
	return nil
}
