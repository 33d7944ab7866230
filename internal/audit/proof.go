package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Inclusion claims that an entry is in a log. Nothing can be read from it
// before Verify. Its text is that of c2sp.org/tlog-proof, with the entry as
// the extra data, so that it needs no other file:
//
//	c2sp.org/tlog-proof@v1
//	extra <entry, base64>
//	index 73894
//	<hash, base64>          from the leaf's sibling up, 32 bytes each
//	…
//	                        empty line
//	<checkpoint>
type Inclusion struct {
	index  int64
	entry  []byte
	hashes tlog.RecordProof
	signed []byte
}

const proofMagic = "c2sp.org/tlog-proof@v1\n"

// Inclusion proves that entry index is in the log, at the Reader's checkpoint.
func (r *Reader) Inclusion(index int64) (Inclusion, error) {
	if index < 0 || index >= r.head.Size {
		return Inclusion{}, fmt.Errorf("%w: %d, the log has %d entries", ErrRange, index, r.head.Size)
	}
	hashes, err := tlog.ProveRecord(r.head.Size, index, r.hashes())
	if err != nil {
		return Inclusion{}, err
	}
	p := Inclusion{index: index, hashes: hashes, signed: r.head.Signed}
	err = replay(index, index+1, r.bundle, func(e Entry) error {
		p.entry = bytes.Clone(e.Raw)
		return nil
	})
	if err != nil {
		return Inclusion{}, err
	}
	// The tiles were read as they stand; this is what checks them.
	if err := p.check(r.head); err != nil {
		return Inclusion{}, corrupt(BadTile, index, "the tiles do not prove it: %v", err)
	}
	return p, nil
}

func (p Inclusion) check(at Checkpoint) error {
	return tlog.CheckRecord(p.hashes, at.Size, at.Root, p.index, leafHash(p.entry))
}

// Verify returns the entry, and the checkpoint by v that covers it.
func (p Inclusion) Verify(v note.Verifier) (Entry, Checkpoint, error) {
	at, err := ParseCheckpoint(p.signed, v)
	if err != nil {
		return Entry{}, Checkpoint{}, err
	}
	e, err := p.VerifyAt(at)
	return e, at, err
}

// VerifyAt returns the entry if a checkpoint covers it that the caller trusts
// already, such as an anchored size and root.
func (p Inclusion) VerifyAt(at Checkpoint) (Entry, error) {
	if err := p.check(at); err != nil {
		return Entry{}, fmt.Errorf("%w: %v", ErrProof, err)
	}
	e, err := decode(p.index, p.entry)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %v", ErrProof, err)
	}
	return e, nil
}

// Text returns the text form.
func (p Inclusion) Text() []byte {
	b := fmt.Appendf(nil, "%sextra %s\nindex %d\n", proofMagic, base64.StdEncoding.EncodeToString(p.entry), p.index)
	for _, h := range p.hashes {
		b = fmt.Appendf(b, "%s\n", h)
	}
	return append(append(b, '\n'), p.signed...)
}

// ParseInclusion parses the text form.
func ParseInclusion(text []byte) (Inclusion, error) {
	p, err := parseInclusion(string(text))
	if err != nil {
		return Inclusion{}, fmt.Errorf("%w: %v", ErrProof, err)
	}
	return p, nil
}

func parseInclusion(text string) (p Inclusion, err error) {
	text, ok := strings.CutPrefix(text, proofMagic)
	proof, signed, cut := strings.Cut(text, "\n\n")
	if !ok || !cut {
		return p, errors.New("not a " + strings.TrimSpace(proofMagic))
	}
	lines := strings.Split(proof, "\n")
	if len(lines) < 2 || len(lines) > 2+64 {
		return p, errors.New("malformed")
	}
	strict := base64.StdEncoding.Strict()
	extra, ok := strings.CutPrefix(lines[0], "extra ")
	if !ok || strings.ContainsAny(extra, "\r") {
		return p, errors.New("there is no entry in it")
	}
	if p.entry, err = strict.DecodeString(extra); err != nil || len(p.entry) > MaxEntry {
		return p, errors.New("malformed entry")
	}
	index, ok := strings.CutPrefix(lines[1], "index ")
	if p.index, err = strconv.ParseInt(index, 10, 64); !ok || err != nil || p.index < 0 || strconv.FormatInt(p.index, 10) != index {
		return p, errors.New("malformed index")
	}
	for _, line := range lines[2:] {
		h, err := strict.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || strings.ContainsAny(line, "\r") {
			return p, errors.New("malformed hash")
		}
		p.hashes = append(p.hashes, tlog.Hash(h))
	}
	p.signed = []byte(signed)
	return p, nil
}

// Consistency proves that the log at the Reader's checkpoint begins with all
// the entries it had at old.
func (r *Reader) Consistency(old Checkpoint) (tlog.TreeProof, error) {
	if old.Size > r.head.Size {
		return nil, corrupt(Rollback, r.head.Size, "the log ends here, and a checkpoint of %d entries was signed", old.Size)
	}
	if old.Size == 0 {
		return tlog.TreeProof{}, nil
	}
	p, err := tlog.ProveTree(r.head.Size, old.Size, r.hashes())
	if err != nil {
		return nil, err
	}
	if err := r.head.Extends(old, p); err != nil {
		return nil, corrupt(Fork, 0, "a checkpoint of %d entries was signed for another past", old.Size).among(old.Size)
	}
	return p, nil
}

// Extends checks a proof that c's log begins with all that old's had.
func (c Checkpoint) Extends(old Checkpoint, p tlog.TreeProof) error {
	if old.Origin != c.Origin {
		return fmt.Errorf("%w: the checkpoints are of different logs", ErrProof)
	}
	if old.Size == 0 {
		// Any log extends the empty one; CheckTree does not take it.
		if empty, _ := tlog.TreeHash(0, nil); len(p) != 0 || old.Root != empty {
			return ErrProof
		}
		return nil
	}
	if err := tlog.CheckTree(p, c.Size, c.Root, old.Size, old.Root); err != nil {
		return fmt.Errorf("%w: %v", ErrProof, err)
	}
	return nil
}
