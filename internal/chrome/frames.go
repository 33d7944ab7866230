package chrome

import (
	"net/url"
	"slices"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// frameURL is what a View says of a frame: nothing of its query but that it is a
// badge, which it is only where its size is said once.
func frameURL(raw string) string {
	out := bare(raw, false)
	u, err := url.Parse(raw)
	if err != nil || out == "" {
		return out
	}
	if badge, _ := url.ParseQuery(recipe.BadgeQuery); slices.Equal(u.Query()["size"], badge["size"]) {
		out += "?" + recipe.BadgeQuery
	}
	return out
}
