package webserve

import (
	"context"
	"net/http"
	"time"
)

// Check is a part that must work for a service to be ready.
type Check struct {
	Name string
	Try  func(ctx context.Context) error
}

// Health answers that the process lives.
func Health(w http.ResponseWriter, _ *http.Request) {
	WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Ready tries every check and names those that fail, without the reasons,
// which are in the log: anybody may ask.
func Ready(o Options, checks ...Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, stop := context.WithTimeout(r.Context(), 2*time.Second)
		defer stop()
		missing := []string{}
		for _, c := range checks {
			if err := c.Try(ctx); err != nil {
				o.Log.Warn("not ready", "missing", c.Name, "err", err)
				missing = append(missing, c.Name)
			}
		}
		status, text := http.StatusOK, "ready"
		if len(missing) > 0 {
			status, text = http.StatusServiceUnavailable, "not ready"
		}
		WriteJSON(w, status, map[string]any{"status": text, "missing": missing})
	}
}
