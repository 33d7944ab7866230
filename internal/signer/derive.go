package signer

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/sha3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
)

// Each label separates one use of a root from every other.
const (
	walletSalt = "agentkeys/v1/wallet"
	auditSalt  = "agentkeys/v1/audit"
	kekLabel   = "agentkeys/v1/kek"
)

// lp is length-prefixed, so that no two lists of fields run together to the
// same bytes.
func lp(x []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(x))), x...)
}

// expand is HKDF-SHA256 (RFC 5869) of an identity root.
func expand(identity secret.Value, salt, info string, n int) (secret.Value, error) {
	b, err := hkdf.Key(sha256.New, identity.Expose(), []byte(salt), info, n)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(b), nil
}

// logSeedOf derives the seed of the key of an account's audit log.
func logSeedOf(identity secret.Value, account AccountID) (secret.Value, error) {
	return expand(identity, auditSalt, string(lp([]byte(account.String()))), 32)
}

// walletOf derives the address of
//
//	HKDF-SHA256(identity root, salt "agentkeys/v1/wallet", info lp(account id) ‖ lp(path), 48 bytes) mod n
//
// on secp256k1. 48 bytes for a 32-byte order make the bias of the reduction
// negligible (2^-128).
func walletOf(identity secret.Value, account AccountID, path Path) (agentkeys.Wallet, error) {
	info := string(lp([]byte(account.String()))) + string(lp([]byte(path.String())))
	okm, err := expand(identity, walletSalt, info, 48)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	defer okm.Clear()
	k, err := scalar([48]byte(okm.Expose()))
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	defer k.Zero()
	return address(k)
}

// scalar reduces a 48-byte big-endian number modulo the group order, in
// constant time: hi·2^256 + lo, of which the library reduces each part.
func scalar(b [48]byte) (*secp256k1.ModNScalar, error) {
	var lo [32]byte
	copy(lo[:], b[16:])
	var k, low, shift secp256k1.ModNScalar
	k.SetByteSlice(b[:16])
	low.SetBytes(&lo)
	shift.SetByteSlice(append([]byte{1}, make([]byte, 16)...)) // 2^128
	k.Mul(shift.Square()).Add(&low)
	low.Zero()
	clear(lo[:])
	clear(b[:])
	if k.IsZero() {
		return nil, errors.New("the derived private key is zero")
	}
	return &k, nil
}

// address is the Ethereum address of private key k: the last 20 bytes of the
// legacy Keccak-256 of the public key, uncompressed and without its tag byte.
func address(k *secp256k1.ModNScalar) (agentkeys.Wallet, error) {
	priv := secp256k1.NewPrivateKey(k)
	defer priv.Zero()
	sum := keccak(priv.PubKey().SerializeUncompressed()[1:])
	w := agentkeys.WalletFrom([agentkeys.WalletSize]byte(sum[12:]))
	if w.IsZero() {
		return agentkeys.Wallet{}, errors.New("the derived address is zero")
	}
	return w, nil
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}
