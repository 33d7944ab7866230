package kmssigner_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/kmssigner"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
	testkms "github.com/litentry/agentkeys/internal/testsrv/kms"
	"github.com/litentry/agentkeys/internal/token"
)

const (
	region    = "eu-central-1"
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var (
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
	alice  = agentkeys.Must(signer.ParseAccountID("a11ce"))
)

func start(t testing.TB) (*testkms.Server, *kms.Client) {
	t.Helper()
	s, err := testkms.Start(testkms.Options{Region: region, AccessKey: accessKey, Secret: secretKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, client(s, secretKey)
}

func client(s *testkms.Server, secretKey string) *kms.Client {
	url := s.URL()
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: &url, RetryMaxAttempts: 2,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
}

// wrapped has KMS wrap an identity root that the test knows.
func wrapped(t testing.TB, c *kms.Client, key string, root []byte, purpose string) []byte {
	t.Helper()
	out, err := c.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: root, EncryptionContext: map[string]string{"agentkeys": purpose}})
	if err != nil {
		t.Fatal(err)
	}
	return out.CiphertextBlob
}

func TestConformance(t *testing.T) {
	s, c := start(t)
	wrapping := s.CreateSymmetric()
	signertest.Conformance(t, func(t *testing.T, seed signertest.Seed) signer.Core {
		epochs := map[uint32]string{}
		for e, root := range seed.Sealing {
			epochs[e] = s.CreateHMAC(root)
		}
		k, err := kmssigner.Open(t.Context(), kmssigner.Options{
			Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, seed.Identity, "identity-root/v1"), Epochs: epochs,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	})
}

// A signer over keys that nobody has seen, and what happens to it as they
// change.
func TestKeyStates(t *testing.T) {
	s, c := start(t)
	wrapping, one, two := s.CreateSymmetric(), s.CreateHMAC(nil), s.CreateHMAC(nil)
	blob, err := kmssigner.NewIdentity(t.Context(), c, wrapping)
	if err != nil {
		t.Fatal(err)
	}
	o := kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: blob, Epochs: map[uint32]string{1: one, 2: two}}
	k, err := kmssigner.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Wallet(alice, signer.MasterPath())
	if err != nil {
		t.Fatal(err)
	}
	first, err := k.KEK(t.Context(), w, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	again, err := kmssigner.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Wallet(alice, signer.MasterPath()); err != nil || got != w {
		t.Errorf("after a restart: %v %v", got, err)
	}
	second, err := again.KEK(t.Context(), w, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	signertest.Same(t, first, second, w, router)
	a, err := k.LogSeed()
	b, err2 := again.LogSeed()
	if err != nil || err2 != nil || !a.Equal(b) || a.Len() != 32 {
		t.Errorf("the log's seed changed: %v %v", err, err2)
	}

	for _, st := range []testkms.State{testkms.Disabled, testkms.PendingDeletion} {
		s.SetState(one, st)
		if _, err := k.KEK(t.Context(), w, router, 1); !errors.Is(err, kmssigner.ErrKey) || errors.Is(err, kmssigner.ErrUnavailable) {
			t.Errorf("%s: %v", st, err)
		}
		if _, err := k.KEK(t.Context(), w, router, 2); err != nil {
			t.Errorf("the other epoch while one is %s: %v", st, err)
		}
		if _, err := kmssigner.Open(t.Context(), o); !errors.Is(err, kmssigner.ErrKey) || !strings.Contains(err.Error(), "epoch 1") {
			t.Errorf("opening while one is %s: %v", st, err)
		}
	}
	s.SetState(one, testkms.Enabled)
	if _, err := k.KEK(t.Context(), w, router, 1); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	s.SetState(wrapping, testkms.Disabled)
	if _, err := k.Wallet(alice, signer.MasterPath()); err != nil {
		t.Errorf("wallets need KMS at start only: %v", err)
	}
	if _, err := kmssigner.Open(t.Context(), o); !errors.Is(err, kmssigner.ErrKey) {
		t.Errorf("opening without the wrapping key: %v", err)
	}
	k.Close()
	if _, err := k.Wallet(alice, signer.MasterPath()); err == nil {
		t.Error("a closed signer derives")
	}
}

func TestOpenRefuses(t *testing.T) {
	s, c := start(t)
	wrapping, other, mac := s.CreateSymmetric(), s.CreateSymmetric(), s.CreateHMAC(nil)
	signing := s.CreateSigning(false)
	good := wrapped(t, c, wrapping, signertest.Root(1), "identity-root/v1")
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	epochs := map[uint32]string{1: mac}
	for _, q := range []struct {
		name string
		o    kmssigner.Options
		want error
	}{
		{"no client", kmssigner.Options{IdentityKey: wrapping, Identity: good, Epochs: epochs}, nil},
		{"no epochs", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good}, nil},
		{"epoch 0", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: map[uint32]string{0: mac}}, nil},
		{"one key for two epochs", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: map[uint32]string{1: mac, 2: mac}}, nil},
		{"an alias", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: map[uint32]string{1: "alias/x"}}, nil},
		{"an identity key by alias", kmssigner.Options{Client: c, IdentityKey: "alias/x", Identity: good, Epochs: epochs}, nil},
		{"a blob with a flipped bit", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: flipped, Epochs: epochs}, kmssigner.ErrIdentity},
		{"a blob for another purpose", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, signertest.Root(1), "other"), Epochs: epochs}, kmssigner.ErrIdentity},
		{"a blob of another key", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, other, signertest.Root(1), "identity-root/v1"), Epochs: epochs}, kmssigner.ErrIdentity},
		{"a root that is too short", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, signertest.Root(1)[:31], "identity-root/v1"), Epochs: epochs}, kmssigner.ErrIdentity},
		{"a root of zeros", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, make([]byte, 32), "identity-root/v1"), Epochs: epochs}, kmssigner.ErrIdentity},
		{"an epoch with a key for signatures", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: map[uint32]string{1: signing}}, kmssigner.ErrKey},
		{"an epoch without a key", kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: map[uint32]string{1: mac + "0"}}, kmssigner.ErrKey},
		{"somebody else's credentials", kmssigner.Options{Client: client(s, "wrong"), IdentityKey: wrapping, Identity: good, Epochs: epochs}, kmssigner.ErrKey},
	} {
		_, err := kmssigner.Open(t.Context(), q.o)
		if err == nil || q.want != nil && !errors.Is(err, q.want) {
			t.Errorf("%s: %v, want %v", q.name, err, q.want)
		}
	}
	if _, err := kmssigner.Open(t.Context(), kmssigner.Options{Client: c, IdentityKey: wrapping, Identity: good, Epochs: epochs}); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if _, err := kmssigner.NewIdentity(t.Context(), c, mac); !errors.Is(err, kmssigner.ErrKey) {
		t.Errorf("wrapping by an HMAC key: %v", err)
	}
}

// An outage is told from a refusal, and a short one is ridden out.
func TestOutage(t *testing.T) {
	s, c := start(t)
	wrapping := s.CreateSymmetric()
	k, err := kmssigner.Open(t.Context(), kmssigner.Options{
		Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, signertest.Root(1), "identity-root/v1"), Epochs: map[uint32]string{1: s.CreateHMAC(nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Wallet(alice, signer.MasterPath())
	if err != nil {
		t.Fatal(err)
	}
	before := s.Count("GenerateMac")
	s.Fail(1, 500, "KMSInternalException")
	if _, err := k.KEK(t.Context(), w, router, 1); err != nil {
		t.Errorf("one failure: %v", err)
	}
	if n := s.Count("GenerateMac") - before; n != 2 {
		t.Errorf("%d calls", n)
	}
	s.Fail(2, 500, "KMSInternalException")
	if _, err := k.KEK(t.Context(), w, router, 1); !errors.Is(err, kmssigner.ErrUnavailable) || errors.Is(err, kmssigner.ErrKey) {
		t.Errorf("failures: %v", err)
	}
	s.Fail(1, 400, "AccessDeniedException")
	if _, err := k.KEK(t.Context(), w, router, 1); !errors.Is(err, kmssigner.ErrKey) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if _, err := k.KEK(ctx, w, router, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("late: %v", err)
	}
	s.Close()
	if _, err := k.KEK(t.Context(), w, router, 1); !errors.Is(err, kmssigner.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
}

func TestTokenKey(t *testing.T) {
	s, c := start(t)
	arn := s.CreateSigning(false)
	k, err := kmssigner.OpenTokenKey(t.Context(), c, arn)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Errorf("the signature does not verify: %v", err)
	}
	for _, q := range []struct {
		digest []byte
		opts   crypto.SignerOpts
	}{{digest[:31], crypto.SHA256}, {digest[:], crypto.SHA384}, {digest[:], nil}, {nil, crypto.SHA256}} {
		if _, err := k.Sign(nil, q.digest, q.opts); err == nil {
			t.Errorf("signed %d bytes for %v", len(q.digest), q.opts)
		}
	}

	// As the broker uses it: the issuer signs with it, verifiers believe it.
	now := time.Now()
	key, err := token.KeyFrom(k, token.ES256, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := token.NewRing([]token.Key{key}, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	i := token.Issuer{Issuer: "https://broker.test", Ring: func() *token.Ring { return ring }}
	raw, err := i.Access(token.Access{
		ID: token.NewID(), Account: alice.String(), Wallet: agentkeys.WalletFrom([20]byte{1}), Role: token.Master,
		Device: token.Thumbprint{1}, Audience: "https://signer.test", Expires: now.Add(time.Minute).Truncate(time.Second),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	v := token.Verifier{Issuer: "https://broker.test", Audience: "https://signer.test", Keys: ring}
	if _, err := v.Access(raw, now); err != nil {
		t.Error(err)
	}

	for name, arn := range map[string]string{"P-384": s.CreateSigning(true), "HMAC": s.CreateHMAC(nil), "none": arn + "0"} {
		if _, err := kmssigner.OpenTokenKey(t.Context(), c, arn); !errors.Is(err, kmssigner.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := kmssigner.OpenTokenKey(t.Context(), c, "alias/x"); err == nil {
		t.Error("an alias")
	}
	s.SetState(arn, testkms.Disabled)
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, kmssigner.ErrKey) {
		t.Errorf("disabled: %v", err)
	}
}

func TestRedaction(t *testing.T) {
	s, c := start(t)
	wrapping := s.CreateSymmetric()
	root := []byte("identity-canary-0123456789abcdef")
	k, err := kmssigner.Open(t.Context(), kmssigner.Options{
		Client: c, IdentityKey: wrapping, Identity: wrapped(t, c, wrapping, root, "identity-root/v1"), Epochs: map[uint32]string{1: s.CreateHMAC(nil)},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %x %d", k, k, struct{ K *kmssigner.Signer }{k}, k, k, k)
	if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) || strings.Contains(text, "105 100") {
		t.Error("the identity root was printed")
	}
	if _, err := json.Marshal(k); !errors.Is(err, secret.ErrMarshal) {
		t.Errorf("%v", err)
	}
}
