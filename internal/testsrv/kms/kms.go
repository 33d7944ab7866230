// Package kms plays AWS KMS over a real socket, for tests: the JSON 1.1
// protocol, requests verified by Signature Version 4, and the operations,
// limits, key states and error shapes that the API reference documents. It
// depends on the standard library only, and not on testing.
//
// Operations: Encrypt, Decrypt, GenerateDataKeyWithoutPlaintext, GenerateMac,
// Sign, GetPublicKey, DescribeKey.
//
// Known divergences: there are no key policies, grants, aliases, other
// accounts or eventual consistency, and a key is made by a method of Server,
// which can give it material that the real one would have to import.
package kms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// State of a key.
type State string

// The states that matter here.
const (
	Enabled         State = "Enabled"
	Disabled        State = "Disabled"
	PendingDeletion State = "PendingDeletion"
)

// Options of a Server. AccessKey and Secret are what requests must be signed
// with.
type Options struct {
	Region, AccessKey, Secret string
	Now                       func() time.Time // nil: time.Now
}

// Server is a KMS that is listening.
type Server struct {
	o     Options
	http  *http.Server
	addr  string
	close func()

	mu     sync.Mutex
	keys   map[string]*key // by ARN
	counts map[string]int  // requests by operation
	fails  []failure
}

type key struct {
	arn, spec, usage string
	state            State
	material         []byte            // of HMAC and symmetric keys
	private          *ecdsa.PrivateKey // of signing keys
}

// failure is an answer that was ordered.
type failure struct {
	status int
	kind   string
}

// Start makes a Server that listens on loopback by the time it returns.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, addr: ln.Addr().String(), keys: map[string]*key{}, counts: map[string]int{}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(ln) }()
	s.close = sync.OnceFunc(func() {
		_ = s.http.Close()
		<-done
	})
	return s, nil
}

// URL is the endpoint.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends the Server and its connections.
func (s *Server) Close() { s.close() }

// CreateHMAC makes an HMAC_256 key of 32 bytes, random if material is nil, and
// returns its ARN.
func (s *Server) CreateHMAC(material []byte) string {
	return s.create(key{spec: "HMAC_256", usage: "GENERATE_VERIFY_MAC", material: orRandom(material)})
}

// CreateSymmetric makes a SYMMETRIC_DEFAULT key and returns its ARN.
func (s *Server) CreateSymmetric() string {
	return s.create(key{spec: "SYMMETRIC_DEFAULT", usage: "ENCRYPT_DECRYPT", material: orRandom(nil)})
}

// CreateSigning makes an ECC_NIST_P256 key, or with other set an ECC_NIST_P384
// one, and returns its ARN.
func (s *Server) CreateSigning(other bool) string {
	spec, curve := "ECC_NIST_P256", elliptic.P256()
	if other {
		spec, curve = "ECC_NIST_P384", elliptic.P384()
	}
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return s.create(key{spec: spec, usage: "SIGN_VERIFY", private: k})
}

func orRandom(b []byte) []byte {
	if b == nil {
		b = make([]byte, 32)
		_, _ = rand.Read(b)
		return b
	}
	return append([]byte(nil), b...)
}

func (s *Server) create(k key) string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	x := hex.EncodeToString(id[:])
	k.arn = fmt.Sprintf("arn:aws:kms:%s:111122223333:key/%s-%s-%s-%s-%s", s.o.Region, x[:8], x[8:12], x[12:16], x[16:20], x[20:])
	k.state = Enabled
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.arn] = &k
	return k.arn
}

// SetState changes the state of a key.
func (s *Server) SetState(arn string, st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[arn].state = st
}

// Fail has the next n requests answered with an error, as
// KMSInternalException with 500.
func (s *Server) Fail(n, status int, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.fails = append(s.fails, failure{status, kind})
	}
}

// Count is how many requests of an operation were answered, whatever with.
func (s *Server) Count(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[operation]
}

// apiError is an error of the service.
type apiError struct {
	status        int
	kind, message string
}

func (e *apiError) Error() string { return e.kind }

func refuse(kind, message string) error { return &apiError{http.StatusBadRequest, kind, message} }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answer(r)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	status := http.StatusOK
	if e, ok := err.(*apiError); ok {
		status, answer = e.status, map[string]string{"__type": e.kind, "message": e.message}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func (s *Server) answer(r *http.Request) (any, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err != nil {
		return nil, refuse("SerializationException", "")
	}
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		return nil, &apiError{http.StatusNotFound, "UnknownOperationException", ""}
	}
	if err := s.authentic(r, body); err != nil {
		return nil, err
	}
	const service = "TrentService."
	target := r.Header.Get("X-Amz-Target")
	if len(target) <= len(service) || target[:len(service)] != service {
		return nil, refuse("UnknownOperationException", "")
	}
	op := target[len(service):]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[op]++
	if len(s.fails) > 0 {
		f := s.fails[0]
		s.fails = s.fails[1:]
		return nil, &apiError{f.status, f.kind, "ordered by the test"}
	}
	f, ok := operations[op]
	if !ok {
		return nil, refuse("UnknownOperationException", "")
	}
	return f(s, body)
}

// find returns a key that may be used so.
func (s *Server) find(arn, usage string) (*key, error) {
	k := s.keys[arn]
	switch {
	case k == nil:
		return nil, refuse("NotFoundException", fmt.Sprintf("Key '%s' does not exist", arn))
	case k.state == Disabled:
		return nil, refuse("DisabledException", arn+" is disabled.")
	case k.state != Enabled:
		return nil, refuse("KMSInvalidStateException", fmt.Sprintf("%s is pending deletion.", arn))
	case k.usage != usage:
		return nil, refuse("InvalidKeyUsageException", fmt.Sprintf("%s key usage is %s which is not valid for this operation.", arn, k.usage))
	}
	return k, nil
}
