package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/pages"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/sqlitestate"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

const (
	standOrigin   = "https://broker.test"
	standAudience = "sts.amazonaws.com"
)

// stand is a broker of one node with everything that a request passes, a
// device with a session, and no network.
type stand struct {
	b       *broker.Broker
	issuer  *token.Issuer
	handler http.Handler
	key     *ecdsa.PrivateKey // the device's
	session brokerapi.Session
	form    []byte // what it asks with
	stop    func()
}

func newIssuer() (*token.Issuer, error) {
	k, err := token.NewKey(token.ES256, time.Now())
	if err != nil {
		return nil, err
	}
	ring, err := token.NewRing([]token.Key{k}, token.MasterLife)
	return &token.Issuer{Issuer: standOrigin, Ring: func() *token.Ring { return ring }}, err
}

// newStand makes one with its state in dir. Entries of its log go to rec.
func newStand(dir string, rec grant.Recorder) (s *stand, err error) {
	s = &stand{}
	if s.issuer, err = newIssuer(); err != nil {
		return nil, err
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	state, err := sqlitestate.Open(filepath.Join(dir, "state", "state.db"), time.Now)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	close(ended)
	s.stop = func() { cancel(); <-ended; _ = state.Close() }
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	if s.b, err = broker.New(broker.Options{
		Origin: standOrigin, State: state, Recorder: rec, Issuer: s.issuer, Wallets: wallets{}, Wallet: anybody{},
		Audiences: map[string]token.Alg{standAudience: token.ES256}, Now: time.Now, Log: log,
	}); err != nil {
		return nil, err
	}
	p, err := pages.New(standOrigin)
	if err != nil {
		return nil, err
	}
	if s.handler, err = brokerhttp.New(brokerhttp.Options{
		Broker: s.b, Issuer: s.issuer, Pages: p, Log: log, Now: time.Now, Metrics: webserve.NewMetrics("bench"),
	}); err != nil {
		return nil, err
	}
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		s.b.Run(ctx)
	}()
	for range 500 {
		if err = s.b.Ready(ctx); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	if err = s.login(ctx); err != nil {
		return nil, err
	}
	s.form = []byte(url.Values{
		"grant_type": {brokerapi.GrantTokenExchange}, "subject_token": {s.session.Token},
		"subject_token_type": {brokerapi.TypeAccessToken}, brokerapi.ParamAudience: {standAudience},
	}.Encode())
	return s, nil
}

func (s *stand) login(ctx context.Context) error {
	prove := func() (broker.DeviceKey, error) {
		proof, err := token.NewProof(s.key, http.MethodPost, standOrigin+brokerapi.PathLogins, "", time.Now())
		if err != nil {
			return broker.DeviceKey{}, err
		}
		return s.b.ProveKey(ctx, broker.Request{Method: http.MethodPost, Path: brokerapi.PathLogins, Proof: proof})
	}
	key, err := prove()
	if err != nil {
		return err
	}
	l, err := s.b.BeginLogin(ctx, key, "bench", brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: "0x00000000000000000000000000000000000000aa"})
	if err != nil {
		return err
	}
	h, err := s.b.ProveWallet(ctx, l.ID, brokerapi.WalletProof{Message: l.Message})
	if err != nil {
		return err
	}
	if key, err = prove(); err != nil {
		return err
	}
	s.session, err = s.b.EndLogin(ctx, key, l.ID, h.Code, "bench")
	return err
}

// proof is one for asking once.
func (s *stand) proof() (string, error) {
	return token.NewProof(s.key, http.MethodPost, standOrigin+brokerapi.PathToken, s.session.Token, time.Now())
}

func (s *stand) header(proof string) http.Header {
	return http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"DPoP " + s.session.Token}, "Dpop": {proof},
	}
}

// ask asks the handler for a token.
func (s *stand) ask(proof string) error {
	r, err := http.NewRequest(http.MethodPost, brokerapi.PathToken, bytes.NewReader(s.form))
	if err != nil {
		return err
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Header = s.header(proof)
	w := &answered{header: http.Header{}}
	s.handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("a token was refused with status %d: %.300s", w.status, w.body)
	}
	return nil
}

// answered takes an answer.
type answered struct {
	header http.Header
	status int
	body   []byte
}

func (a *answered) Header() http.Header { return a.header }

func (a *answered) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answered) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// nothing records nothing.
type nothing struct{}

func (nothing) Record(context.Context, grant.Event) error { return nil }
func (nothing) Note(grant.Event) error                    { return nil }

// wallets are digests.
type wallets struct{}

func (wallets) Master(_ context.Context, account string) (agentkeys.Wallet, error) {
	sum := sha256.Sum256([]byte(account))
	return agentkeys.WalletFrom([20]byte(sum[:20])), nil
}

func (wallets) Agent(context.Context, string, agentkeys.Agent) (agentkeys.Wallet, error) {
	return agentkeys.Wallet{}, errors.New("there are no agents here")
}

// anybody logs in whoever asks.
type anybody struct{}

func (anybody) ParseAddress(s string) (agentkeys.Wallet, error) { return agentkeys.ParseWallet(s) }
func (anybody) Message(r broker.WalletRequest) (string, error)  { return r.Nonce, nil }
func (anybody) Verify(_ context.Context, r broker.WalletRequest, message, _ string, _ time.Time) (bool, error) {
	if message != r.Nonce {
		return false, errors.New("not the message")
	}
	return false, nil
}
