package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/vault"
)

// outcomes are what the parts say, by what a Host makes of it.
var outcomes = []struct{ part, is error }{
	{brokerclient.ErrEnded, local.ErrLoggedOut}, {brokerclient.ErrDeviceOut, local.ErrLoggedOut},
	{brokerclient.ErrStale, local.ErrAway}, {brokerclient.ErrUnreachable, local.ErrAway}, {brokerclient.ErrAnswer, local.ErrAway},
	{signerclient.ErrUnreachable, local.ErrAway}, {signerclient.ErrAnswer, local.ErrAway},
	{awssts.ErrUnreachable, local.ErrAway}, {s3blob.ErrStore, local.ErrAway},
	{signerclient.ErrRefused, local.ErrRefusedAway}, {awssts.ErrRefused, local.ErrRefusedAway}, {s3blob.ErrDenied, local.ErrRefusedAway},
	{s3mail.ErrStore, local.ErrAway}, {s3mail.ErrDenied, local.ErrRefusedAway},
}

// explain gives an error the name that a Host has for it.
func explain(err error) error {
	for _, o := range outcomes {
		if errors.Is(err, o.part) {
			return fmt.Errorf("%w: %w", o.is, err)
		}
	}
	return err
}

// keys and blobs are those parts while this device is in, with errors that a
// Host knows.
type keys struct {
	*signerclient.Client
	in func() error
}

var _ local.Epochs = keys{}

func (k keys) KEK(ctx context.Context, w agentkeys.Wallet, s agentkeys.Service, epoch uint32) (envelope.KEK, error) {
	if err := k.in(); err != nil {
		return envelope.KEK{}, err
	}
	if epoch == 0 { // what Epoch says while no signer answers
		return envelope.KEK{}, fmt.Errorf("%w: the signer does not say its epoch", local.ErrAway)
	}
	kek, err := k.Client.KEK(ctx, w, s, epoch)
	return kek, explain(err)
}

// Refresh implements local.Epochs.
func (k keys) Refresh(ctx context.Context) (uint32, error) {
	if err := k.in(); err != nil {
		return 0, err
	}
	epoch, err := k.Client.Refresh(ctx)
	return epoch, explain(err)
}

type blobs struct {
	b  vault.Blobs
	in func() error
}

func (b blobs) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	if err := b.in(); err != nil {
		return nil, "", err
	}
	data, v, err := b.b.Get(ctx, k)
	return data, v, explain(err)
}

func (b blobs) Put(ctx context.Context, k vault.Key, data []byte, c vault.Condition) (vault.Version, error) {
	if err := b.in(); err != nil {
		return "", err
	}
	v, err := b.b.Put(ctx, k, data, c)
	return v, explain(err)
}

func (b blobs) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	if err := b.in(); err != nil {
		return err
	}
	return explain(b.b.Delete(ctx, k, v))
}

func (b blobs) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (vault.Page, error) {
	if err := b.in(); err != nil {
		return vault.Page{}, err
	}
	page, err := b.b.List(ctx, p, after, limit)
	return page, explain(err)
}

type mail struct {
	inbox mailstore.Inbox
	in    func() error
}

func (m mail) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	if err := m.in(); err != nil {
		return mailstore.Page{}, err
	}
	page, err := m.inbox.List(ctx, w, after, limit)
	return page, explain(err)
}

func (m mail) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if err := m.in(); err != nil {
		return nil, err
	}
	data, err := m.inbox.Fetch(ctx, w, id, limit)
	return data, explain(err)
}
