package siwe

import (
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/sha3"
)

// Address is an Ethereum account of the user's own. It is no wallet of
// AgentKeys: it says who somebody is, and nothing is stored under it.
type Address [20]byte

// ParseAddress parses 0x and 40 hexadecimal digits whose letters are all lower
// case, all upper case, or mixed with a right EIP-55 checksum. The zero address
// is nobody's. Errors wrap ErrMessage and never echo the input.
func ParseAddress(s string) (Address, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	var a Address
	if !ok || len(digits) != 2*len(a) {
		return Address{}, fmt.Errorf("%w: an address is 0x and 40 hexadecimal digits", ErrMessage)
	}
	if _, err := hex.Decode(a[:], []byte(digits)); err != nil {
		return Address{}, fmt.Errorf("%w: an address is 0x and 40 hexadecimal digits", ErrMessage)
	}
	if a.IsZero() {
		return Address{}, fmt.Errorf("%w: the zero address is nobody's", ErrMessage)
	}
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && s != a.String() {
		return Address{}, fmt.Errorf("%w: the capitals of the address do not match its EIP-55 checksum: a digit is wrong, or it was retyped", ErrMessage)
	}
	return a, nil
}

// IsZero reports whether a is nobody's.
func (a Address) IsZero() bool { return a == Address{} }

// String returns a in the mixed case of EIP-55, the only form in a message.
func (a Address) String() string {
	s := []byte(hex.EncodeToString(a[:]))
	sum := keccak(s)
	for i, c := range s {
		// A letter is upper case where its nibble of the hash is 8 or more.
		if c >= 'a' && sum[i/2]>>(4*(1-i%2))&8 != 0 {
			s[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(s)
}

// keccak is Ethereum's hash: Keccak-256 as it was before it became SHA-3.
func keccak(parts ...[]byte) [32]byte {
	h := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}
