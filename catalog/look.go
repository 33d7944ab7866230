package catalog

import (
	"strings"

	"github.com/litentry/agentkeys"
)

// LooksLikeKey reports whether text is, or has in it, by its shape a key of any
// service of the catalogue, of a kind that is stored or of one that is refused.
// It is for environment variables: a false alarm there hides a value from an
// agent, a miss gives it a key.
func LooksLikeKey(text string) bool {
	const shortest = 16 // of any pattern; most variables are shorter
	if len(text) < shortest {
		return false
	}
	// A key may stand in a header, a URL or a list.
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"'=:,;/?&@<>()[]{}`, r) }) {
		if len(part) >= shortest && len(part) <= maxKey && !strings.Contains(part, marker) &&
			lookalike(agentkeys.Service{}, []byte(part)) != nil {
			return true
		}
	}
	return false
}
