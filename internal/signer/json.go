package signer

import (
	"bytes"
	"encoding/json"

	"github.com/litentry/agentkeys/internal/secret"
)

// fileJSON is what the roots file holds, inside its encryption (age v1, one
// scrypt recipient), as Go's encoding/json writes it without indentation:
//
//	version   1
//	account   the account id
//	identity  32 bytes, standard base64
//	sealing   epoch, decimal, from 1 → 32 bytes, standard base64; at least one
//
// A reader accepts nothing but that one encoding, so that duplicate, unknown
// or differently cased members cannot mean two things.
type fileJSON struct {
	Version  int               `json:"version"`
	Account  string            `json:"account"`
	Identity []byte            `json:"identity"`
	Sealing  map[uint32][]byte `json:"sealing"`
}

func formatRoots(r Roots) ([]byte, error) {
	f := fileJSON{1, r.box.account.String(), r.box.identity.Expose(), map[uint32][]byte{}}
	for e, v := range r.box.sealing {
		f.Sealing[e] = v.Expose()
	}
	return json.Marshal(f)
}

// parseRoots fails with ErrCorrupt alone: encoding/json quotes its input.
func parseRoots(b []byte) (Roots, error) {
	var f fileJSON
	err := json.Unmarshal(b, &f)
	// The Values own the decoded bytes from here, so Clear reaches them all.
	box := &rootBox{identity: secret.New(f.Identity), sealing: map[uint32]secret.Value{}}
	valid := err == nil && f.Version == 1 && filled(f.Identity) && len(f.Sealing) > 0
	for e, v := range f.Sealing {
		box.sealing[e] = secret.New(v)
		box.epoch = max(box.epoch, e)
		valid = valid && e > 0 && filled(v)
	}
	box.account, err = ParseAccountID(f.Account)
	r := Roots{box: box}
	if !valid || err != nil || !r.formatsTo(b) {
		r.Clear()
		return Roots{}, ErrCorrupt
	}
	return r, nil
}

// filled refuses all zeros: a buffer that nobody filled.
func filled(b []byte) bool {
	return len(b) == rootSize && !bytes.Equal(b, make([]byte, rootSize))
}

func (r Roots) formatsTo(b []byte) bool {
	again, err := formatRoots(r)
	defer clear(again)
	return err == nil && bytes.Equal(again, b)
}
