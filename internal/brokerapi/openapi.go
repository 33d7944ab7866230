package brokerapi

import (
	_ "embed"
	"slices"
)

// openapi.json is openapi.yaml in JSON; a test makes it, with -update, and
// holds the two together. So no program reads YAML to serve it.
//
//go:embed openapi.json
var openAPI []byte

// OpenAPI is the OpenAPI 3.1 document of the API, in JSON.
func OpenAPI() []byte { return slices.Clone(openAPI) }
