package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/token"
)

// Kinds of items, and how they are named. Whatever a stranger chooses, or can
// be guessed, is in a name as its SHA-256 only.
const (
	kindIdentity  = "identity"   // <digest of the identity>: identityRecord
	kindAccount   = "account"    // <account>: accountRecord
	kindWallet    = "wallet"     // <wallet>: walletRecord
	kindLogin     = "login"      // <login>: loginRecord
	kindPasskey   = "passkey"    // <digest of the credential id>: the credential
	kindMail      = "mail-limit" // <digest of an address or peer>: limitRecord
	kindProof     = "proof"      // <digest of key and proof id>: that it was used
	kindDevice    = "device"     // <thumbprint>: deviceRecord
	kindDeviceOf  = "device-of"  // <account>/<thumbprint>: deviceIndex
	kindAgent     = "agent"      // <account>/<label>: agentRecord
	kindEnrolment = "enrolment"  // <digest of the code>: enrolmentRecord
	kindGrant     = "grant"      // <account>/<agent id>/<service>: grant.Grant
	kindGrants    = "grants"     // <account>: countRecord
)

// never is when what does not expire does.
var never time.Time

type identityRecord struct {
	Account string    `json:"account"`
	Method  string    `json:"method"`
	Created time.Time `json:"created"`
}

type accountRecord struct {
	Wallet  agentkeys.Wallet `json:"wallet"`
	Created time.Time        `json:"created"`
}

// walletRecord says whose a wallet is; the agent is zero for the master's own.
type walletRecord struct {
	Account string          `json:"account"`
	Agent   agentkeys.Agent `json:"agent,omitzero"`
}

// deviceRecord has all that a session says, so that checking one takes one
// read. The agent and the parent are zero for a device of the master's.
type deviceRecord struct {
	Account string           `json:"account"`
	Wallet  agentkeys.Wallet `json:"wallet"`
	Parent  agentkeys.Wallet `json:"parent,omitzero"`
	Agent   agentkeys.Agent  `json:"agent,omitzero"`
	Name    string           `json:"name"`
	Created time.Time        `json:"created"`
}

// deviceIndex is what an account's list of devices says of one.
type deviceIndex struct {
	Agent agentkeys.Agent `json:"agent,omitzero"`
}

// agentRecord is an agent. ID is of this one for ever: of a later agent of the
// same label it is another, so that nothing left of this one comes to life.
type agentRecord struct {
	ID      string           `json:"id"`
	Label   agentkeys.Agent  `json:"label"`
	Wallet  agentkeys.Wallet `json:"wallet"`
	Created time.Time        `json:"created"`
	Device  string           `json:"device,omitempty"` // thumbprint
	Code    string           `json:"code,omitempty"`   // digest of the enrolment code that is good
}

type enrolmentRecord struct {
	Account string          `json:"account"`
	Agent   agentkeys.Agent `json:"agent"`
}

type limitRecord struct {
	Count int       `json:"count"`
	Until time.Time `json:"until"`
}

type countRecord struct {
	Count int `json:"count"`
}

func identityKey(identity string) Key { return Key{kindIdentity, digest(identity)} }
func accountKey(account string) Key   { return Key{kindAccount, account} }
func walletKey(w agentkeys.Wallet) Key {
	return Key{kindWallet, w.String()}
}
func deviceKey(d token.Thumbprint) Key { return Key{kindDevice, d.String()} }
func deviceOfKey(account string, d token.Thumbprint) Key {
	return Key{kindDeviceOf, account + "/" + d.String()}
}
func agentKey(account string, a agentkeys.Agent) Key {
	return Key{kindAgent, account + "/" + a.String()}
}
func grantKey(account, agentID string, s agentkeys.Service) Key {
	return Key{kindGrant, account + "/" + agentID + "/" + s.String()}
}

// digest is how a secret or a long name is kept: SHA-256 of its parts, which
// cannot be mistaken for others, in hex.
func digest(parts ...string) string {
	d := sum(parts...)
	return hex.EncodeToString(d[:])
}

// sum is digest before the hex.
func sum(parts ...string) [sha256.Size]byte {
	var b []byte
	for _, p := range parts {
		b = append(strconv.AppendInt(b, int64(len(p)), 10), ':')
		b = append(append(b, p...), ',')
	}
	return sha256.Sum256(b)
}

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	return hex.EncodeToString(b)
}

// get reads a record. It is ErrAbsent or ErrUnavailable, or the record is not
// what this program writes.
func get[T any](ctx context.Context, s State, k Key) (rec T, version int64, err error) {
	item, err := s.Get(ctx, k)
	if err != nil {
		return rec, 0, stateError(err)
	}
	rec, err = parse[T](item)
	return rec, item.Version, err
}

func parse[T any](item Item) (rec T, err error) {
	// The item may be secret, or somebody's name: what is wrong with it is not
	// told.
	dec := json.NewDecoder(bytes.NewReader(item.Value))
	dec.DisallowUnknownFields() // a later version's: to write it back would cut it
	if !bytes.HasPrefix(item.Value, []byte("{")) || dec.Decode(&rec) != nil || dec.More() {
		return rec, fmt.Errorf("the state has an item of kind %s that this version cannot read", item.Key.Kind)
	}
	return rec, nil
}

// list reads all records of a kind whose names begin with prefix.
func list[T any](ctx context.Context, s State, kind, prefix string) ([]T, []Item, error) {
	var recs []T
	var items []Item
	for after := ""; ; {
		page, err := s.List(ctx, kind, prefix, after, MaxList)
		if err != nil {
			return nil, nil, stateError(err)
		}
		for _, item := range page {
			rec, err := parse[T](item)
			if err != nil {
				return nil, nil, err
			}
			recs, items = append(recs, rec), append(items, item)
		}
		if len(page) < MaxList {
			return recs, items, nil
		}
		after = page[len(page)-1].Key.Name
	}
}

// count counts the items of a kind whose names begin with prefix, and keeps none
// of them.
func count(ctx context.Context, s State, kind, prefix string) (n int, err error) {
	for after := ""; ; {
		page, err := s.List(ctx, kind, prefix, after, MaxList)
		if err != nil {
			return 0, stateError(err)
		}
		if n += len(page); len(page) < MaxList {
			return n, nil
		}
		after = page[len(page)-1].Key.Name
	}
}

// put is a write of a record; expect 0 creates it.
func put(k Key, expect int64, rec any, expires time.Time) Write {
	value, err := json.Marshal(rec)
	if err != nil {
		panic(fmt.Sprintf("broker: %s cannot be written: %v", k.Kind, err)) // our own types: they can
	}
	if !expires.IsZero() {
		expires = expires.UTC().Truncate(time.Millisecond)
	}
	return Write{Key: k, Expect: expect, Value: value, Expires: expires}
}

// stateError makes ErrUnavailable of whatever is not an answer.
func stateError(err error) error {
	if err == nil || errors.Is(err, ErrAbsent) || errors.Is(err, ErrConflict) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: the state: %w", ErrUnavailable, err)
}
