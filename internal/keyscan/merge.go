package keyscan

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/litentry/agentkeys/internal/secret"
)

// Claim says whose key a value is, by its form alone.
func (r *Rules) Claim(f *Finding) {
	for _, s := range r.shapes {
		m := s.re.FindIndex(f.Secret.Expose())
		if m != nil && m[0] == 0 && m[1] == f.Secret.Len() {
			f.Service, f.Manages = s.entry.ID, s.manages
			return
		}
	}
}

// Merge joins what several rules found: a key that stands in one place is one
// finding, the one that knows whose it is. Findings of one list are never
// joined. It puts them in order, and clears what it drops.
func Merge(lists ...[]Finding) []Finding {
	type place struct {
		file, commit string
		line         int
	}
	at := map[place][]int{} // what stands there already
	var out []Finding
	var origin []int // which list gave it last
	for n, list := range lists {
		for _, f := range list {
			p := place{f.File, f.Commit, f.Line}
			same := slices.IndexFunc(at[p], func(i int) bool { return origin[i] != n && overlap(out[i].Secret, f.Secret) })
			if same < 0 {
				at[p] = append(at[p], len(out))
				out, origin = append(out, f), append(origin, n)
				continue
			}
			i := at[p][same]
			origin[i] = n
			if out[i].Service.IsZero() && !f.Service.IsZero() {
				f, out[i] = out[i], f
			}
			f.Secret.Clear()
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Commit, b.Commit), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Offset, b.Offset))
	})
	return out
}

// overlap holds for one key, of which a rule may take more than another.
func overlap(a, b secret.Value) bool {
	return bytes.Contains(a.Expose(), b.Expose()) || bytes.Contains(b.Expose(), a.Expose())
}
