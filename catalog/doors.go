package catalog

import "net/url"

// Federation is how a token of our issuer is exchanged at the service for a
// short-lived one: no key exists.
type Federation struct {
	// Shape names the request and the answer, which package federate knows.
	Shape string
	URL   *url.URL // of the token endpoint
	// Audience is what our token has to be for. Unknown: as it was set up at the
	// service.
	Audience   Fact[string]
	Parameters []Parameter
	// Inject and Headers stand in place of Entry's while tokens are exchanged.
	Inject  []Placement
	Headers []ConstHeader
	Setup   []string // what its owner does at the service once, a line each
	Grade   Grade
	Note    string
}

// Minting is how a management key makes keys.
type Minting struct {
	// Shape names the requests and answers, which package mint knows.
	Shape      string
	URL        *url.URL // of the management API, without a trailing slash
	Parameters []Parameter
	Setup      []string // where a management key comes from, a line each
	Grade      Grade
	Note       string
}

// Parameter is an id that the service gives to whoever sets a door up. It is no
// secret.
type Parameter struct {
	Name     string // as the request has it
	Prefix   string // what its values begin with, "" if that is not known
	Required bool
	What     string // one line
}
