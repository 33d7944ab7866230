package book

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable"
)

// files keeps each thing as one JSON file, replaced atomically:
//
//	agents/<label>.json
//	grants/<label>@<service>.json
//	tokens/<first 32 digits of the digest>.json
type files struct{ dir string }

type kind string

const (
	kindAgent kind = "agents"
	kindGrant kind = "grants"
	kindToken kind = "tokens"
)

func grantName(a agentkeys.Agent, s agentkeys.Service) string { return a.String() + "@" + s.String() }

func (f files) path(k kind, name string) string {
	return filepath.Join(f.dir, string(k), name+".json")
}

var kinds = []kind{kindAgent, kindGrant, kindToken}

func (f files) prepare() error {
	for _, k := range kinds {
		if err := durable.MkdirAll(filepath.Join(f.dir, string(k))); err != nil {
			return err
		}
	}
	return nil
}

func (f files) sweep() error {
	for _, k := range kinds {
		if err := durable.Sweep(filepath.Join(f.dir, string(k))); err != nil {
			return err
		}
	}
	return nil
}

// put writes v in place of old, which is nil where there is nothing. If it
// fails, old is there again as well as can be: a write that was made and not
// made durable must not come into force with the next start.
func (f files) put(k kind, name string, v, old any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	path := f.path(k, name)
	if err = durable.WriteFile(path, data); err == nil {
		return nil
	}
	if uerr := f.restore(path, old); uerr != nil {
		return fmt.Errorf("%w; and it could not be taken back, so it may be in force after a restart: %w", err, uerr)
	}
	return err
}

func (f files) restore(path string, old any) error {
	if old == nil {
		return ignoreAbsent(durable.Remove(path))
	}
	data, err := encode(old)
	if err != nil {
		return err
	}
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, data) {
		return nil // a full disk would not take it a second time
	}
	return durable.WriteFile(path, data)
}

// remove removes a file; one that is gone already, from a removal that was
// interrupted, is as good.
func (f files) remove(k kind, name string) error {
	return ignoreAbsent(durable.Remove(f.path(k, name)))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// load calls add with every file of a kind.
func load[T any](f files, k kind, add func(name string, v *T) error) error {
	dir := filepath.Join(f.dir, string(k))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isJSON := strings.CutSuffix(e.Name(), ".json")
		if !isJSON || e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		v := new(T)
		if err = decode(data, v); err == nil {
			err = add(name, v)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
		}
	}
	return nil
}

func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}
