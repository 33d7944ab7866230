package vault

import (
	"context"
	"errors"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
)

// Load opens the credential that p, for use, reveal, lend or verify, is for.
// The caller clears the record's Secret. On any error there is no plaintext.
// Refusals: ErrPermit, ErrNotFound, ErrMissing, ErrRollback, and what Blobs,
// Marks, the KeySource and envelope.Open refuse.
func (v *Vault) Load(ctx context.Context, p grant.Permit) (envelope.Record, envelope.Header, error) {
	k, err := permitted(p, grant.ActUse, grant.ActReveal, grant.ActLend, grant.ActVerify)
	if err != nil {
		return envelope.Record{}, envelope.Header{}, err
	}
	o, err := v.load(ctx, k)
	return o.rec, o.hdr, k.about(err)
}

// object is a verified one.
type object struct {
	hdr     envelope.Header
	rec     envelope.Record
	version Version
}

func (v *Vault) load(ctx context.Context, k Key) (object, error) {
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return object{}, err
		}
		// The mark first: a store that ends between the two reads would
		// otherwise make what was current look old.
		m, err := v.marks.Get(ctx, k)
		if err != nil {
			return object{}, err
		}
		sealed, version, err := v.blobs.Get(ctx, k)
		if errors.Is(err, ErrNotFound) {
			after, err := v.marks.Get(ctx, k)
			switch {
			case err != nil:
				return object{}, err
			case after != m:
				continue // stored or deleted meanwhile: nothing to judge by
			case m.Revision > m.Removing:
				return object{}, ErrMissing
			}
			return object{}, ErrNotFound
		}
		if err != nil {
			return object{}, err
		}
		hdr, rec, err := v.decrypt(ctx, k, sealed)
		if err != nil {
			return object{}, err
		}
		if hdr.Revision < m.Revision || hdr.Revision <= m.Removed {
			rec.Secret.Clear()
			return object{}, ErrRollback
		}
		if hdr.Revision > m.Revision {
			if _, err := v.marks.Raise(ctx, k, Mark{Revision: hdr.Revision}); err != nil {
				rec.Secret.Clear()
				return object{}, err
			}
		}
		return object{hdr, rec, version}, nil
	}
	return object{}, ErrConflict
}

// Info is what can be said of a stored credential without opening it.
type Info struct {
	Service agentkeys.Service
	// Epoch and Revision are unverified: whoever can write to the store chose
	// them. They are for display, and for finding what a rotation must open.
	Epoch    uint32
	Revision uint64
	Size     int // of the object, in bytes
	// Err says why there is neither epoch nor revision.
	Err error
}

// Infos lists the credentials under a wallet, in the order of their keys.
func (v *Vault) Infos(ctx context.Context, w agentkeys.Wallet) ([]Info, error) {
	var infos []Info
	var last Key
	for {
		page, err := v.blobs.List(ctx, CredentialPrefix(w), last, MaxPage)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			last = item.Key
			i := Info{Service: item.Key.service, Size: int(item.Size)}
			sealed, _, err := v.blobs.Get(ctx, item.Key)
			if errors.Is(err, ErrNotFound) {
				continue // deleted since it was listed
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			var h envelope.UnverifiedHeader
			if err == nil {
				i.Size = len(sealed)
				h, err = envelope.ParseHeader(sealed)
			}
			i.Epoch, i.Revision, i.Err = h.Epoch, h.Revision, item.Key.about(err)
			infos = append(infos, i)
		}
		if !page.More || len(page.Items) == 0 {
			return infos, nil
		}
	}
}
