package broker

import (
	"context"
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
	return &ownProofs{used: map[string]time.Time{}}
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

// ownProofs remembers in memory, which is enough for one process.
type ownProofs struct {
	mu   sync.Mutex
	used map[string]time.Time // until when
	next time.Time            // to forget what has ended
}

// maxProofs bounds the memory: about 130 MB.
const maxProofs = 1 << 20

func (p *ownProofs) use(_ context.Context, proof token.Proof, now time.Time) error {
	name := digest(proof.Key.String(), proof.ID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if until, ok := p.used[name]; ok && now.Before(until) {
		return errReplay
	}
	if !now.Before(p.next) {
		for n, until := range p.used {
			if !now.Before(until) {
				delete(p.used, n)
			}
		}
		p.next = now.Add(proofLife / 4)
	}
	if len(p.used) >= maxProofs {
		return fmt.Errorf("%w: too many proofs at once", ErrUnavailable)
	}
	p.used[name] = now.Add(proofLife)
	return nil
}
