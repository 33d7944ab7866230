package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// TestLinterReference holds the table of the linter's findings to what the
// linter knows: ids, severities, reasons and cures.
func TestLinterReference(t *testing.T) {
	const head = "\n| id | | why | instead |\n|---|---|---|---|\n"
	// What Markdown would read as its own.
	plain := strings.NewReplacer("|", `\|`, "*", `\*`, "<", `\<`, "$", `\$`).Replace
	var b strings.Builder
	for _, m := range cloudpolicy.Mistakes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.ID, m.Severity, plain(m.Why), plain(m.Fix))
	}
	have := read(t, "docs", "reference", "cloud-policies.md")
	before, table, _ := strings.Cut(have, head)
	if *update {
		text := strings.TrimRight(before, "\n") + "\n" + head + b.String()
		if err := os.WriteFile(filepath.Join(repo, "docs", "reference", "cloud-policies.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		table = b.String()
	}
	if table != b.String() {
		t.Error("docs/reference/cloud-policies.md is not what the linter says; run go test ./e2e/docs -run TestLinterReference -update")
	}
	if strings.Count(b.String(), "\n") < 30 {
		t.Error("the linter knows fewer than thirty mistakes")
	}
}
