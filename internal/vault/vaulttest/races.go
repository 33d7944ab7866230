package vaulttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/vault"
)

const racers = 12

func testRacingCreates(t *testing.T, b vault.Blobs) {
	for round := range 5 {
		k := Key(1, fmt.Sprint("round-", round))
		won := race(t, racers, func(i int) error {
			_, err := b.Put(t.Context(), k, []byte(strconv.Itoa(i)), vault.Create())
			return err
		}, vault.ErrConflict)
		if len(won) != 1 {
			t.Fatalf("racers %v all created one key", won)
		}
		holds(t, b, k, strconv.Itoa(won[0]))
	}
}

func testRacingReplaces(t *testing.T, b vault.Blobs) {
	k := Key(1, "openrouter")
	v := put(t, b, k, "start", vault.Create())
	for range 5 {
		won := race(t, racers, func(i int) error {
			_, err := b.Put(t.Context(), k, []byte(strconv.Itoa(i)), vault.Replace(v))
			return err
		}, vault.ErrConflict)
		if len(won) != 1 {
			t.Fatalf("racers %v all replaced one version", won)
		}
		v = holds(t, b, k, strconv.Itoa(won[0]))
		// Not a number, so that no racer writes the bytes that are there.
		v = put(t, b, k, "again", vault.Replace(v))
	}
}

func testRacingDeletes(t *testing.T, b vault.Blobs) {
	for range 5 {
		k := Key(1, "openrouter")
		v := put(t, b, k, "x", vault.Create())
		won := race(t, racers, func(int) error { return b.Delete(t.Context(), k, v) }, vault.ErrNotFound)
		if len(won) != 1 {
			t.Fatalf("racers %v all deleted one object", won)
		}
		_, _, err := b.Get(t.Context(), k)
		fails(t, "get what was deleted", err, vault.ErrNotFound)
	}
}

// testNoLostUpdate counts up from several goroutines, each reading and then
// replacing what it read.
func testNoLostUpdate(t *testing.T, b vault.Blobs) {
	const writers, each = 6, 10
	k := Key(1, "counter")
	put(t, b, k, "0", vault.Create())
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := Increment(t.Context(), b, k); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	holds(t, b, k, strconv.Itoa(writers*each))
}

// Increment adds one to the decimal number under k, which must be there.
func Increment(ctx context.Context, b vault.Blobs, k vault.Key) error {
	for {
		data, v, err := b.Get(ctx, k)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(data))
		if err != nil {
			return fmt.Errorf("half a number: %q", data)
		}
		_, err = b.Put(ctx, k, []byte(strconv.Itoa(n+1)), vault.Replace(v))
		if !errors.Is(err, vault.ErrConflict) {
			return err
		}
	}
}

// testNeverHalf reads while writers replace the object by others of any size,
// some of them cut off by their context: every read is whole.
func testNeverHalf(t *testing.T, b vault.Blobs) {
	k := Key(1, "openrouter")
	if _, err := b.Put(t.Context(), k, whole(100), vault.Create()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithCancel(t.Context())
				if w == 1 {
					ctx, cancel = context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
				}
				if _, v, err := b.Get(ctx, k); err == nil {
					_, _ = b.Put(ctx, k, whole(rand.IntN(vault.MaxBlob-sha256.Size)), vault.Replace(v))
				}
				cancel()
			}
		})
	}
	for range 150 {
		data, _, err := b.Get(t.Context(), k)
		if err != nil {
			t.Errorf("get while writing: %v", err)
			break
		}
		if !isWhole(data) {
			t.Errorf("read half an object, of %d bytes", len(data))
			break
		}
	}
	close(stop)
	wg.Wait()
	if data, _, err := b.Get(t.Context(), k); err != nil || !isWhole(data) {
		t.Errorf("%d bytes at the end, %v", len(data), err)
	}
}

// whole makes an object that begins with the hash of the rest.
func whole(n int) []byte {
	body := bytes.Repeat([]byte{byte(rand.Int())}, n)
	sum := sha256.Sum256(body)
	return append(sum[:], body...)
}

func isWhole(b []byte) bool {
	if len(b) < sha256.Size {
		return false
	}
	sum := sha256.Sum256(b[sha256.Size:])
	return bytes.Equal(sum[:], b[:sha256.Size])
}
