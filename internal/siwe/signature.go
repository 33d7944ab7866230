package siwe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// A signature of an account is r (32 bytes), s (32 bytes), v (1 byte). One for
// a contract is whatever the contract takes.
const (
	signatureSize = 65
	maxSignature  = 8 << 10
)

// halfOrder is the largest low s: half the order of secp256k1, EIP-2.
var halfOrder = [32]byte{
	0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
}

// undeployed ends a signature of a contract that is not there yet, ERC-6492.
var undeployed = bytes.Repeat([]byte{0x64, 0x92}, 16)

func parseSignature(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || len(digits) > 2*maxSignature {
		return nil, fmt.Errorf("%w: it is not 0x and hexadecimal digits, at most %d bytes", ErrSignature, maxSignature)
	}
	sig, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not 0x and hexadecimal digits", ErrSignature)
	}
	if bytes.HasSuffix(sig, undeployed) {
		return nil, fmt.Errorf("%w: it is of a contract account that is not deployed yet (ERC-6492): send any transaction from the account, then sign in again", ErrSignature)
	}
	return sig, nil
}

// hash is what personal_sign signs, EIP-191 version 0x45.
func hash(text string) [32]byte {
	return keccak([]byte("\x19Ethereum Signed Message:\n"+strconv.Itoa(len(text))), []byte(text))
}

// recoverAddress returns who signed a hash.
func recoverAddress(h [32]byte, sig []byte) (Address, error) {
	if len(sig) != signatureSize {
		return Address{}, fmt.Errorf("%w: it has %d bytes, one of an account has %d", ErrSignature, len(sig), signatureSize)
	}
	v := sig[64]
	switch v {
	case 0, 1: // as hardware wallets write it
		v += 27
	case 27, 28:
	default:
		return Address{}, fmt.Errorf("%w: its last byte is none of 27, 28, 0 and 1", ErrSignature)
	}
	// With s goes n-s, of the same message and key: one of the two is enough.
	if bytes.Compare(sig[32:64], halfOrder[:]) > 0 {
		return Address{}, fmt.Errorf("%w: its s is not the low one", ErrSignature)
	}
	// The library has the recovery id first. It refuses r and s of zero, those
	// of the order or above, and an r that is on no point.
	key, _, err := ecdsa.RecoverCompact(append([]byte{v}, sig[:64]...), h[:])
	if err != nil {
		return Address{}, fmt.Errorf("%w: no key can have made it", ErrSignature)
	}
	sum := keccak(key.SerializeUncompressed()[1:])
	return Address(sum[12:]), nil
}

// verify checks a signature by the account's key, or else by its contract.
func verify(ctx context.Context, text string, sig []byte, want Ask, chains []Contracts) (contract bool, err error) {
	h := hash(text)
	signer, err := recoverAddress(h, sig)
	if err == nil && signer == want.Address {
		return false, nil
	}
	if err == nil {
		err = fmt.Errorf("%w: another account made it, or the text was changed before it was signed", ErrSignature)
	}
	for _, c := range chains {
		if c.Chain() != want.ChainID {
			continue
		}
		code, codeErr := c.Code(ctx, want.Address)
		if codeErr != nil {
			return false, fmt.Errorf("%w: %w", ErrUnavailable, codeErr)
		}
		if len(code) == 0 {
			return false, err // no contract: what was wrong with the signature stands
		}
		err = askContract(ctx, c, want.Address, h, sig)
		return err == nil, err
	}
	return false, err
}

// magic is bytes4(keccak256("isValidSignature(bytes32,bytes)")): both the
// selector of ERC-1271 and its yes.
var magic = [4]byte{0x16, 0x26, 0xba, 0x7e}

func askContract(ctx context.Context, c Contracts, at Address, h [32]byte, sig []byte) error {
	answer, err := c.Call(ctx, at, isValidSignature(h, sig))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// bytes4 is padded to a word on its right.
	if len(answer) != 32 || !bytes.Equal(answer[:4], magic[:]) || !bytes.Equal(answer[4:], make([]byte, 28)) {
		return fmt.Errorf("%w: the contract at the address says it is not valid (ERC-1271)", ErrSignature)
	}
	return nil
}

// isValidSignature is the call's data in the ABI of contracts: the selector,
// the hash, where the bytes begin (64), their length, and they, padded to words.
func isValidSignature(h [32]byte, sig []byte) []byte {
	word := func(n int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24), uint64(n)) }
	data := append(magic[:], h[:]...)
	data = append(data, word(64)...)
	data = append(data, word(len(sig))...)
	data = append(data, sig...)
	return append(data, make([]byte, (32-len(sig)%32)%32)...)
}
