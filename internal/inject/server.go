package inject

import (
	"io"
	"log"
	"net/http"
	"time"
)

// NewServer makes the HTTP server for a Proxy, or for anything else that
// agents connect to: HTTP/1.1 only, with bounds on how large and how slow
// headers may be and how long a connection may be idle. The time for bodies is
// the Proxy's business, since streams have none.
func NewServer(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		// For answers that the Proxy need not extend it for.
		WriteTimeout:                 time.Minute,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		// net/http logs what agents send malformed, and panics with their values.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}
