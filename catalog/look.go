package catalog

import (
	"strings"

	"github.com/litentry/agentkeys"
)

// LooksLikeKey reports whether text is, by its shape, a key of any service of
// the catalogue, of a kind that is stored or of one that is refused. It is for
// environment variables: a false alarm there hides a value from an agent, a
// miss gives it a key.
func LooksLikeKey(text string) bool {
	const shortest = 16 // of any pattern; most variables are shorter
	if len(text) < shortest || len(text) > maxKey || strings.ContainsAny(text, " /:=\n\t") || strings.Contains(text, marker) {
		return false
	}
	return lookalike(agentkeys.Service{}, []byte(text)) != nil
}
