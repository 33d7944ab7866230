package statetest

import (
	"sync/atomic"
	"time"
)

// clock stands until it is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time               { return time.UnixMilli(c.at.Load()) }
func (c *clock) move(d time.Duration)         { c.at.Add(d.Milliseconds()) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }
