package s3blob

import (
	"net/http"
	"testing"
)

// TestNoProxy: the environment's would see the session's token. Go never uses
// one for a loopback address, so a request cannot show it.
func TestNoProxy(t *testing.T) {
	if client().Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy may come from the environment")
	}
}
