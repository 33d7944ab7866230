package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// listSegments returns the first indexes of the segments in dir, in order.
// Names that are not of a segment are let be.
func listSegments(dir string) ([]int64, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, d := range names {
		if n, err := strconv.ParseInt(d.Name(), 10, 64); err == nil && n >= 0 && d.Name() == segmentName(n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// journalState is what a journal was found to hold.
type journalState struct {
	first, end int64 // of its entries
	torn       bool  // it ends in a write that was cut short
}

// readJournal calls fn for every entry of the journal in dir, in order. An
// entry that was durable and is damaged or gone is a *CorruptError; a journal
// that is not there at all is fs.ErrNotExist. signed is how many entries the
// checkpoint covers. One segment at a time is in memory.
func readJournal(dir string, signed int64, fn func(index int64, entry []byte) error) (st journalState, err error) {
	segments, err := listSegments(dir)
	if err != nil {
		return st, err
	}
	if len(segments) == 0 {
		return st, corrupt(Missing, signed, "the journal is empty, and any entry from this one on is gone")
	}
	st.first, st.end = segments[0], segments[0]
	for i, first := range segments {
		limit := int64(1<<63 - 1)
		if i+1 < len(segments) {
			limit = segments[i+1]
		}
		if first > st.end {
			return st, corrupt(BadFrame, st.end, "the journal goes on at entry %d", first)
		}
		data, err := os.ReadFile(filepath.Join(dir, segmentName(first)))
		if err != nil {
			return st, err
		}
		s, err := scanJournal(data)
		if err == nil && s.first != first {
			err = errHeader
		}
		if err != nil {
			return st, corrupt(BadFrame, first, "%v", err)
		}
		if s.bad >= 0 && s.bad < limit {
			return st, corrupt(BadFrame, s.bad, "its frame in the journal is damaged or gone")
		}
		for _, e := range s.entries[:min(int64(len(s.entries)), limit-first)] {
			if err := fn(st.end, e); err != nil {
				return st, err
			}
			st.end++
		}
		st.torn = s.torn
	}
	return st, nil
}
