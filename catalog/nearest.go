package catalog

import (
	"strings"

	"github.com/litentry/agentkeys"
)

// Nearest returns the service whose id or alias is closest to what a person
// typed: an alias itself, or a word with a third of its letters wrong at most.
// It reads the whole catalogue.
func Nearest(typed string) (agentkeys.Service, bool) {
	typed = strings.ToLower(strings.TrimSpace(typed))
	if len(typed) < 2 || len(typed) > 32 { // no service has a longer name, most keys do
		return agentkeys.Service{}, false
	}
	all, err := All()
	if err != nil {
		return agentkeys.Service{}, false
	}
	var best agentkeys.Service
	least := max(1, len(typed)/3) + 1
	for _, e := range all {
		if d := distance(typed, e.ID.String()); d < least {
			best, least = e.ID, d
		}
		for _, a := range e.Aliases {
			// A short alias such as hf is near to everything, so it must be met.
			if d := distance(typed, a); d < least && (d == 0 || len(a) > 3) {
				best, least = e.ID, d
			}
		}
	}
	return best, !best.IsZero()
}

// distance counts the letters to insert, delete, replace, or swap with their
// neighbour, to make b of a.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
