package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/secret"
)

// Checkpoint is a signed statement of what a log holds, in the form of
// c2sp.org/tlog-checkpoint:
//
//	agentkeys/0x2222222222222222222222222222222222222222   origin
//	20852163                                               size
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=           root hash
//	                                                       empty line
//	— agentkeys/0x2222… Az3grlgtzPICa5OS8npVmf1Myq/…       signature
//
// One that came from ParseCheckpoint has a good signature.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	Signed []byte // the whole note
}

// maxCheckpoint bounds what is read as a checkpoint; ours have 250 bytes, and
// cosignatures may come to them.
const maxCheckpoint = 64 << 10

// ParseCheckpoint checks a checkpoint's form, its origin and its signature by
// v. Signatures by others are let stand. Every failure is ErrCheckpoint.
func ParseCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	if len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w: it is too long", ErrCheckpoint)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %v", ErrCheckpoint, err)
	}
	// note.Open lets the unused bits of the last base64 digit be anything.
	if _, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: the signature is not canonical base64", ErrCheckpoint)
	}
	c, err := parseTree(n.Text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %v", ErrCheckpoint, err)
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w: it is of another log", ErrCheckpoint)
	}
	c.Signed = append([]byte(nil), signed...)
	return c, nil
}

func parseTree(text string) (c Checkpoint, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" || strings.Contains("\n"+lines[3], "\n\n") {
		return c, errors.New("a checkpoint has an origin, a size and a root hash")
	}
	c.Origin = lines[0]
	c.Size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || c.Size < 0 || lines[1] != strconv.FormatInt(c.Size, 10) {
		return c, errors.New("malformed tree size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return c, errors.New("malformed root hash")
	}
	c.Root = tlog.Hash(root)
	return c, nil
}

// signCheckpoint signs a tree. The caller sees to it that it extends every
// tree signed before.
func signCheckpoint(s note.Signer, size int64, root tlog.Hash) (Checkpoint, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", s.Name(), size, root)
	signed, err := note.Sign(&note.Note{Text: text}, s)
	return Checkpoint{s.Name(), size, root, signed}, err
}

// Key signs the checkpoints of one log. It is a note.Signer.
type Key struct {
	private  secret.Value // in the form of crypto/ed25519
	verifier note.Verifier
	text     string
}

// NewKey makes the key of the log with this origin from a 32-byte seed, which
// it copies.
func NewKey(origin string, seed secret.Value) (*Key, error) {
	if seed.Len() != ed25519.SeedSize {
		return nil, fmt.Errorf("the seed of a log's key has %d bytes", ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed.Expose())
	text, err := note.NewEd25519VerifierKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("origin of a log: %w", err)
	}
	return &Key{secret.New(private), v, text}, nil
}

// Name is the origin of the log.
func (k *Key) Name() string { return k.verifier.Name() }

// KeyHash identifies the key among those of the same name.
func (k *Key) KeyHash() uint32 { return k.verifier.KeyHash() }

// Sign implements note.Signer.
func (k *Key) Sign(msg []byte) ([]byte, error) {
	return ed25519.Sign(ed25519.PrivateKey(k.private.Expose()), msg), nil
}

// Verifier checks what the key signed.
func (k *Key) Verifier() note.Verifier { return k.verifier }

// VerifierKey is the public key as text, origin+hash+base64: what an auditor
// needs, and note.NewVerifier reads.
func (k *Key) VerifierKey() string { return k.text }
