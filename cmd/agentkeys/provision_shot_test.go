package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// blind is a browser that takes no pictures.
type blind struct {
	provision.Browser
	err error
}

func (b blind) Shot(context.Context) ([]byte, error) { return nil, b.err }

// TestNoPicture: why there is none is said, whatever the reason.
func TestNoPicture(t *testing.T) {
	event := recipe.Event{Stage: recipe.StageKey, Step: "read"}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, shots string
		do          func(p *provisioning)
		want        string
	}{
		{"not taken", dir, func(p *provisioning) {
			_, _ = camera{blind{err: errors.New("the page shows\x1b[2J something")}, p.noShot}.Shot(t.Context())
		}, "no picture      the page shows"},
		{"not in time", dir, func(p *provisioning) {
			_, _ = camera{blind{err: fmt.Errorf("cdp: %w", context.DeadlineExceeded)}, p.noShot}.Shot(t.Context())
		}, "no picture      the browser did not give one in time\n"},
		{"not written", file, func(p *provisioning) { p.keepShot(event, []byte("png")) }, "no picture      mkdir "},
		{"no page", dir, func(*provisioning) {}, "no picture      it was no page that stopped the run\n"},
		{"kept", dir, func(p *provisioning) { p.keepShot(event, []byte("png")) }, "  picture         " + dir},
		{"not asked for", "", func(*provisioning) {}, ""},
	} {
		var stderr bytes.Buffer
		p := &provisioning{a: &app{stderr: &stderr}, shots: c.shots}
		c.do(p)
		p.shotless()
		if got := stderr.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") > 1 || strings.Contains(got, "\x1b") || c.want == "" && got != "" {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
