package signer

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
)

// ChecksumAddress returns w in the mixed case of EIP-55, for people to read
// and for wallet software. Nothing that a machine compares is in this form.
func ChecksumAddress(w agentkeys.Wallet) string {
	if w.IsZero() {
		return ""
	}
	b := w.Bytes()
	s := []byte(hex.EncodeToString(b[:]))
	sum := keccak(s)
	for i, c := range s {
		// A letter is upper case where its nibble of the hash is 8 or more.
		if c >= 'a' && sum[i/2]>>(4*(1-i%2))&8 != 0 {
			s[i] = c - 'a' + 'A'
		}
	}
	return "0x" + string(s)
}

// ParseAddress parses an address as people type or paste it: 0x and 40
// hexadecimal digits whose letters are all lower case, all upper case, or
// mixed with a right EIP-55 checksum. Errors wrap agentkeys.ErrName and never
// echo the input.
func ParseAddress(s string) (agentkeys.Wallet, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return agentkeys.Wallet{}, fmt.Errorf("%w: an address is 0x and 40 hexadecimal digits", agentkeys.ErrName)
	}
	w, err := agentkeys.ParseWallet("0x" + strings.ToLower(digits))
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && s != ChecksumAddress(w) {
		return agentkeys.Wallet{}, fmt.Errorf("%w: the capitals of the address do not match its EIP-55 checksum: a digit is wrong, or it was retyped", agentkeys.ErrName)
	}
	return w, nil
}
