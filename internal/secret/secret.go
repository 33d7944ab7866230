// Package secret owns the one type that may hold a credential in memory: a
// Value that refuses to be printed, logged, marshalled or compared by accident.
// It depends on the standard library only.
//
// Laws: every fmt verb and slog handler prints Redaction; every encoder fails;
// reading the bytes is spelled Expose, so that one search finds every reader.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redaction is what a Value prints as, whatever the verb.
const Redaction = "[secret]"

// ErrMarshal is returned by every encoding of a Value.
var ErrMarshal = errors.New("a secret cannot be marshalled")

// ErrTooLarge is returned by Read for input beyond its limit.
var ErrTooLarge = errors.New("secret is too large")

// Value is a secret. Copies of a Value share the same bytes, so Clear clears
// all of them. It is not comparable with ==; use Equal. The zero Value is empty.
type Value struct {
	_ [0]func()
	// fmt calls no methods on unexported fields of other people's structs and,
	// for a verb that does not suit a pointer, follows one. Behind two
	// pointers all it ever prints is an address.
	ref *ref
}

type ref struct{ box *box }

type box struct{ b []byte }

// New makes a Value that owns b: the caller must not keep or reuse b.
func New(b []byte) Value { return Value{ref: &ref{&box{b}}} }

// FromString makes a Value of a copy of s. The string itself cannot be
// cleared, so prefer New where the bytes can be had.
func FromString(s string) Value { return New([]byte(s)) }

// Read reads at most limit bytes to the end of r. Longer input is
// ErrTooLarge, and nothing of it is kept.
func Read(r io.Reader, limit int) (Value, error) {
	buf := make([]byte, limit+1)
	n, err := io.ReadFull(r, buf)
	switch {
	case err == nil:
		clear(buf)
		return Value{}, ErrTooLarge
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		clear(buf)
		return Value{}, err
	}
	return New(buf[:n:n]), nil
}

// Expose returns the live bytes, which the caller must neither keep past the
// life of v nor change.
func (v Value) Expose() []byte {
	if v.ref == nil {
		return nil
	}
	return v.ref.box.b
}

// Clone returns a Value with bytes of its own.
func (v Value) Clone() Value { return New(append([]byte(nil), v.Expose()...)) }

// Len returns the number of bytes.
func (v Value) Len() int { return len(v.Expose()) }

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.Len() == 0 }

// Equal compares in constant time for equal lengths.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare(v.Expose(), o.Expose()) == 1
}

// Clear overwrites the bytes, in every copy of v, and empties it.
func (v Value) Clear() {
	if v.ref != nil {
		clear(v.ref.box.b[:cap(v.ref.box.b)])
		v.ref.box.b = nil
	}
}

// Format implements fmt.Formatter for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redaction) }

// String implements fmt.Stringer.
func (v Value) String() string { return Redaction }

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return Redaction }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redaction) }

// MarshalJSON fails with ErrMarshal.
func (v Value) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }

// MarshalText fails with ErrMarshal.
func (v Value) MarshalText() ([]byte, error) { return nil, ErrMarshal }

// MarshalBinary fails with ErrMarshal.
func (v Value) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }

// MarshalYAML fails with ErrMarshal.
func (v Value) MarshalYAML() (any, error) { return nil, ErrMarshal }

// GobEncode fails with ErrMarshal.
func (v Value) GobEncode() ([]byte, error) { return nil, ErrMarshal }
