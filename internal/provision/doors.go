package provision

import (
	"context"

	"github.com/litentry/agentkeys/catalog"
)

// Ready is a door that somebody else keeps open: a federation that was set up, a
// management key that is in the vault.
type Ready struct {
	Door catalog.Door
	// See says whether it is open.
	See func(context.Context) (Opening, error)
	// Try goes through it once, to show that it works.
	Try func(context.Context) (Found, error)
}

// Name implements Door.
func (d *Ready) Name() catalog.Door { return d.Door }

// Look implements Door.
func (d *Ready) Look(ctx context.Context) (Opening, error) { return d.See(ctx) }

// Enter implements Door.
func (d *Ready) Enter(ctx context.Context, _ *Journal, tell Tell) (Found, error) {
	say(tell, Phase{Name: string(d.Door), Note: "trying it"})
	return d.Try(ctx)
}
