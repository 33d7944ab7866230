// Package retryafter reads how long a server wants not to be asked.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Parse reads a Retry-After header (RFC 9110 section 10.2.3): seconds or a date.
// It is at most most, and 0 where text says nothing.
func Parse(text string, most time.Duration) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, most)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(time.Until(at), 0), most)
}
