package envelope

import (
	"encoding/binary"
	"fmt"

	"github.com/litentry/agentkeys"
)

// Sizes in bytes, see Header for the drawing.
const (
	// MaxPlaintext is the largest padded record.
	MaxPlaintext = 64 << 10
	// MaxSealed is the largest envelope: what a reader of a store must accept,
	// and the most it should read.
	MaxSealed = headerSize + MaxPlaintext + tagSize

	saltSize       = 32
	commitmentSize = 32
	tagSize        = 16
	saltAt         = 1 + 4 + 8
	commitmentAt   = saltAt + saltSize
	headerSize     = commitmentAt + commitmentSize
	// No record is empty, so the shortest plaintext is one unit of padding.
	minSealed = headerSize + padUnit + tagSize

	version = 0x01
)

// Name is what an envelope is bound to besides its header: opened under
// another name it fails, even under the same key.
type Name struct {
	Wallet  agentkeys.Wallet
	Service agentkeys.Service
}

// Header is the authenticated header of an envelope:
//
//	offset  bytes  field
//	0       1      version = 0x01
//	1       4      epoch of the sealing root, big-endian, from 1
//	5       8      revision, big-endian, from 1, +1 at every store of this name
//	13      32     salt, random per envelope
//	45      32     key commitment
//	77      n      AES-256-GCM ciphertext of the padded Record, n = 256, 512 … 65536
//	77+n    16     tag
//
// HKDF-SHA256 (RFC 5869) of the KEK with the salt and the info
// "agentkeys/v1/envelope" gives 76 bytes: a 32-byte message key, the 32-byte
// commitment and a 12-byte nonce. Key and nonce are fresh with the salt, so no
// nonce repeats under a key however often a name is stored. The associated
// data is bytes 0–76 ‖ lp(20 wallet bytes) ‖ lp(service), where lp(x) is a
// 4-byte big-endian length ‖ x.
//
// GCM alone does not commit to its key: one ciphertext can be made to open
// under two (Dodis, Grubbs, Ristenpart, Woodage, CRYPTO 2018). The commitment
// is compared first, in constant time, so a second key gets no decryption.
type Header struct {
	Epoch    uint32
	Revision uint64
}

// UnverifiedHeader is what the bytes claim, which whoever can write to the
// store chose. Its one use is to ask for the KEK of that epoch; trust a
// revision only from the Header that Open returns.
type UnverifiedHeader struct {
	Epoch    uint32
	Revision uint64
}

// ParseHeader reads the header without a key and without verifying it.
// Refusals: ErrTruncated, ErrVersion, ErrTooLarge, ErrZero.
func ParseHeader(sealed []byte) (UnverifiedHeader, error) {
	switch {
	case len(sealed) == 0:
		return UnverifiedHeader{}, ErrTruncated
	case sealed[0] != version:
		// Before the length, whose bounds are those of this version.
		return UnverifiedHeader{}, ErrVersion
	case len(sealed) < minSealed:
		return UnverifiedHeader{}, ErrTruncated
	case len(sealed) > MaxSealed:
		return UnverifiedHeader{}, ErrTooLarge
	}
	h := UnverifiedHeader{
		Epoch:    binary.BigEndian.Uint32(sealed[1:]),
		Revision: binary.BigEndian.Uint64(sealed[5:]),
	}
	if h.Epoch == 0 || h.Revision == 0 {
		return UnverifiedHeader{}, fmt.Errorf("%w in the header", ErrZero)
	}
	return h, nil
}

// associated returns the associated data: each name is length-prefixed, so no
// two names can run together to the same bytes.
func associated(head []byte, name Name) []byte {
	w, s := name.Wallet.Bytes(), name.Service.String()
	b := make([]byte, 0, len(head)+4+len(w)+4+len(s))
	b = append(b, head...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(w)))
	b = append(b, w[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
