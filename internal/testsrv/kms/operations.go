package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
)

// maxMessage is the longest message of GenerateMac, Sign and Encrypt, in bytes.
const maxMessage = 4096

// call are the members of all requests here.
type call struct {
	KeyId             string //nolint:revive // the API's spelling
	Message           []byte
	MacAlgorithm      string
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
	NumberOfBytes     int
	KeySpec           string
	MessageType       string
	SigningAlgorithm  string
}

var operations = map[string]func(*Server, []byte) (any, error){
	"GenerateMac": op((*Server).generateMac), "Encrypt": op((*Server).encrypt), "Decrypt": op((*Server).decrypt),
	"GenerateDataKeyWithoutPlaintext": op((*Server).dataKey), "Sign": op((*Server).sign),
	"GetPublicKey": op((*Server).publicKey), "DescribeKey": op((*Server).describe),
}

func op(f func(*Server, call) (any, error)) func(*Server, []byte) (any, error) {
	return func(s *Server, body []byte) (any, error) {
		var c call
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return nil, refuse("SerializationException", "")
		}
		return f(s, c)
	}
}

func (s *Server) generateMac(c call) (any, error) {
	if len(c.Message) == 0 || len(c.Message) > maxMessage {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096")
	}
	k, err := s.find(c.KeyId, "GENERATE_VERIFY_MAC")
	if err != nil {
		return nil, err
	}
	if c.MacAlgorithm != "HMAC_SHA_256" {
		return nil, refuse("InvalidKeyUsageException", "Algorithm "+c.MacAlgorithm+" is incompatible with key spec HMAC_256.")
	}
	m := hmac.New(sha256.New, k.material)
	m.Write(c.Message)
	return map[string]any{"KeyId": k.arn, "Mac": m.Sum(nil), "MacAlgorithm": c.MacAlgorithm}, nil
}

// A ciphertext is the length of the ARN, the ARN, a nonce and AES-256-GCM with
// the context as associated data.
func (s *Server) seal(k *key, plain []byte, context map[string]string) []byte {
	aad, _ := json.Marshal(context) // sorted by key
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	out := append([]byte{byte(len(k.arn))}, k.arn...)
	out = append(out, nonce...)
	return gcm(k.material).Seal(out, nonce, plain, aad)
}

func gcm(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return g
}

func (s *Server) encrypt(c call) (any, error) {
	if len(c.Plaintext) == 0 || len(c.Plaintext) > maxMessage {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'plaintext' failed to satisfy constraint")
	}
	k, err := s.find(c.KeyId, "ENCRYPT_DECRYPT")
	if err != nil {
		return nil, err
	}
	return map[string]any{"KeyId": k.arn, "CiphertextBlob": s.seal(k, c.Plaintext, c.EncryptionContext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}

func (s *Server) decrypt(c call) (any, error) {
	b := c.CiphertextBlob
	if len(b) < 1 || len(b) < 1+int(b[0])+12 {
		return nil, refuse("InvalidCiphertextException", "")
	}
	arn, rest := string(b[1:1+b[0]]), b[1+b[0]:]
	k, err := s.find(arn, "ENCRYPT_DECRYPT")
	if err != nil {
		return nil, err
	}
	if c.KeyId != "" && c.KeyId != arn {
		return nil, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	aad, _ := json.Marshal(c.EncryptionContext)
	plain, err := gcm(k.material).Open(nil, rest[:12], rest[12:], aad)
	if err != nil {
		return nil, refuse("InvalidCiphertextException", "")
	}
	return map[string]any{"KeyId": k.arn, "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}

func (s *Server) dataKey(c call) (any, error) {
	n := c.NumberOfBytes
	if c.KeySpec == "AES_256" && n == 0 {
		n = 32
	}
	if n < 1 || n > 1024 || c.KeySpec != "" && c.NumberOfBytes != 0 {
		return nil, refuse("ValidationException", "Please specify either number of bytes or key spec.")
	}
	k, err := s.find(c.KeyId, "ENCRYPT_DECRYPT")
	if err != nil {
		return nil, err
	}
	plain := make([]byte, n)
	_, _ = rand.Read(plain)
	return map[string]any{"KeyId": k.arn, "CiphertextBlob": s.seal(k, plain, c.EncryptionContext)}, nil
}

func (s *Server) sign(c call) (any, error) {
	k, err := s.find(c.KeyId, "SIGN_VERIFY")
	if err != nil {
		return nil, err
	}
	if k.spec != "ECC_NIST_P256" || c.SigningAlgorithm != "ECDSA_SHA_256" {
		return nil, refuse("InvalidKeyUsageException", "Algorithm "+c.SigningAlgorithm+" is incompatible with key spec "+k.spec+".")
	}
	digest := c.Message
	switch {
	case c.MessageType == "DIGEST" && len(digest) != 32:
		return nil, refuse("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")
	case c.MessageType != "DIGEST" && len(digest) > maxMessage:
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'message' failed to satisfy constraint")
	case c.MessageType != "DIGEST":
		sum := sha256.Sum256(c.Message)
		digest = sum[:]
	}
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, digest)
	if err != nil {
		return nil, &apiError{500, "KMSInternalException", ""}
	}
	return map[string]any{"KeyId": k.arn, "Signature": sig, "SigningAlgorithm": c.SigningAlgorithm}, nil
}

func (s *Server) publicKey(c call) (any, error) {
	k, err := s.find(c.KeyId, "SIGN_VERIFY")
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return nil, &apiError{500, "KMSInternalException", ""}
	}
	return map[string]any{"KeyId": k.arn, "PublicKey": der, "KeySpec": k.spec, "KeyUsage": k.usage, "SigningAlgorithms": []string{"ECDSA_SHA_256"}}, nil
}

func (s *Server) describe(c call) (any, error) {
	k := s.keys[c.KeyId]
	if k == nil {
		return nil, refuse("NotFoundException", "Key '"+c.KeyId+"' does not exist")
	}
	return map[string]any{"KeyMetadata": map[string]any{
		"Arn": k.arn, "KeyId": k.arn[len(k.arn)-36:], "KeySpec": k.spec, "KeyUsage": k.usage, "KeyState": k.state, "Enabled": k.state == Enabled,
	}}, nil
}
