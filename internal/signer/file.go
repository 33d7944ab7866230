package signer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"filippo.io/age"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrPassphrase: the roots file does not open with this key. A damaged
	// first line looks the same, as it must: it is what the key is tried on.
	ErrPassphrase = errors.New("wrong passphrase for the roots file")
	// ErrCorrupt: the roots file is cut, altered or not one.
	ErrCorrupt = errors.New("the roots file is damaged, or newer than this program")
	// ErrExposed: others on this machine may read or write the roots file.
	ErrExposed = errors.New("the roots file is open to other users")
	// ErrWorkFactor: opening the roots file would take absurd time and memory.
	ErrWorkFactor = errors.New("the roots file asks for too much work")
)

// scrypt work factors, log2 of N; r is 8 and p is 1, so that N takes N KiB.
const (
	// passphraseWork is OWASP's minimum for scrypt with these r and p: 128 MiB
	// and 0.37 s on two cores of a 2025 server. One step more costs a guesser
	// one bit, and an owner on a small machine 256 MiB.
	passphraseWork = 17
	// randomWork is for keys that cannot be guessed: 1 MiB, 3 ms.
	randomWork = 10
	// maxWork bounds what a planted file can cost: 512 MiB, 2 s.
	maxWork = 19

	maxFile = 64 << 10
)

// FileKey is what a roots file is encrypted with. It may share the bytes of the
// secret it was made of. The zero FileKey is refused.
type FileKey struct {
	// Two pointers from the bytes: where a verb does not fit, fmt follows one
	// of them whatever its depth and whatever methods there are.
	p *fileKey
}

type fileKey struct {
	v    secret.Value
	work int // log2 of scrypt's N
}

// Format implements fmt.Formatter for every verb.
func (k FileKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// LogValue implements slog.LogValuer.
func (k FileKey) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (k FileKey) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }

// Clear overwrites the key.
func (k FileKey) Clear() {
	if k.p != nil {
		k.p.v.Clear()
	}
}

func (k FileKey) isZero() bool { return k.p == nil || k.p.v.IsZero() }

// Passphrase makes a FileKey of what a person typed; scrypt makes each guess
// dear. How strong it is, is for the caller to judge; empty is refused.
func Passphrase(v secret.Value) (FileKey, error) {
	if v.IsZero() {
		return FileKey{}, errors.New("the passphrase is empty")
	}
	return FileKey{&fileKey{v, passphraseWork}}, nil
}

// RandomKey makes a FileKey of exactly 32 random bytes, such as an OS keychain
// keeps, which no work factor can make harder to guess.
func RandomKey(v secret.Value) (FileKey, error) {
	if v.Len() != 32 {
		return FileKey{}, errors.New("a random file key is 32 bytes")
	}
	text := base64.StdEncoding.AppendEncode(nil, v.Expose()) // age wants text
	return FileKey{&fileKey{secret.New(text), randomWork}}, nil
}

// CreateFile writes a new roots file, mode 0600, and fails with fs.ErrExist
// rather than touch one that is there: roots that are overwritten are gone.
func CreateFile(path string, r Roots, key FileKey) error {
	return encryptTo(durable.CreateFile, path, r, key)
}

// SaveFile replaces the roots file whole, mode 0600. When it returns nil the
// disk has the new one; after an error it has the old or the new one.
func SaveFile(path string, r Roots, key FileKey) error {
	return encryptTo(durable.WriteFile, path, r, key)
}

func encryptTo(write func(string, []byte) error, path string, r Roots, key FileKey) error {
	if r.isZero() || key.isZero() {
		return errors.New("zero roots or key")
	}
	recipient, err := age.NewScryptRecipient(string(key.p.v.Expose()))
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(key.p.work)
	plain, err := formatRoots(r)
	if err != nil {
		return err
	}
	defer clear(plain)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		return err
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return write(path, out.Bytes())
}

// OpenFile reads a roots file. Failures: fs.ErrNotExist, ErrExposed,
// ErrPassphrase, ErrWorkFactor, ErrCorrupt.
func OpenFile(path string, key FileKey) (Roots, error) {
	if key.isZero() {
		return Roots{}, errors.New("zero key")
	}
	sealed, err := readPrivate(path)
	if err != nil {
		return Roots{}, err
	}
	plain, err := decrypt(sealed, key)
	defer clear(plain)
	if err != nil {
		return Roots{}, fmt.Errorf("%s: %w", path, err)
	}
	r, err := parseRoots(plain)
	if err != nil {
		return Roots{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// readPrivate reads a file that only its owner may touch: others must neither
// copy the roots, to guess at the passphrase, nor put an old copy back.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrCorrupt)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s is %#o: chmod 600 it, and change the passphrase if somebody may have copied it", ErrExposed, path, fi.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: %w: too large", path, ErrCorrupt)
	}
	return b, nil
}

func decrypt(sealed []byte, key FileKey) ([]byte, error) {
	id, err := age.NewScryptIdentity(string(key.p.v.Expose()))
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(maxWork)
	var none *age.NoIdentityMatchError
	r, err := age.Decrypt(bytes.NewReader(sealed), bounded{id})
	switch {
	case errors.Is(err, ErrWorkFactor):
		return nil, ErrWorkFactor
	case errors.As(err, &none):
		return nil, ErrPassphrase
	case err != nil:
		return nil, ErrCorrupt // age's errors quote the file
	}
	// Room for all at once: a growing buffer leaves copies that nobody clears.
	plain := bytes.NewBuffer(make([]byte, 0, len(sealed)+bytes.MinRead))
	if _, err := plain.ReadFrom(r); err != nil {
		clear(plain.Bytes())
		return nil, ErrCorrupt
	}
	return plain.Bytes(), nil
}

// bounded gives the refusal of a work factor a name; age's own has none.
type bounded struct{ *age.ScryptIdentity }

func (b bounded) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" || len(stanzas[0].Args) != 2 {
		return nil, ErrCorrupt
	}
	if n, err := strconv.Atoi(stanzas[0].Args[1]); err == nil && n > maxWork {
		return nil, ErrWorkFactor
	}
	return b.ScryptIdentity.Unwrap(stanzas)
}
