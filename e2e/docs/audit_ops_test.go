package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestOperations: every operation that the program records has its row, and
// every row is recorded, whatever its first word.
func TestOperations(t *testing.T) {
	want := map[string]bool{}
	sources(t, func(_, text string) {
		for _, m := range regexp.MustCompile(`"((?:agent|broker|credential|daemon|device|drawer|grant|key|provision|service|session|terms|token)\.[a-z]+)"`).FindAllStringSubmatch(text, -1) {
			want[m[1]] = true
		}
		// One with another first word is one all the same.
		for _, m := range regexp.MustCompile(`\bOp(?:[A-Z]\w*)? *[:=] *"([a-z]+\.[a-z]+)"`).FindAllStringSubmatch(text, -1) {
			want[m[1]] = true
		}
	})
	doc := section(t, read(t, "docs", "reference", "audit-entries.md"), "Operations")
	doc, _, _ = strings.Cut(doc, "What goes with an operation:") // the second table names them again
	have := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(doc, -1) {
		for _, m := range regexp.MustCompile("`([a-z]+\\.[a-z]+)`").FindAllStringSubmatch(row[1], -1) {
			have[m[1]] = true
		}
	}
	for _, file := range []string{"broker.json", "daemon.log", "broker.principal", "broker.yaml", "signer.yaml", "terms.json"} {
		delete(want, file) // names of files and settings
	}
	if len(want) < 30 {
		t.Errorf("only %d operations were found", len(want))
	}
	compareNames(t, "audit-entries.md", have, want)
}
