package mailbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatch(t *testing.T) {
	// Told, it looks at once.
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		began := time.Now()
		time.AfterFunc(33*time.Second, func() {
			b.put("m1", mail{to: address(wallet, 1), token: "t"})
			b.hint()
		})
		if f, err := Wait(ctx, o); err != nil || linked(t, f) != "t" || time.Since(began) > 33*time.Second+gap {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if b.watches() != 1 {
			t.Errorf("%d watches", b.watches())
		}
	})
	// A hint that was lost costs a poll.
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		began := time.Now()
		time.AfterFunc(33*time.Second, func() { b.put("m1", mail{to: address(wallet, 1), token: "t"}) })
		if f, err := Wait(ctx, options(b)); err != nil || linked(t, f) != "t" || time.Since(began) > 33*time.Second+LastPoll {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
	// A watch that is lost is opened again, without haste.
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		for s := range 30 {
			time.AfterFunc(time.Duration(s)*time.Second, b.lose)
		}
		_, err := Wait(ctx, o)
		if _, ok := errors.AsType[*Timeout](err); !ok {
			t.Fatal(err)
		}
		if n := b.watches(); n < 5 || n > 31 {
			t.Errorf("%d watches", n)
		}
		if n := b.looks(); n > 6+60/3 {
			t.Errorf("%d looks", n)
		}
	})
	// One that cannot be had leaves polling.
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox(), fail: errDown}
		time.AfterFunc(33*time.Second, func() { b.put("m1", mail{to: address(wallet, 1), token: "t"}) })
		if f, err := Wait(ctx, options(b)); err != nil || linked(t, f) != "t" {
			t.Error(err)
		}
	})
	// Mail that others send does not keep it at work without a pause.
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		ticker := time.NewTicker(time.Millisecond)
		go func() {
			for {
				select {
				case <-ctx.Done():
					ticker.Stop()
					return
				case <-ticker.C:
					if b.watches() > 0 {
						b.hint()
					}
				}
			}
		}()
		_, err := Wait(ctx, options(b))
		if _, ok := errors.AsType[*Timeout](err); !ok {
			t.Fatal(err)
		}
		if n := b.looks(); n > int(time.Minute/gap)+1 {
			t.Errorf("%d looks in a minute", n)
		}
	})
}

func TestWatchFirst(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		o.First, o.Last = time.Hour, time.Hour
		o.Progress = func(Seen) {
			// The look is over, the wait has not begun.
			if len(b.items) == 0 {
				b.put("m1", mail{to: address(wallet, 1), token: "t"})
				b.hint()
			}
		}
		began := time.Now()
		if f, err := Wait(ctx, o); err != nil || linked(t, f) != "t" || time.Since(began) > gap {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		o.First, o.Last = time.Hour, time.Hour
		b.onList = func(n int) error {
			if n == 1 {
				go func() { // once this listing is made
					b.put("m1", mail{to: address(wallet, 1), token: "t"})
					if b.watches() > 0 {
						b.hint()
					}
				}()
				synctest.Wait()
			}
			return nil
		}
		began := time.Now()
		if f, err := Wait(ctx, o); err != nil || linked(t, f) != "t" || time.Since(began) > gap {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestWatchEnds(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		b.put("m1", mail{to: address(wallet, 1), token: "t"})
		if _, err := Wait(ctx, o); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := b.live.Load(); n != 0 || b.watches() != 1 {
			t.Errorf("%d of %d watches are left", n, b.watches())
		}
	})
}

func TestAfterHint(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := &watched{box: newBox()}
		o := options(b)
		time.AfterFunc(33*time.Second, func() {
			b.put("m1", mail{to: address(wallet, 2), token: "another run's"})
			b.hint()
		})
		came := 33*time.Second + 200*time.Millisecond
		time.AfterFunc(came, func() { b.put("m2", mail{to: address(wallet, 1), token: "t"}) })
		began := time.Now()
		if _, err := Wait(ctx, o); err != nil || time.Since(began) > came+FirstPoll {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
