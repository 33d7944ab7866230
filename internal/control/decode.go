package control

import (
	"errors"
	"io"
	"net/http"

	"github.com/litentry/agentkeys/internal/strictjson"
)

// decode reads a JSON body, strictly, so that nobody on the way reads another
// request than this one. The names of models and of ids are the caller's own.
func decode(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = strictjson.Unmarshal(data, v, "prices", "parameters")
	}
	if err != nil {
		return errors.Join(ErrRequest, err)
	}
	return nil
}
