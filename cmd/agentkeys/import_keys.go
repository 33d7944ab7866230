package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/keyfile"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// What becomes of a key that was found.
const (
	keyFound     = "found"     // and nothing was done with it
	keyStored    = "stored"    //
	keySame      = "same"      // it is what is stored already
	keyAmbiguous = "ambiguous" // nobody said whose key it is
	keyRefused   = "refused"   // it manages an account, or has not the form of a key
	keyFailed    = "failed"    // it was not stored
	keySkipped   = "skipped"   // it is nothing that is known, or was declined
	keyUnknown   = "unknown"   // a secret, but of no known service
)

// foundKey is a value that was found somewhere. The value itself is never
// shown, nor any part of it that not all keys of its service have.
type foundKey struct {
	File     string            `json:"file"`
	Line     int               `json:"line,omitempty"`
	Name     string            `json:"name,omitempty"`
	Service  agentkeys.Service `json:"service,omitzero"`
	Looks    string            `json:"looks,omitempty"`
	State    string            `json:"state"`
	Detail   string            `json:"detail,omitempty"`
	Revision uint64            `json:"revision,omitempty"`

	value secret.Value
	among []agentkeys.Service
	kept  bool
	err   error
}

func (k *foundKey) where() string {
	if k.Line == 0 {
		return k.File
	}
	return fmt.Sprintf("%s:%d", k.File, k.Line)
}

// safe says that the key is in the vault.
func (k *foundKey) safe() bool { return k.State == keyStored || k.State == keySame }

// open says that it is to be stored.
func (k *foundKey) open() bool { return k.State == keyFound }

// isKey says that it is known for a key, whatever became of it.
func (k *foundKey) isKey() bool { return k.State != keySkipped && k.State != keyUnknown }

// known are the services that keys are looked for of.
type knownServices struct {
	entries []*catalog.Entry
	match   *keyfile.Matcher
}

func (a *app) knownServices() (knownServices, error) {
	p, err := a.paths()
	if err != nil {
		return knownServices{}, err
	}
	all, err := local.ReadEntries(p)
	if err != nil {
		return knownServices{}, explain(err)
	}
	m, err := keyfile.NewMatcher(all)
	return knownServices{all, m}, err
}

func (ks knownServices) entry(id agentkeys.Service) *catalog.Entry {
	for _, e := range ks.entries {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// judge says what an item is taken for.
func (ks knownServices) judge(file string, it keyfile.Item) *foundKey {
	k := &foundKey{File: file, Line: it.Line, Name: it.Name, value: it.Value, kept: it.Kept}
	m := ks.match.Match(it)
	k.Service, k.Detail = m.Service, m.Why
	switch m.Kind {
	case keyfile.Key:
		k.State = keyFound
	case keyfile.Ambiguous:
		k.State, k.among = keyAmbiguous, m.Among
		k.Detail = fmt.Sprintf("%s: %s", m.Why, join(m.Among, ", "))
	case keyfile.Management:
		k.State = keyRefused
		k.Detail += " It is not lent, so it is not stored as a key."
		k.err = failWith(exitRefused, control.CodeBadKey, errors.New(k.Detail), "import an ordinary key; 'agentkeys store --help' says what else is kept")
	default:
		k.State = keySkipped
		return k
	}
	k.Looks = keyfile.Mask(ks.entry(k.Service), it.Value.Expose())
	return k
}

// choose makes a key one of a service that a person named.
func (ks knownServices) choose(k *foundKey, id agentkeys.Service) {
	e := ks.entry(id)
	k.Service, k.Looks = id, keyfile.Mask(e, k.value.Expose())
	k.State, k.Detail, k.err = keyFound, "as you said", nil
	if err := e.CheckKey(k.value.Expose()); err != nil {
		k.State, k.Detail = keyRefused, err.Error()
		k.err = failWith(exitRefused, control.CodeBadKey, err, "if it is one all the same, store it with 'agentkeys store SERVICE --any-form'")
	}
}

// once leaves one key of each service open: the same again is the first one's
// affair, and of different ones nobody knows which counts.
func once(keys []*foundKey) (twins map[*foundKey]*foundKey) {
	twins = map[*foundKey]*foundKey{}
	first := map[agentkeys.Service]*foundKey{}
	several := map[agentkeys.Service]bool{}
	for _, k := range keys {
		switch f := first[k.Service]; {
		case !k.open():
		case f == nil:
			first[k.Service] = k
		case f.value.Equal(k.value):
			twins[k] = f
		default:
			several[k.Service] = true
		}
	}
	for _, k := range keys {
		if k.open() && several[k.Service] {
			delete(twins, k)
			k.State, k.among = keyAmbiguous, []agentkeys.Service{k.Service}
			k.Detail = fmt.Sprintf("there are several keys of %s, and one is kept", k.Service)
		}
	}
	return twins
}

// storing is how keys that were found are stored.
type storing struct {
	client   *control.Client
	yes      bool // ask nothing
	force    bool // in place of another key
	noVerify bool
}

// settle asks whose the ambiguous ones are; without a person they stay what
// they are.
func (a *app) settle(ctx context.Context, ks knownServices, keys []*foundKey, s storing) error {
	for _, k := range keys {
		if k.State != keyAmbiguous || s.yes || !a.onTerminal() {
			continue
		}
		answer, err := a.line(ctx, fmt.Sprintf("%s %s (%s): %s, or none? ", printable(k.where()), printable(k.Name), k.Looks, join(k.among, ", ")))
		if err != nil {
			return err
		}
		id, err := agentkeys.ParseService(answer)
		if err != nil || ks.entry(id) == nil || answer == "none" {
			k.State, k.Detail = keySkipped, "declined"
			continue
		}
		ks.choose(k, id)
		for _, o := range keys {
			if o != k && o.State == keyAmbiguous && o.Service == id && len(o.among) == 1 && !o.value.Equal(k.value) {
				o.State, o.Detail = keySkipped, "another key was chosen"
			}
		}
	}
	return nil
}

// store stores one key. What goes wrong is in k.
func (a *app) storeFound(ctx context.Context, k *foundKey, s storing) error {
	same, err := s.client.Same(ctx, k.Service, k.value)
	if err == nil && same.Same {
		k.State, k.Detail = keySame, "it is stored already"
		return nil
	}
	if err == nil && same.Stored && !s.force {
		if s.yes || !a.onTerminal() {
			err = failWith(exitConflict, control.CodeConflict, fmt.Errorf("another key of %s is stored", k.Service), "add --force to store this one in its place")
		} else {
			typed, lerr := a.line(ctx, fmt.Sprintf("%s: another key is stored. Type yes to store this one in its place: ", k.Service))
			if lerr != nil {
				return lerr
			}
			if typed != "yes" {
				k.State, k.Detail = keySkipped, "declined: another key is stored"
				return nil
			}
		}
	}
	var res local.StoreResult
	if err == nil {
		res, err = s.client.Store(ctx, k.Service, k.value, local.StoreOptions{NoVerify: s.noVerify})
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		k.State, k.Detail, k.err = keyFailed, err.Error(), err
		return nil
	}
	k.State, k.Revision = keyStored, res.Revision
	switch res.Verdict {
	case catalog.Good:
		k.Detail = "the service says it is good"
	case catalog.Limited:
		k.Detail = "it is good, but: " + res.Detail
	default:
		k.Detail = "NOT verified: " + res.Detail
	}
	return nil
}

// storeAll stores what is open, one by one, and goes on after a failure.
func (a *app) storeAll(ctx context.Context, keys []*foundKey, s storing) error {
	twins := once(keys)
	for _, k := range keys {
		if !k.open() || twins[k] != nil {
			continue
		}
		if err := a.storeFound(ctx, k, s); err != nil {
			return err
		}
	}
	for k, f := range twins {
		k.State, k.Detail, k.Revision, k.err = f.State, f.Detail, f.Revision, f.err
	}
	return nil
}

// outcome is the failure of the first key that was not stored.
func outcome(keys []*foundKey) error {
	var first *foundKey
	bad, all := 0, 0
	for _, k := range keys {
		if !k.isKey() {
			continue
		}
		all++
		if k.safe() || k.State == keyFound {
			continue
		}
		bad++
		if first == nil {
			first = k
		}
	}
	if first == nil {
		return nil
	}
	err := first.err
	if first.State == keyAmbiguous {
		err = failWith(exitUsage, "usage", errors.New(first.Detail), "say which with --service NAME=SERVICE, and NAME=none for those to leave")
	}
	p := classify(err)
	what := strings.TrimSuffix(p.Error(), ".")
	return &problem{
		err: fmt.Errorf("%d of %d keys were not stored; the first is %s, %s: %s", bad, all, first.Name, first.where(), what),
		fix: p.fix, code: p.code, exit: p.exit,
	}
}
