package keychain

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"github.com/zalando/go-keyring"
)

func TestClassify(t *testing.T) {
	for err, want := range map[error]error{
		keyring.ErrNotFound: ErrNotFound,
		errors.New("failed to unlock correct collection '/org/freedesktop/secrets/aliases/default'"): ErrLocked,
		errors.New("Cannot get secret of a locked object"):                                           ErrLocked,
		exec.ErrNotFound: ErrUnavailable,
		errors.New("dbus: connection closed by user"): ErrUnavailable,
		keyring.ErrSetDataTooBig:                      ErrUnavailable,
	} {
		if got := classify(err); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	if classify(nil) != nil {
		t.Error("no error became one")
	}
}

func TestRefusals(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, call := range map[string]func(context.Context, string) error{
		"get":    func(ctx context.Context, id string) error { _, err := Get(ctx, id); return err },
		"create": func(ctx context.Context, id string) error { _, err := Create(ctx, id); return err },
		"delete": Delete,
	} {
		if err := call(ctx, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", what, err)
		}
		if err := call(t.Context(), ""); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s without an id: %v", what, err)
		}
	}
}
