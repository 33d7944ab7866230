package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A frame is one entry in the journal. Numbers are big-endian.
//
//	offset  bytes  field
//	0       4      CRC-32C of all that follows, to the end of the frame
//	4       8      index of the entry
//	12      8      known: how many entries were durable when this was written
//	20      2      length n of the entry, at least 2
//	22      n      the entry
//
// The known field tells a torn write from damage. Frames are written in
// batches, the next only after the last is durable, and a crash may leave any
// part of the last batch. So behind a bad frame there may be good ones of the
// same batch, which nobody was promised; but a good one that knew the bad one
// to be durable proves that a promise is broken.
//
// The search for such a frame tries every offset. It cannot take a piece of
// an entry for a frame: the top bytes of an index are zero, and JSON holds no
// zero byte.
const frameHeader = 22

// journalHeader opens a segment of the journal. A segment gets its name only
// when its header and all entries below known are durable.
//
//	offset  bytes  field
//	0       8      "AKJRNL" 0x00 0x01, the last byte is the version
//	8       8      index of the first entry
//	16      8      known: how many entries were durable at the start
//	24      4      CRC-32C of bytes 0 to 23
//	28      4      zero
type journalHeader struct{ first, known int64 }

const (
	journalHeaderSize = 32
	journalMagic      = "AKJRNL\x00\x01"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errHeader  = errors.New("the header of a journal segment is damaged")
)

func (h journalHeader) append(b []byte) []byte {
	start := len(b)
	b = append(b, journalMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.first))
	b = binary.BigEndian.AppendUint64(b, uint64(h.known))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, 0, 0, 0, 0)
}

func parseJournalHeader(b []byte) (h journalHeader, err error) {
	if len(b) < journalHeaderSize || string(b[:8]) != journalMagic ||
		crc32.Checksum(b[:24], castagnoli) != binary.BigEndian.Uint32(b[24:]) ||
		binary.BigEndian.Uint32(b[28:]) != 0 {
		return h, errHeader
	}
	h.first = int64(binary.BigEndian.Uint64(b[8:]))
	h.known = int64(binary.BigEndian.Uint64(b[16:]))
	if h.first < 0 || h.known < h.first {
		return h, errHeader
	}
	return h, nil
}

// appendFrame appends a frame that still lacks its CRC: whoever writes the
// batch seals it, off the lock.
func appendFrame(b []byte, index, known int64, entry []byte) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(index))
	b = binary.BigEndian.AppendUint64(b, uint64(known))
	b = binary.BigEndian.AppendUint16(b, uint16(len(entry)))
	return append(b, entry...)
}

// sealFrames fills in the CRC of every frame in b.
func sealFrames(b []byte) {
	for len(b) > 0 {
		n := frameHeader + int(binary.BigEndian.Uint16(b[20:]))
		binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:n], castagnoli))
		b = b[n:]
	}
}

// frameAt reads the frame that b begins with.
func frameAt(b []byte) (index, known int64, entry []byte, ok bool) {
	if len(b) < frameHeader {
		return 0, 0, nil, false
	}
	n := frameHeader + int(binary.BigEndian.Uint16(b[20:]))
	if n < frameHeader+2 || n > len(b) || crc32.Checksum(b[4:n], castagnoli) != binary.BigEndian.Uint32(b) {
		return 0, 0, nil, false
	}
	index = int64(binary.BigEndian.Uint64(b[4:]))
	known = int64(binary.BigEndian.Uint64(b[12:]))
	return index, known, b[frameHeader:n], index >= 0 && known >= 0 && known <= index
}

// scanned is what a segment holds.
type scanned struct {
	journalHeader
	entries [][]byte // entry first, first+1, …
	torn    bool     // it ends in a write that was cut short
	// bad is the index of a durable entry that is damaged or gone, -1 if there
	// is none. What follows it was not read.
	bad int64
}

func (s *scanned) end() int64 { return s.first + int64(len(s.entries)) }

// scanJournal reads a segment. Its only error is errHeader. The entries are
// parts of b.
func scanJournal(b []byte) (*scanned, error) {
	h, err := parseJournalHeader(b)
	if err != nil {
		return nil, err
	}
	s := &scanned{journalHeader: h, bad: -1}
	rest := b[journalHeaderSize:]
	for {
		index, _, entry, ok := frameAt(rest)
		if !ok || index != s.end() {
			break
		}
		s.entries = append(s.entries, entry)
		rest = rest[frameHeader+len(entry):]
	}
	if known, later := laterFrame(rest, s.end()); s.end() < max(h.known, known) {
		s.bad = s.end()
	} else {
		s.torn = later || len(rest) >= frameHeader && rest[20]|rest[21] != 0 &&
			binary.BigEndian.Uint64(rest[4:]) == uint64(s.end())
	}
	return s, nil
}

var zeros [4096]byte

// laterFrame looks for frames of entries after index. Frames of earlier
// entries are left-overs: a journal's space is used again. It returns the
// most that any of those found knew to be durable.
func laterFrame(b []byte, index int64) (known int64, found bool) {
	// No more entries can follow than there is room for. Without this bound
	// the checksum would be tried at many offsets of a journal used before.
	last := index + int64(len(b)/frameHeader)
	for i := 0; i+frameHeader <= len(b); i++ {
		rest := b[i+4:] // from the index on
		if rest[0] != 0 {
			continue
		}
		// Most of a journal was never written, and zero is the index of none.
		if len(rest) >= len(zeros) && bytes.Equal(rest[:len(zeros)], zeros[:]) {
			i += len(zeros) - 8
			continue
		}
		if n := int64(binary.BigEndian.Uint64(rest)); n <= index || n > last {
			continue
		}
		if _, k, _, ok := frameAt(b[i:]); ok {
			known, found = max(known, k), true
		}
	}
	return known, found
}
