package broker

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// beginWallet makes the message to sign.
func (b *Broker) beginWallet(id string, rec *loginRecord, out *brokerapi.Login, r brokerapi.LoginRequest, now time.Time) error {
	address, err := b.o.Wallet.ParseAddress(r.Address)
	if err != nil {
		return requestError("the address is not that of a wallet: %v", err)
	}
	req := WalletRequest{
		Login: id, Device: rec.Device, Address: address, ChainID: max(r.ChainID, 1), Nonce: randomHex(16),
		Issued: now.UTC().Truncate(time.Second), Expires: rec.Ends,
	}
	if rec.Message, err = b.o.Wallet.Message(req); err != nil {
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		return requestError("%v", err)
	}
	rec.Wallet, out.Message = &req, rec.Message
	return nil
}

// ProveWallet consumes the nonce of a message that its owner has signed.
// ErrLogin.
func (b *Broker) ProveWallet(ctx context.Context, id string, p brokerapi.WalletProof) (out brokerapi.Handoff, err error) {
	rec, version, err := b.open(ctx, id, brokerapi.LoginWallet)
	if err != nil {
		return out, err
	}
	if rec.Wallet == nil || subtle.ConstantTimeCompare([]byte(p.Message), []byte(rec.Message)) != 1 {
		return out, ErrLogin
	}
	contract, err := b.o.Wallet.Verify(ctx, *rec.Wallet, p.Message, p.Signature, b.o.Now())
	if err != nil {
		return out, refuse(err)
	}
	identity := "eip155:" + rec.Wallet.Address.String()
	if contract {
		identity = "eip155:" + chain(rec.Wallet.ChainID) + ":" + rec.Wallet.Address.String()
	}
	return b.proveOnce(ctx, id, rec, version, identity)
}

// proveOnce is prove where the proof is not checked again if somebody was
// faster: whoever it was has consumed what it rests on.
func (b *Broker) proveOnce(ctx context.Context, id string, rec loginRecord, version int64, identity string, also ...Write) (brokerapi.Handoff, error) {
	out, err := b.prove(ctx, id, rec, version, identity, also...)
	if errors.Is(err, ErrConflict) {
		return out, ErrLogin
	}
	return out, err
}

// beginProvider makes the URL of the provider. Its state names the login.
func (b *Broker) beginProvider(ctx context.Context, id string, rec *loginRecord, out *brokerapi.Login) error {
	secret := randomToken()
	rec.Token, rec.Nonce, rec.Verifier = digest("state", id, secret), randomToken(), randomToken()
	u, err := b.o.Provider.AuthURL(ctx, id+"."+secret, rec.Nonce, rec.Verifier)
	if err != nil {
		b.o.Log.Warn("the provider's URL could not be made", "err", err)
		return ErrUnavailable
	}
	out.URL = u
	return nil
}

// Return is what a provider sends a browser back with.
type Return struct {
	State, Code string
	Issuer      string // RFC 9207, "" if none
	Error       string // the provider's refusal, "" if none
}

// Awaits reports whether a login waits for a browser with this state. ErrLogin.
func (b *Broker) Awaits(ctx context.Context, r Return) error {
	_, _, _, err := b.awaits(ctx, r)
	return err
}

func (b *Broker) awaits(ctx context.Context, r Return) (id string, rec loginRecord, version int64, err error) {
	id, secret, _ := strings.Cut(r.State, ".")
	rec, version, err = b.open(ctx, id, brokerapi.LoginGoogle)
	if err == nil && !same(rec.Token, digest("state", id, secret)) {
		err = ErrLogin
	}
	return id, rec, version, err
}

// ProveProvider consumes the state of a browser that came back. It returns the
// login too. ErrLogin.
func (b *Broker) ProveProvider(ctx context.Context, r Return) (id string, out brokerapi.Handoff, err error) {
	id, rec, version, err := b.awaits(ctx, r)
	if err != nil {
		return id, out, err
	}
	if r.Error != "" || r.Code == "" {
		// The state is used up by any answer of the provider's.
		if err := b.apply(ctx, Change{Writes: []Write{{Key: Key{kindLogin, id}, Expect: version}}}); errors.Is(err, ErrUnavailable) {
			return id, out, err
		}
		return id, out, ErrLogin
	}
	issuer, subject, err := b.o.Provider.Exchange(ctx, r.Code, rec.Verifier, rec.Nonce, r.Issuer)
	if err != nil {
		return id, out, refuse(err)
	}
	if issuer == "" || subject == "" {
		return id, out, ErrLogin
	}
	out, err = b.proveOnce(ctx, id, rec, version, "google:"+issuer+"|"+subject)
	return id, out, err
}

// BeginPasskey begins the browser's ceremony, in place of an earlier one, and
// returns its options.
func (b *Broker) BeginPasskey(ctx context.Context, id string, register bool) (options []byte, err error) {
	err = b.change(ctx, "login/"+id, func(*tries) error {
		rec, version, err := b.open(ctx, id, brokerapi.LoginPasskey)
		if err != nil {
			return err
		}
		var session []byte
		if register {
			options, session, err = b.o.Passkeys.BeginRegister("AgentKeys", b.o.Now())
		} else {
			options, session, err = b.o.Passkeys.BeginLogin(b.o.Now())
		}
		if err != nil {
			return refuse(err)
		}
		rec.Passkey, rec.Register = session, register
		return b.apply(ctx, Change{Writes: []Write{put(Key{kindLogin, id}, version, rec, rec.Ends)}})
	})
	return options, err
}

// ProvePasskey consumes the challenge of a ceremony with the browser's answer.
// ErrLogin.
func (b *Broker) ProvePasskey(ctx context.Context, id string, answer []byte) (out brokerapi.Handoff, err error) {
	rec, version, err := b.open(ctx, id, brokerapi.LoginPasskey)
	if err != nil {
		return out, err
	}
	if rec.Passkey == nil {
		return out, ErrLogin
	}
	var key Passkey
	var kept int64
	var missed error // what find met: a verifier may not pass it on as it is
	if rec.Register {
		key, err = b.o.Passkeys.FinishRegister(rec.Passkey, answer, b.o.Now())
	} else {
		key, err = b.o.Passkeys.FinishLogin(rec.Passkey, answer, func(cred []byte) (Passkey, error) {
			p, v, err := get[Passkey](ctx, b.o.State, passkeyKey(cred))
			kept, missed = v, err
			return p, err
		}, b.o.Now())
		if errors.Is(missed, ErrUnavailable) {
			return out, missed
		}
	}
	if err == nil && (len(key.ID) == 0 || !rec.Register && kept == 0) {
		err = ErrLogin
	}
	if err != nil {
		// A challenge is for one answer, a wrong one too.
		if rec.Passkey = nil; !errors.Is(err, ErrUnavailable) {
			_ = b.apply(ctx, Change{Writes: []Write{put(Key{kindLogin, id}, version, rec, rec.Ends)}})
		}
		return out, refuse(err)
	}
	// Where the credential is known already, or its counter has moved
	// meanwhile, the change is refused.
	return b.proveOnce(ctx, id, rec, version, passkeyIdentity(key.ID), put(passkeyKey(key.ID), kept, key, never))
}

func passkeyKey(credential []byte) Key { return Key{kindPasskey, digest(string(credential))} }

func passkeyIdentity(credential []byte) string {
	return "passkey:" + base64.RawURLEncoding.EncodeToString(credential)
}

func chain(id uint64) string { return strconv.FormatUint(id, 10) }
