package broker

import (
	"crypto/rand"
	"crypto/subtle"
	"strings"
)

// Codes are for people: Crockford's base 32, which has no I, L, O and U, and
// of which each character carries five bits. Read back, letter case, hyphens
// and spaces do not count, and O is 0, I and L are 1.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	// A hand-off code is 40 bits: it is good for one device only, once, and
	// five wrong ones end its login.
	handoffLen = 8
	// An enrolment code is all that its bearer needs: 100 bits.
	enrolmentLen = 20
)

// newCode makes a code of n characters, and its form for people, in groups.
func newCode(n, group int) (code, shown string) {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	var s strings.Builder
	for i := range b {
		b[i] = alphabet[b[i]&31]
		if i > 0 && i%group == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(b[i])
	}
	return string(b), s.String()
}

// parseCode reads a code of n characters back; "" if it is none.
func parseCode(s string, n int) string {
	if len(s) > 4*n {
		return ""
	}
	var code strings.Builder
	for _, c := range strings.ToUpper(s) {
		switch c {
		case '-', ' ':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		if !strings.ContainsRune(alphabet, c) {
			return ""
		}
		code.WriteRune(c)
	}
	if code.Len() != n {
		return ""
	}
	return code.String()
}

// same compares digests in constant time. The empty one equals nothing.
func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
