package testsrv

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

var openRouter = vendor{
	base: "/api/v1",
	routes: []route{
		{method: "GET", path: "/key", serve: routerKey},
		// The key list shows what a shut path would give away: the label of the
		// caller's key. Nothing is minted.
		{method: "GET", path: "/keys", serve: routerKeys},
		{method: "POST", path: "/keys", serve: routerMint},
		{method: "GET", path: "/models", open: true, serve: routerModels},
		{method: "POST", path: "/chat/completions", serve: chat(true)},
	},
	stamp: func(h http.Header, c *call) {
		id := sha256.Sum256(c.body)
		h.Set("X-Generation-Id", "gen-"+hex.EncodeToString(id[:12]))
	},
	failure: func(f *failure, _ *call) any {
		return object{"error": object{"code": f.status, "message": f.message}}
	},
	noKey: func(string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "No auth credentials found"}
	},
	wrongKey: func(string) *failure {
		return &failure{status: http.StatusUnauthorized, message: "User not found."}
	},
}

// Cost is what OpenRouter answers that a call cost, in US dollars: $1 a million
// input tokens, $4 a million output tokens.
func Cost(input, output int) float64 { return float64(input+4*output) / 1e6 }

func routerKey(_ *Server, c *call) (answer, error) {
	return answer{body: object{"data": with(routerKeyOf(c), object{
		"is_free_tier": false, "is_management_key": false, "rate_limit": object{"requests": -1, "interval": "10s"},
	})}}, nil
}

func routerKeyOf(c *call) object {
	return object{
		"label": mask(c.credential), "limit": 10, "limit_remaining": 9.5, "limit_reset": nil,
		"usage": 0.5, "usage_daily": 0.5, "usage_weekly": 0.5, "usage_monthly": 0.5, "expires_at": nil,
	}
}

func routerKeys(_ *Server, c *call) (answer, error) {
	return answer{body: object{"data": []object{routerListed(c, "testsrv")}}}, nil
}

func routerMint(_ *Server, c *call) (answer, error) {
	var q struct {
		Name string `json:"name"`
	}
	if err := c.decode(&q); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: object{"data": routerListed(c, q.Name)}}, nil
}

func routerListed(c *call, name string) object {
	sum := sha256.Sum256([]byte(c.credential))
	return with(routerKeyOf(c), object{"hash": hex.EncodeToString(sum[:]), "name": name, "disabled": false, "created_at": "2025-11-01T00:00:00Z"})
}

func routerModels(*Server, *call) (answer, error) {
	var data []object
	for _, id := range []string{"anthropic/claude-sonnet-4.5", "openai/gpt-5", "openai/gpt-5-mini"} {
		data = append(data, object{
			"id": id, "canonical_slug": id, "name": id, "created": created, "context_length": 200000,
			"architecture":         object{"input_modalities": []string{"text"}, "output_modalities": []string{"text"}, "tokenizer": "Other"},
			"pricing":              object{"prompt": "0.000001", "completion": "0.000004"},
			"supported_parameters": []string{"max_tokens", "temperature"},
		})
	}
	return answer{body: object{"data": data}}, nil
}
