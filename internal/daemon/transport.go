package daemon

import (
	"net/http"

	"github.com/litentry/agentkeys/catalog"
)

// Transport returns how a service is reached, under the settings of its owner:
// for requests of our own, which take no route. It guards what is dialled as a
// route does.
func Transport(e *catalog.Entry) (http.RoundTripper, error) {
	r, err := compile(e)
	if err != nil {
		return nil, err
	}
	return r.Transport, nil
}
