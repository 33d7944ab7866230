package ports

import (
	"net"
	"strconv"
	"sync"
	"testing"
)

// TestTake: what is given is free, is given once, and is given back.
func TestTake(t *testing.T) {
	var mu sync.Mutex
	given := map[int]int{}
	var back []func()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 { // enough that two would meet by chance
				n, err := Take(func(f func()) { mu.Lock(); back = append(back, f); mu.Unlock() })
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				given[n]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	one := 0
	for n, times := range given {
		if one = n; times != 1 || n < first || n >= last {
			t.Errorf("%d was given %d times", n, times)
		}
	}
	at := "127.0.0.1:" + strconv.Itoa(one)
	ln, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatalf("nobody can listen there: %v", err)
	}
	_ = ln.Close()
	for _, f := range back {
		f()
	}
	c, err := net.ListenPacket("udp4", at)
	if err != nil {
		t.Fatalf("it was not given back: %v", err)
	}
	_ = c.Close()
}
