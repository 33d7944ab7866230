package kms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	testkms "github.com/litentry/agentkeys/internal/testsrv/kms"
)

const region = "eu-central-1"

func start(t *testing.T, now func() time.Time) *testkms.Server {
	t.Helper()
	s, err := testkms.Start(testkms.Options{Region: region, AccessKey: "AKID", Secret: "secret", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(s *testkms.Server, region, id, secret string) *kms.Client {
	url := s.URL()
	return kms.New(kms.Options{Region: region, BaseEndpoint: &url, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider(id, secret, "")})
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// The official client is believed only with the right credentials, and reads
// our errors as the service's own.
func TestSignatures(t *testing.T) {
	s := start(t, nil)
	arn := s.CreateHMAC(nil)
	ask := func(c *kms.Client) error {
		_, err := c.GenerateMac(t.Context(), &kms.GenerateMacInput{KeyId: &arn, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: []byte("x")})
		return err
	}
	if err := ask(client(s, region, "AKID", "secret")); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]*kms.Client{
		"InvalidSignatureException":   client(s, region, "AKID", "other"),
		"UnrecognizedClientException": client(s, region, "OTHER", "secret"),
	} {
		if err := ask(c); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := ask(client(s, "us-east-1", "AKID", "secret")); code(err) != "InvalidSignatureException" {
		t.Errorf("another region: %v", err)
	}
	if err := ask(client(start(t, func() time.Time { return time.Now().Add(time.Hour) }), region, "AKID", "secret")); code(err) != "InvalidSignatureException" {
		t.Errorf("an hour late: %v", err)
	}
	res, err := http.Post(s.URL(), "application/x-amz-json-1.1", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 400 || !bytes.Contains(b, []byte("MissingAuthenticationTokenException")) {
		t.Errorf("unsigned: %d %s", res.StatusCode, b)
	}
	// A signed request whose body was changed on the way.
	proxy := &changing{to: s.URL()}
	c := kms.New(kms.Options{Region: region, BaseEndpoint: &proxy.to, RetryMaxAttempts: 1, HTTPClient: proxy,
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
	if err := ask(c); code(err) != "InvalidSignatureException" {
		t.Errorf("a changed body: %v", err)
	}
}

// changing changes bodies behind the signer's back.
type changing struct{ to string }

func (c *changing) Do(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(b, []byte(`"eA=="`), []byte(`"eQ=="`), 1)))
	return http.DefaultClient.Do(r)
}

// The documented limits and refusals, by the SDK's own types.
func TestRefusals(t *testing.T) {
	s := start(t, nil)
	c := client(s, region, "AKID", "secret")
	ctx := context.Background()
	mac, sym, sig := s.CreateHMAC(nil), s.CreateSymmetric(), s.CreateSigning(false)
	generate := func(arn string, n int) error {
		_, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &arn, MacAlgorithm: types.MacAlgorithmSpecHmacSha256, Message: make([]byte, n)})
		return err
	}
	if err := generate(mac, 4096); err != nil {
		t.Errorf("4096 bytes: %v", err)
	}
	for _, n := range []int{0, 4097} {
		if err := generate(mac, n); code(err) != "ValidationException" {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	var usage *types.InvalidKeyUsageException
	if err := generate(sig, 1); !errors.As(err, &usage) {
		t.Errorf("a signing key: %v", err)
	}
	if _, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &mac, MacAlgorithm: types.MacAlgorithmSpecHmacSha512, Message: []byte("x")}); !errors.As(err, &usage) {
		t.Errorf("SHA-512: %v", err)
	}
	missing := mac + "0"
	var none *types.NotFoundException
	if err := generate(missing, 1); !errors.As(err, &none) {
		t.Errorf("no key: %v", err)
	}
	s.SetState(mac, testkms.Disabled)
	var disabled *types.DisabledException
	if err := generate(mac, 1); !errors.As(err, &disabled) {
		t.Errorf("disabled: %v", err)
	}
	s.SetState(mac, testkms.PendingDeletion)
	var state *types.KMSInvalidStateException
	if err := generate(mac, 1); !errors.As(err, &state) {
		t.Errorf("pending deletion: %v", err)
	}
	d, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &mac})
	if err != nil || d.KeyMetadata.KeyState != types.KeyStatePendingDeletion || d.KeyMetadata.KeySpec != types.KeySpecHmac256 {
		t.Errorf("%+v %v", d, err)
	}

	blob, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: &sym, Plaintext: []byte("x"), EncryptionContext: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: &sym, CiphertextBlob: blob.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}})
	if err != nil || string(plain.Plaintext) != "x" {
		t.Errorf("%v", err)
	}
	var cipher *types.InvalidCiphertextException
	if _, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: &sym, CiphertextBlob: blob.CiphertextBlob}); !errors.As(err, &cipher) {
		t.Errorf("without the context: %v", err)
	}
	other := s.CreateSymmetric()
	var incorrect *types.IncorrectKeyException
	if _, err := c.Decrypt(ctx, &kms.DecryptInput{KeyId: &other, CiphertextBlob: blob.CiphertextBlob, EncryptionContext: map[string]string{"a": "b"}}); !errors.As(err, &incorrect) {
		t.Errorf("another key: %v", err)
	}
	if _, err := c.Sign(ctx, &kms.SignInput{KeyId: &sig, Message: make([]byte, 31), MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}); code(err) != "ValidationException" {
		t.Errorf("a digest of 31 bytes: %v", err)
	}
	s.Fail(1, 500, "KMSInternalException")
	var internal *types.KMSInternalException
	if _, err := c.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &sig}); !errors.As(err, &internal) {
		t.Errorf("%v", err)
	}
}
