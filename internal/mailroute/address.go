package mailroute

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
)

// ErrAddress: what was parsed is no address of a wallet. The input is not
// repeated.
var ErrAddress = errors.New("no mail address of a wallet")

const (
	// maxLocal is how long a local part may be, in bytes: RFC 5321, 4.5.3.1.1.
	maxLocal = 64
	// stampDigits is how many digits of an address tell its time.
	stampDigits  = 10
	walletDigits = 2 * agentkeys.WalletSize
	maxTag       = 4
	maxDigits    = maxLocal - len("xx-0x-") - walletDigits
)

// Address is the local part of an address of a wallet,
//
//	<tag>-0x<40 hexadecimal digits>-<digits>
//	tag     [a-z]{2,4}: the service that writes to it, by the catalogue
//	digits  [0-9]+, up to 64 bytes in all; of those that NewAddress makes, ten
//	        are Unix seconds and the others random
//
// Two are equal if they name the same. The zero value names nothing.
type Address struct {
	wallet   agentkeys.Wallet
	tag      [maxTag]byte
	digits   [maxDigits]byte
	nTag, nD uint8
}

// ParseLocal parses a local part, all of it. The digits of the wallet may be of
// either case, as some services change it; nothing else may.
func ParseLocal(s string) (Address, error) {
	if len(s) > maxLocal {
		return Address{}, ErrAddress
	}
	a, ok := parseLocal([]byte(s))
	if !ok {
		return Address{}, ErrAddress
	}
	return a, nil
}

func parseLocal(b []byte) (a Address, ok bool) {
	if len(b) > maxLocal {
		return Address{}, false
	}
	n := bytes.IndexByte(b, '-')
	if n < 2 || n > maxTag {
		return Address{}, false
	}
	for _, c := range b[:n] {
		if c < 'a' || c > 'z' {
			return Address{}, false
		}
	}
	rest := b[n+1:]
	if len(rest) < 2+walletDigits+2 || rest[0] != '0' || rest[1] != 'x' || rest[2+walletDigits] != '-' {
		return Address{}, false
	}
	digits := rest[2+walletDigits+1:]
	for _, c := range digits {
		if c < '0' || c > '9' {
			return Address{}, false
		}
	}
	var raw [agentkeys.WalletSize]byte
	if _, err := hex.Decode(raw[:], rest[2:2+walletDigits]); err != nil {
		return Address{}, false
	}
	w := agentkeys.WalletFrom(raw)
	if w.IsZero() {
		return Address{}, false
	}
	a = Address{wallet: w, nTag: uint8(n), nD: uint8(len(digits))}
	copy(a.tag[:], b[:n])
	copy(a.digits[:], digits)
	return a, true
}

// tagLike reports whether a local part claims to be of a wallet, so that
// whoever wrote it erred, or tries something: letters, then -0x.
func tagLike(b []byte) bool {
	n := 0
	for n < len(b) && (b[n]|0x20) >= 'a' && (b[n]|0x20) <= 'z' {
		n++
	}
	return n > 0 && len(b) >= n+3 && b[n] == '-' && b[n+1] == '0' && b[n+2]|0x20 == 'x'
}

// ParseAddress parses <local>@<domain>. The domain is returned as it is; it is
// for the caller to say whose it is.
func ParseAddress(s string) (a Address, domain string, err error) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !validDomain([]byte(domain)) {
		return Address{}, "", ErrAddress
	}
	if a, err = ParseLocal(local); err != nil {
		return Address{}, "", err
	}
	return a, domain, nil
}

// NewAddress makes an address of a wallet: at tells the sign-up it is for, and
// random, which must be of a cryptographic source, that nobody can guess it.
func NewAddress(tag string, w agentkeys.Wallet, at time.Time, random uint64) (Address, error) {
	if w.IsZero() || !validTag(tag) {
		return Address{}, fmt.Errorf("%w: a tag is 2 to 4 of a-z, and a wallet is not zero", ErrAddress)
	}
	sec := at.Unix()
	if sec < 1e9 || sec >= 1e10 {
		return Address{}, fmt.Errorf("%w: its time must have ten digits", ErrAddress)
	}
	free := maxLocal - len(tag) - len("-0x-") - walletDigits - stampDigits
	mod := uint64(1)
	for range free {
		mod *= 10
	}
	return ParseLocal(fmt.Sprintf("%s-%s-%d%0*d", tag, w, sec, free, random%mod))
}

func validTag(s string) bool {
	if len(s) < 2 || len(s) > maxTag {
		return false
	}
	for _, c := range []byte(s) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// IsZero reports whether a is the zero value.
func (a Address) IsZero() bool { return a == Address{} }

// Tag returns the tag.
func (a Address) Tag() string { return string(a.tag[:a.nTag]) }

// Wallet returns the wallet.
func (a Address) Wallet() agentkeys.Wallet { return a.wallet }

// Digits returns the digits.
func (a Address) Digits() string { return string(a.digits[:a.nD]) }

// Local returns the local part, its wallet in lower case; "" of the zero value.
func (a Address) Local() string {
	if a.IsZero() {
		return ""
	}
	return a.Tag() + "-" + a.wallet.String() + "-" + a.Digits()
}

// String is Local.
func (a Address) String() string { return a.Local() }

// At returns the address at a domain; "" of the zero value.
func (a Address) At(domain string) string {
	if a.IsZero() {
		return ""
	}
	return a.Local() + "@" + domain
}

// Made returns when an address of NewAddress was made, to the second; false if
// it has too few digits to tell.
func (a Address) Made() (time.Time, bool) {
	if a.nD < stampDigits || a.digits[0] == '0' {
		return time.Time{}, false
	}
	sec := int64(0)
	for _, c := range a.digits[:stampDigits] {
		sec = sec*10 + int64(c-'0')
	}
	return time.Unix(sec, 0).UTC(), true
}
