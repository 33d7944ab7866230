// Package sdk builds and runs clients of the official, unmodified SDKs, for
// end-to-end tests. The clients know nothing of this project: each takes a base
// URL and a key from the environment, as its user would give them. Only tests
// import it.
//
// The Go clients are a module of their own, so that the main one does not
// depend on the SDKs; the JavaScript ones are installed from a lock file. Both
// need their package registry the first time, and caches afterwards.
package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Client is one client program.
type Client struct {
	Name string // "go/openai", "js/anthropic", …
	API  string // "openai" or "anthropic"
	Argv []string
}

// KeyVar and BaseVar are the variables that configure a client, beside
// SDK_DUMP, which names the file that it writes all it received to.
func (c Client) KeyVar() string  { return strings.ToUpper(c.API) + "_API_KEY" }
func (c Client) BaseVar() string { return strings.ToUpper(c.API) + "_BASE_URL" }

// BasePath is what a base URL has after the origin of the live service:
// OpenAI's SDKs leave /v1 to the base URL, Anthropic's add it.
func (c Client) BasePath() string {
	if c.API == "openai" {
		return "/v1"
	}
	return ""
}

// Env is the client's whole environment for a key, which may be a placeholder,
// and a base URL. caFile may be empty.
func (c Client) Env(key, baseURL, dumpFile, home, caFile string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SDK_DUMP=" + dumpFile,
		c.KeyVar() + "=" + key, c.BaseVar() + "=" + baseURL,
	}
	if caFile != "" {
		env = append(env, "SSL_CERT_FILE="+caFile, "NODE_EXTRA_CA_CERTS="+caFile)
	}
	return env
}

// Step is one line of a client's output.
type Step struct {
	Client string `json:"client"`
	Step   string `json:"step"`
	Event  int    `json:"event"` // of a stream, from 1; the step's last line has none
	OK     bool   `json:"ok"`
	Status int    `json:"status"`
	Prompt string `json:"prompt"`
	Text   string `json:"text"`
	Error  string `json:"error"`
}

// ParseSteps reads a client's output.
func ParseSteps(output []byte) ([]Step, error) {
	var steps []Step
	for line := range bytes.Lines(output) {
		var s Step
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(steps)+1, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}
