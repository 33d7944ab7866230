package broker

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

func (f files) prepare() error {
	for _, k := range []kind{kindAgent, kindGrant, kindToken} {
		dir := filepath.Join(f.dir, string(k))
		if err := durable.MkdirAll(dir); err != nil {
			return err
		}
		if err := durable.Sweep(dir); err != nil {
			return err
		}
	}
	return nil
}

func (f files) put(k kind, name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(f.path(k, name), append(data, '\n'))
}

// remove removes a file; one that is gone already, from a removal that was
// interrupted, is as good.
func (f files) remove(k kind, name string) error {
	if err := durable.Remove(f.path(k, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
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
