package statetest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys/internal/broker"
)

// BenchmarkApply creates items, one after the other and by 64 at once. A
// benchmark that is compared with others runs it beside them.
func BenchmarkApply(b *testing.B, s broker.State) {
	var n atomic.Int64
	apply := func() error {
		_, err := s.Apply(b.Context(), broker.Change{Writes: []broker.Write{{Key: key(fmt.Sprint(n.Add(1))), Value: make([]byte, 300)}}})
		return err
	}
	b.Run("1", func(b *testing.B) {
		for b.Loop() {
			if err := apply(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64", func(b *testing.B) {
		left := make(chan struct{}, 64)
		done := make(chan error, 64)
		for range 64 {
			go func() {
				for range left {
					if err := apply(); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for b.Loop() {
			left <- struct{}{}
		}
		close(left)
		for range 64 {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
	})
}
