package signup_test

import (
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// TestLinkOvertaken: while what the mail's link leads to is on its way, the page
// that is still there learns that its owner has signed in, and would go on by
// itself. The link counts once: were it opened again, the run would be lost.
func TestLinkOvertaken(t *testing.T) {
	t.Parallel()
	w := start(t, sites.Options{Service: "openrouter"})
	// The page asks once a second.
	home := w.site.Hold("GET /", false)
	go func() {
		<-home.Arrived()
		time.Sleep(2500 * time.Millisecond)
		home.Release()
	}()
	if o := w.provision(); o.code != 0 {
		t.Fatal(o)
	}
	w.settled("the link was overtaken")
}
