package chrome

import (
	"context"
	"errors"
)

func (b *Browser) attach(context.Context) error { return errors.ErrUnsupported }

func (t *tab) close() {}
