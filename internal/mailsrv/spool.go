package mailsrv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// spoolAge is how old a message that is coming in can be: longer than any
// connection lasts.
const spoolAge = time.Hour

// sweepSpool removes messages that a killed server had begun to take. Younger
// ones may be those of another server with the same directory.
func sweepSpool(dir string, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".tmp-smtpin-") || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && now.Sub(fi.ModTime()) < spoolAge {
			continue
		}
		if err == nil {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
