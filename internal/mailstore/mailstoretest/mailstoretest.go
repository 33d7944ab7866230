// Package mailstoretest owns the exam that every store of mail takes, a store
// in memory that passes it, a way to make any store fail, and a campaign that
// routes thousands of messages through a store that does. It is for tests only.
package mailstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Store is what takes the exam. If it is a mailstore.Watcher as well, that is
// examined too.
type Store interface {
	mailstore.Arrived
	mailstore.Spool
	mailstore.Inbox
}

// World is a store and what stands outside of it.
type World struct {
	Store Store
	// Other is the same as another process has it open; nil if it is Store.
	Other Store
	// Objects returns all that is stored, whole, by key: "inbound/…", "bots/…",
	// "refused/…", and whatever else was left there.
	Objects func(t testing.TB) map[string][]byte
	// Plant stores an object under a key, in the place of what was there, as
	// SES does or somebody who owns the store. A key that cannot be is skipped.
	Plant func(t testing.TB, key string, data []byte)
}

func (w World) other() Store {
	if w.Other != nil {
		return w.Other
	}
	return w.Store
}

// Run shows that a store keeps the promises of package mailstore. open makes an
// empty one, and is called once in each subtest.
func Run(t *testing.T, open func(t *testing.T) World) {
	for _, c := range []struct {
		name string
		test func(*testing.T, World)
	}{
		{"Read", testRead},
		{"Versions", testVersions},
		{"Place", testPlace},
		{"Refuse", testRefuse},
		{"Remove", testRemove},
		{"Write", testWrite},
		{"WriteFails", testWriteFails},
		{"Fetch", testFetch},
		{"Invalid", testInvalid},
		{"CancelledContext", testCancelled},
		{"Pages", testPages},
		{"PagesWhileChanging", testPagesWhileChanging},
		{"OddNames", testOddNames},
		{"Isolation", testIsolation},
		{"RacingWrites", testRacingWrites},
		{"RacingPlaces", testRacingPlaces},
		{"PlaceWhileRemoved", testPlaceWhileRemoved},
		{"PlaceWhileReplaced", testPlaceWhileReplaced},
		{"NeverHalf", testNeverHalf},
		{"Watch", testWatch},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Wallet returns a wallet whose last byte is n.
func Wallet(n byte) agentkeys.Wallet {
	return agentkeys.WalletFrom([20]byte{0: 0xab, 19: n})
}

// ID returns the id that s is.
func ID(s string) agentkeys.MessageID {
	return agentkeys.Must(agentkeys.ParseMessageID(s))
}

// The keys of a message.
func arrivedAt(id agentkeys.MessageID) string { return "inbound/" + id.String() }
func placedAt(w agentkeys.Wallet, id agentkeys.MessageID) string {
	return "bots/" + w.String() + "/inbound/" + id.String()
}

func refusedAt(reason string, id agentkeys.MessageID) string {
	return "refused/" + reason + "/" + id.String()
}

// write stores a message and returns its version.
func write(t *testing.T, s Store, id agentkeys.MessageID, data string) mailstore.Version {
	t.Helper()
	if err := s.Write(t.Context(), id, strings.NewReader(data), int64(len(data))); err != nil {
		t.Fatalf("write %s: %v", id, err)
	}
	return version(t, s, id)
}

func version(t *testing.T, s Store, id agentkeys.MessageID) mailstore.Version {
	t.Helper()
	p, err := s.Read(t.Context(), id, 0, 1, "")
	if err != nil || p.Version == "" {
		t.Fatalf("read %s: version %q, %v", id, p.Version, err)
	}
	return p.Version
}

func place(t *testing.T, s Store, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet, want bool) {
	t.Helper()
	created, err := s.Place(t.Context(), id, v, w)
	if err != nil || created != want {
		t.Fatalf("place %s: %v, %v, want %v", id, created, err, want)
	}
}

// holds checks that there are these objects and no others.
func (w World) holds(t *testing.T, want map[string]string) {
	t.Helper()
	got := w.Objects(t)
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if text, ok := want[key]; !ok {
			t.Errorf("there is %s", key)
		} else if string(got[key]) != text {
			t.Errorf("%s has %d other bytes", key, len(got[key]))
		}
	}
	for key := range want {
		if _, ok := got[key]; !ok {
			t.Errorf("there is no %s", key)
		}
	}
}

func fails(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// pages lists by pages of limit.
func pages(t *testing.T, limit int, list func(after agentkeys.MessageID, limit int) (mailstore.Page, error)) (all []mailstore.Item) {
	t.Helper()
	var after agentkeys.MessageID
	for range 10_000 {
		p, err := list(after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Items) > limit {
			t.Fatalf("%d items on a page of %d", len(p.Items), limit)
		}
		all = append(all, p.Items...)
		if !p.More {
			return all
		}
		if len(p.Items) == 0 {
			t.Fatal("an empty page that says there is more")
		}
		after = p.Items[len(p.Items)-1].ID
	}
	t.Fatal("no last page")
	return nil
}

func waiting(t *testing.T, s mailstore.Spool) func(agentkeys.MessageID, int) (mailstore.Page, error) {
	return func(after agentkeys.MessageID, limit int) (mailstore.Page, error) {
		return s.Waiting(t.Context(), after, limit)
	}
}

func inbox(t *testing.T, s mailstore.Inbox, w agentkeys.Wallet) func(agentkeys.MessageID, int) (mailstore.Page, error) {
	return func(after agentkeys.MessageID, limit int) (mailstore.Page, error) {
		return s.List(t.Context(), w, after, limit)
	}
}

func ids(items []mailstore.Item) string {
	var all []string
	for _, i := range items {
		all = append(all, i.ID.String())
	}
	return strings.Join(all, " ")
}

// text makes n bytes that differ from one seed to the next, and nearly
// everywhere from their neighbours.
func text(seed, n int) string {
	var b bytes.Buffer
	for line := 0; b.Len() < n; line++ {
		fmt.Fprintf(&b, "%d/%d: the quick brown fox\r\n", seed, line)
	}
	return b.String()[:n]
}
