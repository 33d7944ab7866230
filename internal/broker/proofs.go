package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/token"
)

// proofs remembers which proofs were used. One that was used already is
// ErrProof; where that cannot be known, it is ErrUnavailable.
type proofs interface {
	use(ctx context.Context, p token.Proof, now time.Time) error
}

// proofLife is how long a proof could be used again: its time may lie ahead
// of now as far as behind.
const proofLife = 2 * token.ProofWindow

var errReplay = fmt.Errorf("%w: it was used before", ErrProof)

func newProofs(s State) proofs {
	if s.Shared() {
		return sharedProofs{s}
	}
	return newOwnProofs()
}

// sharedProofs remembers in the state: a proof that one replica has taken is
// refused by all.
type sharedProofs struct{ s State }

func (p sharedProofs) use(ctx context.Context, proof token.Proof, now time.Time) error {
	_, err := p.s.Apply(ctx, Change{Writes: []Write{
		put(Key{kindProof, digest(proof.Key.String(), proof.ID)}, 0, true, now.Add(proofLife)),
	}})
	if errors.Is(err, ErrConflict) {
		return errReplay
	}
	return stateError(err)
}

// ownProofs remembers in memory, which is enough for one process. There are
// no pointers in the map for the garbage collector to follow.
type ownProofs struct {
	mu    sync.Mutex
	began time.Time // the first use
	// until when, since began: what sets the machine's clock does not end it
	used map[[sha256.Size]byte]time.Duration
	next time.Duration // to forget what has ended
}

func newOwnProofs() *ownProofs { return &ownProofs{used: map[[sha256.Size]byte]time.Duration{}} }

// maxProofs bounds the memory: about 190 MB, for 17,000 requests a second.
const maxProofs = 1 << 21

func (p *ownProofs) use(_ context.Context, proof token.Proof, at time.Time) error {
	name := sum(proof.Key.String(), proof.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began = at
	}
	now := at.Sub(p.began)
	if until, ok := p.used[name]; ok && now < until {
		return errReplay
	}
	if now >= p.next {
		for n, until := range p.used {
			if now >= until {
				delete(p.used, n)
			}
		}
		p.next = now + proofLife/4
	}
	if len(p.used) >= maxProofs {
		return fmt.Errorf("%w: too many proofs at once", ErrUnavailable)
	}
	p.used[name] = now + proofLife
	return nil
}
