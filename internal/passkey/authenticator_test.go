package passkey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// Flags of authenticator data, WebAuthn 6.1.
const (
	present       = 1 << 0
	verified      = 1 << 2
	eligible      = 1 << 3
	backedUp      = 1 << 4
	attested      = 1 << 6
	usual    byte = present | verified
)

// authenticator is one by hand, with the browser before it, so that each thing
// either of them says can be wrong.
type authenticator struct {
	key     *ecdsa.PrivateKey
	id      []byte
	handle  []byte
	counter uint32

	// What the next answer says.
	flags       byte
	rpID        string
	origin      string
	typ         string // of the client data; empty: as it should be
	challenge   string // empty: that of the options
	crossOrigin bool
	topOrigin   string
	sign        func(signed []byte) []byte
}

func newAuthenticator(t *testing.T) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authenticator{key: key, id: []byte(rand.Text()), flags: usual, rpID: "localhost", origin: origin}
	a.sign = func(signed []byte) []byte {
		sum := sha256.Sum256(signed)
		sig, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	return a
}

// options are what both ceremonies' options have, as a browser reads them.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		RPID      string `json:"rpId"`
		RP        struct {
			ID, Name string
		} `json:"rp"`
		User                   struct{ ID, Name, DisplayName string }
		UserVerification       string            `json:"userVerification"`
		AuthenticatorSelection map[string]any    `json:"authenticatorSelection"`
		Attestation            string            `json:"attestation"`
		AllowCredentials       []json.RawMessage `json:"allowCredentials"`
		Timeout                int               `json:"timeout"`
	} `json:"publicKey"`
}

func read(t *testing.T, raw []byte) options {
	t.Helper()
	var o options
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

var b64 = base64.RawURLEncoding

func (a *authenticator) clientData(t *testing.T, typ string, o options) []byte {
	t.Helper()
	if a.typ != "" {
		typ = a.typ
	}
	challenge := o.PublicKey.Challenge
	if a.challenge != "" {
		challenge = a.challenge
	}
	d := map[string]any{"type": typ, "challenge": challenge, "origin": a.origin, "crossOrigin": a.crossOrigin}
	if a.topOrigin != "" {
		d["topOrigin"] = a.topOrigin
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (a *authenticator) data(flags byte) []byte {
	hash := sha256.Sum256([]byte(a.rpID))
	return binary.BigEndian.AppendUint32(append(hash[:], flags), a.counter)
}

// Enough of CBOR: byte strings of up to 65535 bytes.
func cborBytes(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0x59}, uint16(len(b))), b...)
}

// create answers navigator.credentials.create.
func (a *authenticator) create(t *testing.T, rawOptions []byte) []byte {
	t.Helper()
	o := read(t, rawOptions)
	handle, err := b64.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	a.handle = handle
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	// COSE_Key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}
	cose := []byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21}
	cose = append(append(append(cose, cborBytes(point[1:33])...), 0x22), cborBytes(point[33:])...)
	// CTAP2's encoding is canonical: 32 bytes have a head of two.
	cose = bytes.ReplaceAll(cose, []byte{0x59, 0x00, 0x20}, []byte{0x58, 0x20})
	data := append(a.data(a.flags|attested), make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(append(data, a.id...), cose...)
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData"), cborBytes(data)...)
	return a.answer(t, map[string]any{
		"clientDataJSON": b64.EncodeToString(a.clientData(t, "webauthn.create", o)), "attestationObject": b64.EncodeToString(object), "transports": []string{"internal"},
	})
}

// get answers navigator.credentials.get.
func (a *authenticator) get(t *testing.T, rawOptions []byte) []byte {
	t.Helper()
	client := a.clientData(t, "webauthn.get", read(t, rawOptions))
	data := a.data(a.flags)
	sum := sha256.Sum256(client)
	return a.answer(t, map[string]any{
		"clientDataJSON": b64.EncodeToString(client), "authenticatorData": b64.EncodeToString(data),
		"signature": b64.EncodeToString(a.sign(append(data, sum[:]...))), "userHandle": b64.EncodeToString(a.handle),
	})
}

func (a *authenticator) answer(t *testing.T, response map[string]any) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"id": b64.EncodeToString(a.id), "rawId": b64.EncodeToString(a.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
