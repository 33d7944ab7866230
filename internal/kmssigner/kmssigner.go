// Package kmssigner is a signer.Core whose sealing roots are HMAC_256 keys in
// AWS KMS: the roots never leave it, and each key-encryption key is one
// GenerateMac over the very message that a local signer authenticates. The
// identity root is wrapped: a blob that a KMS key decrypts at start, so that
// wallets are derived here. It has the AWS SDK to itself, and also keeps a
// broker's signing key in KMS (TokenKey).
//
// Laws: keys are named by ARN, never by alias, which somebody could point at
// another key; the blob opens only under the key and the purpose it was made
// for; what KMS answers is checked to be of the key that was asked.
//
// What the tests cannot show, because no independent KMS can be had for them
// (they run against internal/testsrv/kms, which follows the documentation): key
// policies and grants, throttling as AWS does it, eventual consistency after a
// key is made or disabled, and that GenerateMac is the HMAC of RFC 2104 over
// imported material, which AWS documents.
package kmssigner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

var (
	// ErrKey: KMS will not use the key: it is disabled, about to be deleted, of
	// another kind, not there, or not ours to use. An operator must see to it.
	ErrKey = errors.New("the KMS key cannot be used")
	// ErrUnavailable: KMS did not answer in time. The same call may work later.
	ErrUnavailable = errors.New("KMS cannot be reached")
	// ErrIdentity: the blob is not an identity root wrapped by this key.
	ErrIdentity = errors.New("this is not an identity root wrapped by this key")
)

// timeout bounds one call with the SDK's retries.
const timeout = 10 * time.Second

// purpose is the encryption context of the blob: KMS authenticates it, and
// writes it into CloudTrail.
var purpose = map[string]string{"agentkeys": "identity-root/v1"}

// logAccount is the account that the signer's own audit log is of; there are
// no roots here with an account of their own.
const logAccount = "signer"

// Options say where the roots are.
type Options struct {
	Client      *kms.Client
	IdentityKey string            // ARN of the symmetric key that wraps the identity root
	Identity    []byte            // the blob of NewIdentity
	Epochs      map[uint32]string // ARN of the HMAC_256 key of each epoch, from 1; the highest is current
}

// Signer derives wallets itself, and has KMS derive keys. It is safe for
// concurrent use, and prints as a redaction.
type Signer struct {
	client   *kms.Client
	identity signer.Identity
	epochs   map[uint32]string
	current  uint32
}

var _ signer.Core = (*Signer)(nil)

// NewClient makes a client with the process' own AWS credentials. endpoint is
// "" for AWS's own.
func NewClient(ctx context.Context, region, endpoint string) (*kms.Client, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, err
	}
	return kms.NewFromConfig(c, func(o *kms.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}), nil
}

// NewIdentity has KMS make a random identity root and returns it wrapped, as
// nobody has ever seen it. There is no other copy: who loses the blob, or the
// key, loses every wallet.
func NewIdentity(ctx context.Context, client *kms.Client, key string) ([]byte, error) {
	if err := checkARN(key); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	out, err := client.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{
		KeyId: &key, KeySpec: types.DataKeySpecAes256, EncryptionContext: purpose,
	})
	if err != nil {
		return nil, explain(err)
	}
	if err := sameKey(out.KeyId, key); err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

// Open unwraps the identity root and tries the key of every epoch, so that one
// that cannot be used is found now. Failures: ErrIdentity, ErrKey with the
// epoch, ErrUnavailable.
func Open(ctx context.Context, o Options) (*Signer, error) {
	if o.Client == nil || len(o.Epochs) == 0 {
		return nil, errors.New("a KMS signer needs a client and the key of at least one epoch")
	}
	epochs := slices.Sorted(maps.Keys(o.Epochs))
	if epochs[0] == 0 {
		return nil, errors.New("epochs are counted from 1")
	}
	seen := map[string]uint32{}
	for _, e := range epochs {
		if err := checkARN(o.Epochs[e]); err != nil {
			return nil, fmt.Errorf("epoch %d: %w", e, err)
		}
		if other, dup := seen[o.Epochs[e]]; dup {
			return nil, fmt.Errorf("epochs %d and %d have one key", other, e)
		}
		seen[o.Epochs[e]] = e
	}
	identity, err := unwrap(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("the identity root: %w", err)
	}
	s := &Signer{client: o.Client, identity: identity, epochs: maps.Clone(o.Epochs), current: epochs[len(epochs)-1]}
	for _, e := range epochs {
		// Of no credential: no wallet is zero.
		v, err := s.mac(ctx, e, []byte("agentkeys/v1/probe"))
		v.Clear()
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("epoch %d: %w", e, err)
		}
	}
	return s, nil
}

func unwrap(ctx context.Context, o Options) (signer.Identity, error) {
	if err := checkARN(o.IdentityKey); err != nil {
		return signer.Identity{}, err
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	out, err := o.Client.Decrypt(ctx, &kms.DecryptInput{KeyId: &o.IdentityKey, CiphertextBlob: o.Identity, EncryptionContext: purpose})
	var invalid *types.InvalidCiphertextException
	var incorrect *types.IncorrectKeyException
	switch {
	case errors.As(err, &invalid) || errors.As(err, &incorrect):
		return signer.Identity{}, ErrIdentity
	case err != nil:
		return signer.Identity{}, explain(err)
	}
	if err := sameKey(out.KeyId, o.IdentityKey); err != nil {
		clear(out.Plaintext)
		return signer.Identity{}, err
	}
	i, err := signer.NewIdentity(out.Plaintext)
	if err != nil {
		return signer.Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return i, nil
}

// Close forgets the identity root.
func (s *Signer) Close() { s.identity.Clear() }

// Wallet implements signer.Core.
func (s *Signer) Wallet(account signer.AccountID, path signer.Path) (agentkeys.Wallet, error) {
	return s.identity.Wallet(account, path)
}

// LogSeed derives the seed of the key that signs this signer's audit log.
func (s *Signer) LogSeed() (secret.Value, error) {
	account, err := signer.ParseAccountID(logAccount)
	if err != nil {
		return secret.Value{}, err
	}
	return s.identity.LogSeed(account)
}

// Epoch implements signer.Core.
func (s *Signer) Epoch() uint32 { return s.current }

// KEK implements signer.Core.
func (s *Signer) KEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (envelope.KEK, error) {
	v, err := s.ExposeKEK(ctx, w, svc, epoch)
	if err != nil {
		return envelope.KEK{}, err
	}
	return envelope.NewKEK(v.Expose())
}

// ExposeKEK implements signer.Core. The copies that the SDK makes of an answer
// cannot be cleared from here: accepted.
func (s *Signer) ExposeKEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (secret.Value, error) {
	if err := ctx.Err(); err != nil {
		return secret.Value{}, err
	}
	message, err := signer.KEKMessage(w, svc)
	if err != nil {
		return secret.Value{}, err
	}
	return s.mac(ctx, epoch, message)
}

func (s *Signer) mac(ctx context.Context, epoch uint32, message []byte) (secret.Value, error) {
	arn, ok := s.epochs[epoch]
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: %d", signer.ErrUnknownEpoch, epoch)
	}
	call, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	out, err := s.client.GenerateMac(call, &kms.GenerateMacInput{KeyId: &arn, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: message})
	if err != nil {
		if ctx.Err() != nil {
			return secret.Value{}, ctx.Err()
		}
		return secret.Value{}, explain(err)
	}
	if err := sameKey(out.KeyId, arn); err != nil {
		clear(out.Mac)
		return secret.Value{}, err
	}
	if len(out.Mac) != 32 {
		clear(out.Mac)
		return secret.Value{}, fmt.Errorf("%w: its answer has %d bytes", ErrKey, len(out.Mac))
	}
	return secret.New(out.Mac), nil
}

func checkARN(s string) error {
	if !strings.HasPrefix(s, "arn:") || !strings.Contains(s, ":key/") {
		return errors.New("a KMS key is named by the ARN of the key, not by an alias or an id")
	}
	return nil
}

func sameKey(got *string, want string) error {
	if got == nil || *got != want {
		return fmt.Errorf("%w: another key answered", ErrKey)
	}
	return nil
}

// explain sorts what the SDK says. Its texts name keys and requests, never
// what was sent or answered.
func explain(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidKeyUsageException", "IncorrectKeyException",
			"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "InvalidArnException",
			"ExpiredTokenException", "MissingAuthenticationTokenException", "IncompleteSignatureException", "ValidationException":
			return fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Format implements fmt.Formatter for every verb.
func (s *Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// LogValue implements slog.LogValuer.
func (s *Signer) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (s *Signer) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }
