package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/remote"
	"github.com/litentry/agentkeys/internal/token"
)

// profile is this machine's login at a broker, as broker.json has it: one for
// each AGENTKEYS_HOME. Nothing in it is secret.
type profile struct {
	Version int              `json:"version"`
	Issuer  string           `json:"issuer"`
	Account string           `json:"account"`
	Wallet  agentkeys.Wallet `json:"wallet"`
	Agent   agentkeys.Agent  `json:"agent,omitzero"` // whose machine this is; zero: the master's
	Device  string           `json:"device"`         // the thumbprint of its key
	Place   device.Place     `json:"device_key"`
	KeyID   string           `json:"key_id"` // the name of the key in the keychain
}

// readProfile returns the login, nil if there is none.
func readProfile(p local.Paths) (*profile, error) {
	data, err := os.ReadFile(p.Login())
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := new(profile)
	if err = json.Unmarshal(data, l); err == nil {
		_, err = brokerclient.ParseOrigin(l.Issuer)
	}
	if err == nil {
		_, err = token.ParseThumbprint(l.Device) // it names a directory
	}
	if err != nil || l.Version != 1 || l.Wallet.IsZero() || l.Place.IsZero() || l.Place == device.Memory {
		return nil, failWith(exitCorrupt, "corrupt", fmt.Errorf("%s is damaged", p.Login()),
			"restore it from a backup, or remove it and log in again: 'agentkeys login --broker URL'")
	}
	return l, nil
}

func (l *profile) save(p local.Paths) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = durable.MkdirAll(p.Config)
	}
	if err == nil {
		err = durable.WriteFile(p.Login(), append(data, '\n'))
	}
	return explainOrNil(err)
}

// newDevice is a device that is about to become known to a broker.
type newDevice struct {
	place device.Place
	id    string
	key   device.Key
}

// makeDevice makes a device key where its user wants it.
func makeDevice(ctx context.Context, place device.Place) (*newDevice, error) {
	var b [8]byte
	_, _ = rand.Read(b[:])
	daemon.Harden() // the key is about to be in this memory
	d := &newDevice{place: place, id: hex.EncodeToString(b[:])}
	var err error
	d.key, err = device.Create(ctx, place, d.id)
	return d, explainBroker(err)
}

// forget is for a login that came to nothing.
func (d *newDevice) forget() {
	ctx, cancel := shortContext()
	defer cancel()
	_ = device.Forget(ctx, d.place, d.id)
	d.key.Clear()
}

func (d *newDevice) profile(issuer string, s brokerapi.Session) *profile {
	return &profile{
		Version: 1, Issuer: issuer, Account: s.Account, Wallet: s.Wallet, Agent: s.Agent,
		Device: s.Device, Place: d.place, KeyID: d.id,
	}
}

// openDevice opens the key of a login.
func (l *profile) openDevice(ctx context.Context) (device.Key, error) {
	daemon.Harden()
	k, err := device.Open(ctx, l.Place, l.KeyID)
	if err != nil {
		return k, explainBroker(err)
	}
	if t, err := token.ThumbprintOf(&k.Private().PublicKey); err != nil || t.String() != l.Device {
		k.Clear()
		return device.Key{}, failWith(exitCorrupt, "corrupt", fmt.Errorf("the key in %s is not the one this machine logged in with", l.Place),
			"put that key back, or run 'agentkeys logout --force' and log in anew")
	}
	return k, nil
}

func brokerOptions(url string, k device.Key, log *slog.Logger) remote.Options {
	return remote.Options{URL: url, Key: k, Version: version, Log: log, Now: time.Now}
}

// placeFlag parses --device-key.
func placeFlag(s string) (device.Place, error) {
	place, err := device.ParsePlace(s)
	if err != nil {
		return place, failWith(exitUsage, "usage", fmt.Errorf("--device-key: %w", err), "see 'agentkeys login --help'")
	}
	return place, nil
}

// deviceName is how a person will know this machine among others.
func deviceName(flag string) string {
	name := flag
	if name == "" {
		name, _ = os.Hostname()
	}
	if name == "" {
		name = "a device"
	}
	return name[:min(len(name), 64)]
}

// brokerCauses are the failures of everything that has to do with a broker,
// with what to do about each.
var brokerCauses = []struct {
	is   error
	exit int
	code string
	fix  string
}{
	{device.ErrNoKeychain, exitLocked, "no-keychain", "unlock or start the keychain, or choose with --device-key file:PATH or --device-key memory"},
	{device.ErrExists, exitConflict, "exists", "name another file, or remove that one if nothing uses it"},
	{device.ErrExposed, exitLocked, "exposed", "chmod 600 the file it names, as its owner"},
	{device.ErrNotFound, exitLocked, "locked", "bring the key back, or run 'agentkeys logout --force' and log in anew"},
	{device.ErrSeed, exitCorrupt, "corrupt", "restore the key from a backup, or run 'agentkeys logout --force' and log in anew"},
	{device.ErrPlace, exitUsage, "usage", "there is " + device.Choices},
	{brokerclient.ErrURL, exitUsage, "usage", "give the broker's address, as --broker https://broker.example.com"},
	{brokerclient.ErrIssuer, exitRefused, "issuer", "use the name that the broker calls itself by, if you trust it"},
	{local.ErrLoggedOut, exitRefused, "logged-out", "run 'agentkeys logout' and log in anew"},
	{brokerclient.ErrDeviceOut, exitRefused, "logged-out", "run 'agentkeys logout' and log in anew"},
	{brokerclient.ErrUnreachable, exitFailure, "unreachable", "check the address and the network, and try again"},
	{brokerclient.ErrAnswer, exitFailure, "unreachable", "check the address: what answers there is not a broker of this version"},
	{remote.ErrIncomplete, exitFailure, "incomplete", "ask the broker's operator to configure its cloud and its signer"},
	{local.ErrRefusedAway, exitRefused, "forbidden", "ask the broker's operator to run 'agentkeys cloud verify'"},
	{local.ErrAway, exitFailure, "unreachable", "check the network and try again"},
}

// explainBroker gives such a failure its cure.
func explainBroker(err error) error {
	if err == nil {
		return nil
	}
	if _, told := errors.AsType[*problem](err); told {
		return err
	}
	for _, c := range brokerCauses {
		if errors.Is(err, c.is) {
			return &problem{err: err, fix: c.fix, code: c.code, exit: c.exit}
		}
	}
	if p, ok := errors.AsType[*brokerapi.Problem](err); ok {
		return &problem{err: fmt.Errorf("the broker refuses: %w", err), fix: p.Fix, code: p.Code, exit: exitRefused}
	}
	return explain(err)
}

// examineBroker is what 'agentkeys doctor' says of a login.
func (a *app) examineBroker(ctx context.Context, p local.Paths, add addFinding) {
	l, err := readProfile(p)
	if err != nil || l == nil {
		return // without a login; one that is damaged was told of before
	}
	st, err := control.NewClient(p.Control()).Status(ctx)
	switch {
	case err != nil:
		add("broker", "note", "agentkeys up", "logged in at %s; nothing runs that could ask it", l.Issuer)
	case st.Broker == nil:
		add("broker", "bad", "run 'agentkeys down', then 'agentkeys up'", "logged in at %s, but what runs serves the keys of this machine", l.Issuer)
	case st.Broker.Stream.State == local.StreamEnded:
		add("broker", "bad", "run 'agentkeys logout' and log in anew", "%s does not know this machine any more", l.Issuer)
	case st.Broker.Stream.State != local.StreamLive:
		add("broker", "bad", "check the network", "%s is not heard: %s", l.Issuer, st.Broker.Stream.Error)
	case st.StoreError != "":
		add("broker", "bad", "check the network, or ask the broker's operator to run 'agentkeys cloud verify'", "%s is heard, and its store is not: %s", l.Issuer, st.StoreError)
	default:
		add("broker", "ok", "", "%s is heard, and its store answers", l.Issuer)
	}
}
