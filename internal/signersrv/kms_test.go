package signersrv_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/kmssigner"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
	"github.com/litentry/agentkeys/internal/testsrv/kms"
	"github.com/litentry/agentkeys/internal/token"
)

// One root, three places: in this process, behind the service, and behind the
// service in a KMS. The wallet and the key are the same.
func TestOneRootThreePlaces(t *testing.T) {
	b64 := func(b byte) string { return base64.StdEncoding.EncodeToString(signertest.Root(b)) }
	roots, err := signer.DecodeRoots(secret.FromString(fmt.Sprintf(`{"version":1,"account":"a11ce","identity":%q,"sealing":{"1":%q}}`, b64(1), b64(2))))
	if err != nil {
		t.Fatal(err)
	}
	local := signer.New(roots)

	srv, err := kms.Start(kms.Options{Region: "eu-central-1", AccessKey: "AKID", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	url, wrapping := srv.URL(), srv.CreateSymmetric()
	client := awskms.New(awskms.Options{Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
	blob, err := client.Encrypt(t.Context(), &awskms.EncryptInput{KeyId: &wrapping, Plaintext: signertest.Root(1), EncryptionContext: map[string]string{"agentkeys": "identity-root/v1"}})
	if err != nil {
		t.Fatal(err)
	}
	inKMS, err := kmssigner.Open(t.Context(), kmssigner.Options{
		Client: client, IdentityKey: wrapping, Identity: blob.CiphertextBlob, Epochs: map[uint32]string{1: srv.CreateHMAC(signertest.Root(2))},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer inKMS.Close()

	own, err := local.Wallet(alice, signer.MasterPath())
	if err != nil {
		t.Fatal(err)
	}
	want, err := local.KEK(t.Context(), own, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, core := range map[string]signer.Core{"roots": local, "KMS": inKMS} {
		w := newWorld(t, func(w *world) { w.opts.Core = core })
		d := newDevice(t)
		c := w.client(d, own, func(agentkeys.Wallet) string {
			a := w.access(d, token.Master, alice)
			a.Wallet = own
			return w.sign(a)
		})
		got, err := c.KEK(t.Context(), own, router, c.Epoch())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		signertest.Same(t, got, want, own, router)
	}
}
