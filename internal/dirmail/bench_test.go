package dirmail

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// BenchmarkHandle shows the code's share in memory, and with the disk's.
func BenchmarkHandle(b *testing.B) {
	for name, dir := range map[string]string{"memory": memDir(b), "disk": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			d := openAt(b, filepath.Join(dir, "mail"))
			mailstoretest.BenchmarkHandle(b, d, func() {
				inbox := filepath.Join(d.root, inboxOf(wallet))
				entries, _ := os.ReadDir(inbox) // none at first
				for _, e := range entries {
					if err := os.Remove(filepath.Join(inbox, e.Name())); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
