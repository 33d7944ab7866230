package agentkeys

import "fmt"

// MaxMessageID is the length of the longest message id, in bytes.
const MaxMessageID = 128

// MessageID names a stored mail: the last part of its object's key,
// [A-Za-z0-9_-][A-Za-z0-9._-]{0,127}. SES makes them, or the SMTP receiver.
// What begins with a dot is refused: in a directory it would be hidden, or be
// the directory itself.
type MessageID struct{ s string }

// ParseMessageID parses a message id. What does not fit is refused, never
// cleaned: two names must not become one.
func ParseMessageID(s string) (MessageID, error) {
	bad := len(s) == 0 || len(s) > MaxMessageID || s[0] == '.'
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			bad = true
		}
	}
	if bad {
		return MessageID{}, fmt.Errorf("%w: a message id is 1 to 128 letters, digits and ._-, not starting with a dot", ErrName)
	}
	return MessageID{s}, nil
}

// IsZero reports whether m is the invalid zero value.
func (m MessageID) IsZero() bool { return m.s == "" }

// String returns the id.
func (m MessageID) String() string { return m.s }

// MarshalText implements encoding.TextMarshaler.
func (m MessageID) MarshalText() ([]byte, error) { return []byte(m.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MessageID) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMessageID(string(b))
	return err
}
