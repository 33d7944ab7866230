package kmssigner

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TokenKey is a crypto.Signer over an ECC_NIST_P256 key in KMS, for the tokens
// of a broker (token.KeyFrom): whoever copies the broker's disk or memory
// cannot sign. Each signature is a call. It is safe for concurrent use.
type TokenKey struct {
	client *kms.Client
	arn    string
	public *ecdsa.PublicKey
}

var _ crypto.Signer = (*TokenKey)(nil)

// OpenTokenKey asks KMS for the public key. Failures: ErrKey, ErrUnavailable.
func OpenTokenKey(ctx context.Context, client *kms.Client, arn string) (*TokenKey, error) {
	if err := checkARN(arn); err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		return nil, explain(err)
	}
	if err := sameKey(out.KeyId, arn); err != nil {
		return nil, err
	}
	pub, err := x509.ParsePKIXPublicKey(out.PublicKey)
	key, ok := pub.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() || out.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, fmt.Errorf("%w: it is not an ECC_NIST_P256 key for signatures", ErrKey)
	}
	return &TokenKey{client, arn, key}, nil
}

// Public implements crypto.Signer.
func (k *TokenKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer for SHA-256 digests. The signature is ASN.1,
// and is verified before it is returned.
func (k *TokenKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() {
		return nil, errors.New("a token key signs SHA-256 digests only")
	}
	ctx, stop := context.WithTimeout(context.Background(), timeout)
	defer stop()
	out, err := k.client.Sign(ctx, &kms.SignInput{
		KeyId: &k.arn, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
	})
	if err != nil {
		return nil, explain(err)
	}
	if !ecdsa.VerifyASN1(k.public, digest, out.Signature) {
		return nil, fmt.Errorf("%w: its signature does not verify", ErrKey)
	}
	return out.Signature, nil
}
