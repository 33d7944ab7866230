package smtpin

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
)

// ids makes message ids: 12 hexadecimal digits of Unix milliseconds, so that a
// listing is in the order of arrival, a dash and 130 random bits, in lower case.
// An id never goes back within a process, whatever the clock does.
type ids struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64
}

func (g *ids) next() agentkeys.MessageID {
	g.mu.Lock()
	g.last = max(g.last, g.now().UnixMilli(), 0)
	ms := g.last
	g.mu.Unlock()
	id, err := agentkeys.ParseMessageID(fmt.Sprintf("%012x-%s", ms&(1<<48-1), strings.ToLower(rand.Text())))
	if err != nil {
		panic("smtpin: " + err.Error()) // the form is ours
	}
	return id
}
