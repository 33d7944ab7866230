package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// places looks at where a run is to leave what it is asked to keep, before it
// begins: afterwards there would be nothing to keep again.
func (p *provisioning) places() error {
	if p.plan {
		return nil
	}
	if p.shots != "" {
		err := os.MkdirAll(p.shots, 0o700)
		if err == nil {
			err = writable(p.shots)
		}
		if err != nil {
			return failWith(exitUsage, "usage", fmt.Errorf("no picture could be kept: %w", err), "name a directory that you may write to with --shots")
		}
	}
	if p.har != "" {
		err := writable(filepath.Dir(p.har))
		if fi, serr := os.Stat(p.har); err == nil && serr == nil && fi.IsDir() {
			err = fmt.Errorf("%s is a directory", p.har)
		}
		if err != nil {
			return failWith(exitUsage, "usage", fmt.Errorf("no recording could be kept: %w", err), "name a file in a directory that you may write to with --har")
		}
	}
	return nil
}

// writable makes a file in a directory, and takes it away.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".agentkeys-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// camera is a browser whose pictures do not fail in silence.
type camera struct {
	provision.Browser
	failed func(error)
}

// Shot implements provision.Browser.
func (c camera) Shot(ctx context.Context) ([]byte, error) {
	png, err := c.Browser.Shot(ctx)
	if err != nil {
		c.failed(err)
	}
	return png, err
}

// keepShot keeps a picture of the page that a step failed on.
func (p *provisioning) keepShot(e recipe.Event, png []byte) {
	name := filepath.Join(p.shots, fmt.Sprintf("%s-%s-%s.png", time.Now().Format("20060102-150405.000"), e.Stage, e.Step))
	// Never through a link that somebody else has put there.
	err := os.MkdirAll(p.shots, 0o700)
	if err == nil {
		err = durable.CreateFile(name, png)
	}
	if err != nil {
		p.noShot(err)
		return
	}
	p.shot = true
	fmt.Fprintf(p.a.stderr, "  picture         %s\n", name)
}

// noShot says why there is no picture.
func (p *provisioning) noShot(err error) {
	p.shot = true
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("the browser did not give one in time")
	}
	fmt.Fprintf(p.a.stderr, "  no picture      %s\n", printable(err.Error()))
}

// shotless says so where a run ended badly and no picture was even tried.
func (p *provisioning) shotless() {
	if p.shots != "" && !p.shot {
		fmt.Fprintln(p.a.stderr, "  no picture      it was no page that stopped the run")
	}
	p.shot = false
}
